// The memory that a server may use, shared by everything that a request can make large.
#pragma once

#include <algorithm>
#include <array>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "server/http.h"

namespace blip::server {

// Who holds memory; the names are the metric's labels.
enum class MemoryKind {
  kModels,    // the program with its models, as it was resident when the server started
  kBodies,    // requests as they arrived
  kRequests,  // what is read out of them, their pictures at the model's size, and large answers
  kPictures,  // being decoded
  kCache,     // encoded pictures that are kept
  kWork,      // what a pass through a model takes for a while
};
inline constexpr std::size_t kMemoryKinds = 6;
const char* to_string(MemoryKind kind);

// Thread-safe. Everything in it is an estimate from above of what is really allocated.
//
// What the models leave is split, so that nobody who holds memory waits for memory that another
// holds who waits for it:
//
// - 2/16: bodies, which wait for all the rest.
// - 3/16: requests at work; twice the bodies' size is read out of them at most, so a sixteenth is
//   left beside that.
// - 10/16: decoding and passes, which wait for nothing any more, and the cache, which gives way to
//   them.
// - 1/16: small things of the two before, which so need not wait for large ones.
class MemoryBudget {
 public:
  // Memory that is held; gives it back when it goes. The budget outlives it. One thread at a time.
  class Share {
   public:
    Share() = default;
    Share(Share&& other) noexcept { *this = std::move(other); }
    Share& operator=(Share&& other) noexcept;
    ~Share() { shrink_to(0); }

    std::size_t bytes() const { return bytes_; }
    bool grow(std::size_t more);  // at once, or not at all
    void shrink_to(std::size_t bytes);

   private:
    friend class MemoryBudget;
    MemoryBudget* budget_ = nullptr;
    MemoryKind kind_ = MemoryKind::kWork;
    std::size_t part_ = 0;
    std::size_t bytes_ = 0;
  };

  // total: of the whole program. resident: what it has taken already. Throws Error(kUsage) where
  // too little is left.
  MemoryBudget(std::size_t total, std::size_t resident);
  MemoryBudget(const MemoryBudget&) = delete;
  MemoryBudget& operator=(const MemoryBudget&) = delete;

  // Nothing yet: grow() it.
  Share empty(MemoryKind kind);
  // Waits until they fit, the longest waiting first, so that nobody who needs much is passed by for
  // ever by those who need little. Only passes through a model are, as all wait for their results,
  // and small things. nullopt: not before the deadline, or `given_up` (asked every few
  // milliseconds) returned true. No more than largest() can ever be had.
  std::optional<Share> take(MemoryKind kind, std::size_t bytes, Clock::time_point deadline,
                            const std::function<bool()>& given_up = {});

  std::size_t largest(MemoryKind kind) const;
  // A string that grows may have twice its size.
  std::size_t largest_body() const { return limits_[kBodiesPart] / kBodyCopies; }
  static constexpr std::size_t kBodyCopies = 2;
  // Of a body, its fields and the pictures in them.
  static constexpr std::size_t kReadCopies = 2;
  std::size_t total() const { return total_; }
  std::size_t held(MemoryKind kind) const;

  // A holder that can do without: called with how much is wanted, returns how much it gave back. It
  // must not take.
  using Reclaim = std::function<std::size_t(std::size_t)>;
  void add_reclaimer(const void* owner, Reclaim reclaim);
  void remove_reclaimer(const void* owner);

 private:
  enum Part : std::size_t { kBodiesPart, kRequestsPart, kPassingPart, kSmallPart, kParts };
  static Part part_of(MemoryKind kind);
  bool fits_locked(std::size_t part, std::size_t bytes) const {
    return bytes <= limits_[part] - std::min(limits_[part], used_[part]);
  }
  Share taken_locked(MemoryKind kind, std::size_t part, std::size_t bytes);
  bool grow(Share& share, std::size_t more);
  void give_back(MemoryKind kind, std::size_t part, std::size_t bytes);
  std::size_t reclaim(std::size_t wanted);

  const std::size_t total_;
  std::array<std::size_t, kParts> limits_{}, used_{};
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::array<std::size_t, kMemoryKinds> held_{};
  std::array<std::list<int>, kParts> waiting_;  // in the order of their turns
  std::mutex reclaimers_mutex_;
  std::map<const void*, Reclaim> reclaimers_;
};

// Memory of a request's body while it arrives and is kept.
class BodyMemory {
 public:
  explicit BodyMemory(MemoryBudget& budget) : share_(budget.empty(MemoryKind::kBodies)) {}
  // Takes what a body of this size needs; false where it cannot be had.
  bool reach(std::size_t size) {
    const std::size_t wanted = MemoryBudget::kBodyCopies * size;
    return wanted <= share_.bytes() || share_.grow(wanted - share_.bytes());
  }

 private:
  MemoryBudget::Share share_;
};

// What this process has resident now.
std::size_t resident_memory();
// --memory's default: what the program has taken, and three quarters of what the machine or the
// container has left.
std::size_t default_memory();
// Freed blocks of more than a few megabytes go back to the system at once: else the allocator may
// keep as much again as is in use, in each of its arenas.
void return_freed_memory();

// "1.5 GiB", for messages.
std::string shown_bytes(std::size_t bytes);

}  // namespace blip::server
