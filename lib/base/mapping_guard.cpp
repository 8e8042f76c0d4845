#include "base/mapping_guard.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <mutex>

namespace blip {

// Ranges form a list that only grows, so that the handler can walk it at any moment; one whose
// guard is gone has begin = 0 and is used again.
struct MappingGuard::Range {
  std::atomic<std::uintptr_t> begin{0}, end{0};
  std::atomic<std::uint32_t> damaged{0};  // a bool's atomic is not free of locks on every processor
  Range* next = nullptr;
};

namespace {

using Range = MappingGuard::Range;

std::atomic<Range*> ranges{nullptr};
std::mutex changing;     // of the list, the count and the handler
std::size_t guards = 0;  // that live
struct sigaction previous {};
std::uintptr_t page_size = 4096;

Range* find(std::uintptr_t address) {
  for (Range* range = ranges.load(std::memory_order_acquire); range != nullptr;
       range = range->next) {
    const std::uintptr_t begin = range->begin.load(std::memory_order_acquire);
    if (begin != 0 && address >= begin && address < range->end.load(std::memory_order_relaxed))
      return range;
  }
  return nullptr;
}

// Only what a signal handler may do: atomics that are free of locks, and system calls.
void on_bus_error(int number, siginfo_t* info, void* context) {
  const int error = errno;
  const auto address = reinterpret_cast<std::uintptr_t>(info->si_addr);
  if (Range* const range = info->si_code > 0 ? find(address) : nullptr) {
    // Behind the first missing page nothing is left of a file that shrank: all of it becomes zeros
    // at once.
    range->damaged.store(1, std::memory_order_release);
    const std::uintptr_t page = address / page_size * page_size;
    void* const zeros =
        ::mmap(reinterpret_cast<void*>(page), range->end.load(std::memory_order_relaxed) - page,
               PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    errno = error;
    if (zeros != MAP_FAILED) return;
  }
  if ((previous.sa_flags & SA_SIGINFO) != 0 && previous.sa_sigaction != nullptr)
    return previous.sa_sigaction(number, info, context);
  if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN)
    return previous.sa_handler(number);
  // The instruction is run again and ends the process; a signal that was sent by kill() is sent
  // again.
  struct sigaction fallback {};
  fallback.sa_handler = SIG_DFL;
  ::sigaction(SIGBUS, &fallback, nullptr);
  if (info->si_code <= 0) ::raise(number);
}

static_assert(std::atomic<std::uintptr_t>::is_always_lock_free &&
              std::atomic<std::uint32_t>::is_always_lock_free &&
              std::atomic<Range*>::is_always_lock_free);

bool is_ours(const struct sigaction& action) {
  return (action.sa_flags & SA_SIGINFO) != 0 && action.sa_sigaction == on_bus_error;
}

// Another handler that was installed over ours stays, and reaches ours if it chains.
void install() {
  struct sigaction current {};
  ::sigaction(SIGBUS, nullptr, &current);
  if (is_ours(current)) return;
  previous = current;
  struct sigaction ours {};
  ours.sa_sigaction = on_bus_error;
  ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
  sigemptyset(&ours.sa_mask);
  page_size = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  ::sigaction(SIGBUS, &ours, nullptr);
}

void uninstall() {
  struct sigaction current {};
  ::sigaction(SIGBUS, nullptr, &current);
  if (is_ours(current)) ::sigaction(SIGBUS, &previous, nullptr);
}

}  // namespace

MappingGuard::MappingGuard(std::span<const std::byte> bytes) {
  const std::lock_guard lock(changing);
  range_ = ranges.load();
  while (range_ != nullptr && range_->begin.load() != 0) range_ = range_->next;
  if (range_ == nullptr) {
    range_ = new Range;
    range_->next = ranges.load();
    ranges.store(range_, std::memory_order_release);
  }
  const auto begin = reinterpret_cast<std::uintptr_t>(bytes.data());
  if (guards++ == 0) install();
  range_->damaged.store(0);
  range_->end.store((begin + bytes.size() + page_size - 1) / page_size * page_size);
  range_->begin.store(begin, std::memory_order_release);
}

MappingGuard::~MappingGuard() {
  const std::lock_guard lock(changing);
  range_->begin.store(0, std::memory_order_release);
  if (--guards == 0) uninstall();
}

bool MappingGuard::damaged() const { return range_->damaged.load(std::memory_order_acquire); }

}  // namespace blip
