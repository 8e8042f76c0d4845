#include "server/memory_budget.h"

#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>

#include "base/resources.h"
#include "blip/error.h"

namespace blip::server {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;
constexpr std::size_t kLeastLeft =
    64 * kMiB;  // beside the models: with less hardly a photograph could be decoded
constexpr std::size_t kUnknownMemory = std::size_t{4} << 30;
constexpr auto kGivenUpInterval = std::chrono::milliseconds(20);
constexpr int kMapFrom = 4 << 20;
// a body of a megabyte and what is read out of it; a common picture
constexpr std::size_t kSmall = 4 * kMiB;

}  // namespace

const char* to_string(MemoryKind kind) {
  switch (kind) {
    case MemoryKind::kModels:
      return "models";
    case MemoryKind::kBodies:
      return "bodies";
    case MemoryKind::kRequests:
      return "requests";
    case MemoryKind::kPictures:
      return "pictures";
    case MemoryKind::kCache:
      return "cache";
    case MemoryKind::kWork:
      return "work";
  }
  return "unknown";
}

MemoryBudget::Share& MemoryBudget::Share::operator=(Share&& other) noexcept {
  if (this == &other) return *this;
  shrink_to(0);
  budget_ = std::exchange(other.budget_, nullptr);
  kind_ = other.kind_;
  part_ = other.part_;
  bytes_ = std::exchange(other.bytes_, 0);
  return *this;
}

bool MemoryBudget::Share::grow(std::size_t more) {
  return budget_ != nullptr && budget_->grow(*this, more);
}

void MemoryBudget::Share::shrink_to(std::size_t bytes) {
  if (budget_ == nullptr || bytes >= bytes_) return;
  budget_->give_back(kind_, part_, bytes_ - bytes);
  bytes_ = bytes;
}

MemoryBudget::MemoryBudget(std::size_t total, std::size_t resident) : total_(total) {
  if (total < resident + kLeastLeft)
    throw Error(ErrorCode::kUsage, "--memory " + shown_bytes(total) +
                                       " is too little: the program with its models takes " +
                                       shown_bytes(resident) + ", and requests need at least " +
                                       shown_bytes(kLeastLeft) + " beside it");
  const std::size_t sixteenth = (total - resident) / 16;
  limits_ = {2 * sixteenth, 3 * sixteenth, 10 * sixteenth, sixteenth};
  held_[static_cast<std::size_t>(MemoryKind::kModels)] = resident;
}

MemoryBudget::Part MemoryBudget::part_of(MemoryKind kind) {
  return kind == MemoryKind::kBodies     ? kBodiesPart
         : kind == MemoryKind::kRequests ? kRequestsPart
                                         : kPassingPart;
}

std::size_t MemoryBudget::largest(MemoryKind kind) const {
  const std::size_t read = kReadCopies * largest_body();
  return kind == MemoryKind::kRequests
             ? limits_[kRequestsPart] - std::min(read, limits_[kRequestsPart])
             : limits_[part_of(kind)];
}

MemoryBudget::Share MemoryBudget::taken_locked(MemoryKind kind, std::size_t part,
                                               std::size_t bytes) {
  held_[static_cast<std::size_t>(kind)] += bytes;
  used_[part] += bytes;
  Share share;
  share.budget_ = this;
  share.kind_ = kind;
  share.part_ = part;
  share.bytes_ = bytes;
  return share;
}

MemoryBudget::Share MemoryBudget::empty(MemoryKind kind) {
  const std::lock_guard lock(mutex_);
  return taken_locked(kind, part_of(kind), 0);
}

bool MemoryBudget::grow(Share& share, std::size_t more) {
  const bool cache = share.kind_ == MemoryKind::kCache;
  std::unique_lock lock(mutex_);
  // The cache takes what nobody waits for; the others may have the cache's.
  if (cache && !waiting_[kPassingPart].empty()) return false;
  if (!cache && share.part_ == kPassingPart && !fits_locked(kPassingPart, more)) {
    lock.unlock();
    reclaim(more);
    lock.lock();
  }
  if (!fits_locked(share.part_, more)) return false;
  held_[static_cast<std::size_t>(share.kind_)] += more;
  used_[share.part_] += more;
  share.bytes_ += more;
  return true;
}

