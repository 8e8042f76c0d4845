// Memory that the workers of a pool use again from loop to loop, owned by the pool.
#pragma once

#include <array>
#include <atomic>
#include <cassert>
#include <cstddef>
#include <vector>

#include "core/aligned.h"

namespace blip {

// What a worker holds memory for; loops within loops run on the same worker, each with a use of its
// own.
enum class ScratchUse {
  kRows,        // of weights being packed, as floats
  kConverted,   // the same in the number type
  kNormed,      // a row between a layer norm and its operand
  kAttention,   // scores
  kTokens,      // scores over a picture's own tokens
  kJoined,      // a row of attention's joined slices
  kWholeRows,   // a product's rows, completed to whole units
  kPackedRows,  // the same as the product reads them
  kUnpacked,    // weights of 12 bits, unpacked
  kSums,        // of products
};
inline constexpr std::size_t kScratchUses = static_cast<std::size_t>(ScratchUse::kSums) + 1;

class WorkerScratch {
 public:
  explicit WorkerScratch(int workers) : workers_(static_cast<std::size_t>(workers)) {}

  // At least so many values of unknown content, the worker's own until it asks again for this use.
  template <class T>
  T* get(int worker, ScratchUse use, std::size_t count) {
    auto& memory = workers_[static_cast<std::size_t>(worker)].uses[static_cast<std::size_t>(use)];
    const std::size_t bytes = count * sizeof(T), had = memory.size();
    if (bytes > had) {
      memory = {};  // before the new one is there: both need not fit
      bytes_.fetch_sub(had, std::memory_order_relaxed);
      memory.reserve(bytes);
      bytes_.fetch_add(memory.size(), std::memory_order_relaxed);
    }
    return reinterpret_cast<T*>(memory.data());
  }
  // Of all workers; from any thread.
  std::size_t bytes() const { return bytes_.load(std::memory_order_relaxed); }
  // Gives everything back. Not while a loop runs.
  void clear() {
    for (Worker& worker : workers_) worker = {};
    bytes_ = 0;
  }

 private:
  struct alignas(kAlignment) Worker {
    std::array<AlignedArray<std::byte>, kScratchUses> uses;
  };
  std::vector<Worker> workers_;
  std::atomic<std::size_t> bytes_{0};
};

// One worker's.
class Scratch {
 public:
  Scratch() = default;
  Scratch(WorkerScratch& all, int worker) : all_(&all), worker_(worker) {}
  template <class T>
  T* get(ScratchUse use, std::size_t count) const {
    assert(all_);
    return all_->get<T>(worker_, use, count);
  }

 private:
  WorkerScratch* all_ = nullptr;
  int worker_ = 0;
};

}  // namespace blip
