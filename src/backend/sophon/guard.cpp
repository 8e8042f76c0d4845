#include "backend/sophon/guard.h"

#include <atomic>
#include <charconv>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <limits>
#include <mutex>
#include <string_view>
#include <utility>

#include "blip/error.h"

namespace blip::backend::sophon {
namespace {

using Clock = std::chrono::steady_clock;

// Far above a second, which the slowest network of BLIP-base takes on the slowest chip.
constexpr int kDefaultSeconds = 60, kMostSeconds = 86'400;
// How often who waits looks at the clock.
constexpr auto kGlance = std::chrono::milliseconds(50);
constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();

}  // namespace

// The call that a guard's thread is in.
struct CallClock {
  std::atomic<std::int64_t> deadline{kNever};
  std::atomic<std::int64_t> seconds{0};
  std::mutex mutex;
  std::string what;
};

namespace {

thread_local CallClock* clock_of_this_thread = nullptr;

}  // namespace

struct Guard::Shared {
  std::mutex mutex;
  std::condition_variable changed;
  std::function<void()> work;
  bool busy = false, stop = false;
  std::exception_ptr failure;
  CallClock clock;
};

Limit call_limit(bool emulated) {
  // NOLINTNEXTLINE(concurrency-mt-unsafe): nothing here writes the environment.
  const char* given = std::getenv(kTimeoutVariable);
  if (!given || !*given) return emulated ? kNoLimit : std::chrono::seconds(kDefaultSeconds);
  const std::string_view text = given;
  int seconds = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error != std::errc() || end != text.data() + text.size() || seconds < 0 ||
      seconds > kMostSeconds)
    throw Error(ErrorCode::kUsage, std::string(kTimeoutVariable) + "=" + given +
                                       ": expected seconds, 1 to " + std::to_string(kMostSeconds) +
                                       ", or 0 for any time");
  return seconds == 0 ? kNoLimit : std::chrono::seconds(seconds);
}

CallTimer::CallTimer(Limit limit, const char* what) {
  CallClock* clock = clock_of_this_thread;
  if (!clock || limit == kNoLimit) return;
  {
    const std::lock_guard lock(clock->mutex);
    clock->what = what;
  }
  clock->seconds = std::chrono::duration_cast<std::chrono::seconds>(limit).count();
  clock->deadline = (Clock::now() + limit).time_since_epoch().count();
}

CallTimer::~CallTimer() {
  if (clock_of_this_thread) clock_of_this_thread->deadline = kNever;
}

Guard::Guard(std::string name) : name_(std::move(name)), shared_(std::make_shared<Shared>()) {
  thread_ = std::thread([shared = shared_] { serve(shared); });
}

Guard::~Guard() {
  if (hung_) return;
  {
    const std::lock_guard lock(shared_->mutex);
    shared_->stop = true;
  }
  shared_->changed.notify_all();
  thread_.join();
}

void Guard::serve(const std::shared_ptr<Shared>& shared) {
  clock_of_this_thread = &shared->clock;
  std::unique_lock lock(shared->mutex);
  while (true) {
    shared->changed.wait(lock, [&] { return shared->stop || shared->busy; });
    if (!shared->busy) return;
    std::function<void()> work = std::move(shared->work);
    lock.unlock();
    std::exception_ptr failure;
    try {
      work();
    } catch (...) {
      failure = std::current_exception();
    }
    work = nullptr;  // what it owns goes before its caller goes on
    lock.lock();
    shared->failure = std::move(failure);
    shared->busy = false;
    shared->changed.notify_all();
  }
}

void Guard::run(std::function<void()> work, const std::function<bool()>& stop) {
  std::exception_ptr failure;
  {
    std::unique_lock lock(shared_->mutex);
    shared_->work = std::move(work);
    shared_->busy = true;
    shared_->changed.notify_all();
    while (!shared_->changed.wait_for(lock, kGlance, [&] { return !shared_->busy; })) {
      if (shared_->clock.deadline < Clock::now().time_since_epoch().count()) {
        const std::lock_guard what(shared_->clock.mutex);
        leave_behind("it has not answered for " + std::to_string(shared_->clock.seconds) + " s (" +
                     shared_->clock.what +
                     "): it hangs; see dmesg and the vendor's bm-smi, which "
                     "can reset it; " +
                     kTimeoutVariable + " sets how long to wait");
      }
      if (stop && stop()) leave_behind("stopped while it was at work");
    }
    failure = std::exchange(shared_->failure, nullptr);
  }
  if (failure) std::rethrow_exception(failure);
}

void close_guarded(const std::string& name, Limit limit, const char* what,
                   std::function<void()> work) noexcept {
  if (limit == kNoLimit) return work();
  try {
    Guard guard(name);
    guard.run([limit, what, work = std::move(work)] {
      const CallTimer timer(limit, what);
      work();
    });
  } catch (
      const std::exception&) {  // it hangs, or there is no thread: the driver frees what is left
  }
}

void Guard::leave_behind(const std::string& why) {
  hung_ = true;
  shared_->stop = true;
  thread_.detach();
  throw Error(ErrorCode::kDevice, name_ + ": " + why);
}

}  // namespace blip::backend::sophon
