#include "core/thread_pool.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "base/resources.h"
#include "blip/error.h"
#include "core/denormals.h"
#include "core/zone.h"

namespace blip {
namespace {

// The loop whose task this thread runs, and as which of the pool's workers.
struct Inside {
  const ThreadPool* pool = nullptr;
  int worker = 0;
};
thread_local Inside inside;

// For the length of a task; loops of other pools may lie within it.
class Enter {
 public:
  Enter(const ThreadPool* pool, int worker) : before_(inside) { inside = {pool, worker}; }
  ~Enter() { inside = before_; }
  Enter(const Enter&) = delete;
  Enter& operator=(const Enter&) = delete;

 private:
  Inside before_;
};

// How often this process or an ancestor was forked, in the child; the first call begins to count.
std::atomic<std::uint64_t> forks{0};
std::uint64_t fork_count() {
  static const int registered = pthread_atfork(nullptr, nullptr, [] { forks.fetch_add(1); });
  (void)registered;
  return forks;
}

// Between two loops of a forward pass lie a few microseconds; sleeping costs about 50 to wake up.
// So wait this many polls (about 20 to 50 microseconds) before sleeping.
constexpr int kSpins = 1000;

inline void pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// The CPUs that workers are bound to and one more; empty: they are bound to none.
std::vector<int> cpus_to_bind(int threads) {
  // NOLINTNEXTLINE(concurrency-mt-unsafe): nothing here writes the environment.
  const char* bind = std::getenv("BLIP_BIND_THREADS");
  if (bind && std::string_view(bind) == "0") return {};
  std::vector<int> cpus = allowed_cpus();
  if (static_cast<int>(cpus.size()) != threads) cpus.clear();
  return cpus;
}

// Where the system refuses, it stays where it may be.
void bind(std::thread& thread, int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  pthread_setaffinity_np(thread.native_handle(), sizeof set, &set);
}

// In a forked child. The threads are the parent's; joining or detaching them would reach whatever
// thread has their memory by now.
void forget(std::vector<std::thread>& workers) {
  for (auto& worker : workers) std::construct_at(&worker);
  workers.clear();
}

}  // namespace

void FifoLock::lock() {
  const std::uint32_t mine = next_.fetch_add(1);
  for (int spin = 0; serving_.load() != mine && spin < kSpins; ++spin) pause();
  for (std::uint32_t now; (now = serving_.load()) != mine;) serving_.wait(now);
}

void FifoLock::unlock() {
  serving_.fetch_add(1);
  serving_.notify_all();  // each waits for a number of its own
}

bool TaskRange::take_before(int& task, int end) {
  std::uint64_t now = range_.load();
  do {
    task = begin_of(now);
    if (task >= std::min(end, end_of(now))) return false;
  } while (!range_.compare_exchange_weak(now, pack(task + 1, end_of(now))));
  return true;
}

bool TaskRange::give_half(int& begin, int& end) {
  std::uint64_t now = range_.load();
  do {
    const int first = begin_of(now);
    end = end_of(now);
    if (first >= end) return false;
    begin = first + (end - first) / 2;
  } while (!range_.compare_exchange_weak(now, pack(begin_of(now), begin)));
  return true;
}

ThreadPool::ThreadPool(int threads)
    : threads_(std::max(1, threads)),
      scratch_(threads_),
      forks_(fork_count()),
      ranges_(static_cast<std::size_t>(threads_)) {
  start(threads_ - 1);
}

std::size_t ThreadPool::trim() {
  restart_if_forked();
  const std::lock_guard lock(turn_);
  const std::size_t bytes = scratch_.bytes();
  scratch_.clear();
  return bytes;
}

ThreadPool::~ThreadPool() { forks_ == fork_count() ? stop() : forget(workers_); }

void ThreadPool::start(int workers) {
  cpus_ = cpus_to_bind(threads_);
  try {
    workers_.reserve(static_cast<std::size_t>(workers));
    for (int i = 1; i <= workers; ++i) {
      workers_.emplace_back([this, i] { work(i); });
      if (!cpus_.empty()) bind(workers_.back(), cpus_[static_cast<std::size_t>(i)]);
    }
  } catch (const std::exception& e) {  // no thread, or no memory for one
    const std::string started = std::to_string(workers_.size() + 1), why = e.what();
    stop();
    throw Error(ErrorCode::kDevice, "the system started " + started + " of " +
                                        std::to_string(threads_) + " threads (" + why +
                                        "); ask for fewer (--threads), or allow this process more "
                                        "threads or memory (ulimit -u, ulimit -v)");
  }
}

void ThreadPool::stop() {
  stop_ = true;
  generation_.fetch_add(1);
  generation_.notify_all();
  for (auto& worker : workers_) worker.join();
  workers_.clear();
  stop_ = false;
}

void ThreadPool::restart_if_forked() {
  if (forks_ == fork_count()) return;
  const std::lock_guard lock(restart_mutex_);
  if (forks_ == fork_count()) return;
  forget(workers_);
  turn_.reset();
  joined_ = kClosed;
  error_ = nullptr;
  scratch_.clear();  // the parent's workers may have been changing it
  start(threads_ - 1);
  forks_ = fork_count();
}

// The first workers have one more where shares are not equal: the caller, worker 0, is there first.
void ThreadPool::share_out(int tasks) {
  const auto bound = [&](int worker) {
    return static_cast<int>((static_cast<std::int64_t>(tasks) * worker + threads_ - 1) / threads_);
  };
  for (int w = 0; w < threads_; ++w)
    ranges_[static_cast<std::size_t>(w)].set(bound(w), bound(w + 1));
}

// Whoever is bound to the CPU that the caller runs on moves to the one that is left.
void ThreadPool::make_way() {
  if (cpus_.empty()) return;
  const int here = sched_getcpu();
  if (here == cpus_.front()) return;
  const auto found = std::find(cpus_.begin(), cpus_.end(), here);
  if (found == cpus_.end()) return;
  std::swap(cpus_.front(), *found);
  bind(workers_[static_cast<std::size_t>(found - cpus_.begin() - 1)], *found);
}

// Half of what the worker with the most tasks has left; false: nobody has any.
bool ThreadPool::take_over(int worker) {
  while (true) {
    TaskRange* most = nullptr;
    int most_left = 0;
    for (TaskRange& range : ranges_)
      if (const int left = range.left(); left > most_left) {
        most = &range;
        most_left = left;
      }
    if (!most) return false;
    int begin, end;
    if (!most->give_half(begin, end)) continue;  // its owner or somebody else was faster
    ranges_[static_cast<std::size_t>(worker)].set(begin, end);
    return true;
  }
}

void ThreadPool::take_tasks(int worker) {
  const Enter enter(this, worker);
  TaskRange& own = ranges_[static_cast<std::size_t>(worker)];
  try {
    do {
      while (own.left() > 0) call_(body_, own, worker);
    } while (take_over(worker));
  } catch (...) {
    for (TaskRange& range : ranges_) range.clear();  // the others stop early
    const std::lock_guard lock(error_mutex_);
    if (!error_) error_ = std::current_exception();
  }
}

bool ThreadPool::join() {
  std::uint32_t joined = joined_.load();
  while (!(joined & kClosed))
    if (joined_.compare_exchange_weak(joined, joined + 1)) return true;
  return false;
}

void ThreadPool::work(int worker) {
  const FlushDenormals flush;
  std::uint32_t seen = 0;
  while (true) {
    for (int spin = 0; generation_.load() == seen && spin < kSpins; ++spin) pause();
    generation_.wait(seen);
    seen = generation_.load();
    if (stop_) return;
    if (!join()) continue;
    {
      const OperationZone zone("share of a loop");
      take_tasks(worker);
    }
    if (joined_.fetch_sub(1) == (kClosed | 1)) joined_.notify_one();
  }
}

void ThreadPool::run_alone(int tasks, Call call, const void* body, int worker) {
  const Enter enter(this, worker);
  TaskRange range;
  range.set(0, tasks);
  while (range.left() > 0) call(body, range, worker);
}

void ThreadPool::run(int tasks, Call call, const void* body) {
  const FlushDenormals flush;
  if (inside.pool == this) return run_alone(tasks, call, body, inside.worker);
  restart_if_forked();
  // A single task takes its turn too: worker 0's scratch belongs to one loop at a time.
  const std::lock_guard lock(turn_);
  if (tasks <= 1 || workers_.empty()) return run_alone(tasks, call, body, 0);
  call_ = call;
  body_ = body;
  error_ = nullptr;
  share_out(tasks);
  make_way();
  joined_ = 0;
  generation_.fetch_add(1);
  generation_.notify_all();
  take_tasks(0);
  joined_.fetch_or(kClosed);
  for (int spin = 0; joined_.load() != kClosed && spin < kSpins; ++spin) pause();
  for (std::uint32_t joined; (joined = joined_.load()) != kClosed;) joined_.wait(joined);
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

}  // namespace blip