std::optional<MemoryBudget::Share> MemoryBudget::take(MemoryKind kind, std::size_t bytes,
                                                      Clock::time_point deadline,
                                                      const std::function<bool()>& given_up) {
  const bool work = kind == MemoryKind::kWork;
  const Part part = part_of(kind);
  std::list<int>& waiting = waiting_[part];
  std::unique_lock lock(mutex_);
  if (!work && bytes <= kSmall && fits_locked(kSmallPart, bytes))
    return taken_locked(kind, kSmallPart, bytes);
  const auto turn = work ? waiting.end() : waiting.insert(waiting.end(), 0);
  const auto leave = [&] {
    if (!work) waiting.erase(turn);
    changed_.notify_all();
  };
  while (true) {
    const bool first = work || turn == waiting.begin();
    if (first && part == kPassingPart && !fits_locked(part, bytes)) {
      const std::size_t wanted = bytes + used_[part] - limits_[part];
      lock.unlock();
      reclaim(wanted);
      lock.lock();
    }
    if (first && fits_locked(part, bytes)) {
      leave();
      return taken_locked(kind, part, bytes);
    }
    if (Clock::now() >= deadline || (given_up && given_up())) {
      leave();
      return std::nullopt;
    }
    changed_.wait_until(lock, std::min(deadline, Clock::now() + kGivenUpInterval));
  }
}

void MemoryBudget::give_back(MemoryKind kind, std::size_t part, std::size_t bytes) {
  {
    const std::lock_guard lock(mutex_);
    held_[static_cast<std::size_t>(kind)] -= bytes;
    used_[part] -= bytes;
  }
  changed_.notify_all();
}

std::size_t MemoryBudget::held(MemoryKind kind) const {
  const std::lock_guard lock(mutex_);
  return held_[static_cast<std::size_t>(kind)];
}

void MemoryBudget::add_reclaimer(const void* owner, Reclaim reclaim) {
  const std::lock_guard lock(reclaimers_mutex_);
  reclaimers_[owner] = std::move(reclaim);
}

void MemoryBudget::remove_reclaimer(const void* owner) {
  const std::lock_guard lock(reclaimers_mutex_);
  reclaimers_.erase(owner);
}

std::size_t MemoryBudget::reclaim(std::size_t wanted) {
  const std::lock_guard lock(reclaimers_mutex_);
  std::size_t freed = 0;
  for (const auto& [owner, reclaim] : reclaimers_)
    if (freed < wanted) freed += reclaim(wanted - freed);
  return freed;
}

std::size_t resident_memory() {
  std::size_t pages = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> pages >> resident;
  return resident * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

std::size_t default_memory() {
  const std::uint64_t left = available_memory();
  return resident_memory() + (left == 0 ? kUnknownMemory : left / 4 * 3);
}

void return_freed_memory() {
#ifdef M_MMAP_THRESHOLD
  // NOLINTBEGIN(concurrency-mt-unsafe): glibc's mallopt takes the lock of its arena.
  mallopt(M_MMAP_THRESHOLD, kMapFrom);
  mallopt(M_TRIM_THRESHOLD, kMapFrom);
  // NOLINTEND(concurrency-mt-unsafe)
#endif
}

std::string shown_bytes(std::size_t bytes) {
  constexpr const char* kUnits[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (; value >= 1024 && unit + 1 < std::size(kUnits); ++unit) value /= 1024;
  char text[48];
  std::snprintf(text, sizeof text, unit == 0 ? "%.0f %s" : "%.1f %s", value, kUnits[unit]);
  return text;
}

}  // namespace blip::server
