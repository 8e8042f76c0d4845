#include "core/thread_pool.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <memory>
#include <string>
#include <utility>

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

// cgroup v2 "max 100000" or "quota period"; v1 keeps the two in two files. 0 = no limit known.
int cgroup_cpus() {
  double quota = 0, period = 0;
  std::string first;
  if (std::ifstream v2("/sys/fs/cgroup/cpu.max"); v2 >> first >> period) {
    if (first == "max") return 0;
    std::ifstream again("/sys/fs/cgroup/cpu.max");
    again >> quota;
  } else {
    std::ifstream q("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"),
        p("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
    if (!(q >> quota) || !(p >> period)) return 0;
  }
  return quota > 0 && period > 0 ? std::max(1, static_cast<int>(std::ceil(quota / period))) : 0;
}

// In a forked child. The threads are the parent's; joining or detaching them would reach whatever
// thread has their memory by now.
void forget(std::vector<std::thread>& workers) {
  for (auto& worker : workers) std::construct_at(&worker);
  workers.clear();
}

}  // namespace

int available_cpus() {
  cpu_set_t set;
  int cpus = static_cast<int>(std::thread::hardware_concurrency());
  if (sched_getaffinity(0, sizeof(set), &set) == 0) cpus = CPU_COUNT(&set);
  if (const int limit = cgroup_cpus()) cpus = std::min(cpus, limit);
  return std::max(1, cpus);
}

std::uint64_t available_memory() {
  std::uint64_t free = 0;
  std::ifstream info("/proc/meminfo");
  for (std::string key, unit; info >> key && free == 0;) {
    std::uint64_t kilobytes = 0;
    if (key == "MemAvailable:" && info >> kilobytes) free = kilobytes * 1024;
  }
  // A container's limit less what it uses; "max" is none.
  std::uint64_t limit = 0, used = 0;
  std::ifstream v2("/sys/fs/cgroup/memory.max"), v2_used("/sys/fs/cgroup/memory.current");
  if (v2 >> limit && v2_used >> used) return std::min(free, limit > used ? limit - used : 0);
  std::ifstream v1("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
      v1_used("/sys/fs/cgroup/memory/memory.usage_in_bytes");
  if (v1 >> limit && v1_used >> used) return std::min(free, limit > used ? limit - used : 0);
  return free;
}

void FifoLock::lock() {
  const std::uint32_t mine = next_.fetch_add(1);
  for (int spin = 0; serving_.load() != mine && spin < kSpins; ++spin) pause();
  for (std::uint32_t now; (now = serving_.load()) != mine;) serving_.wait(now);
}

void FifoLock::unlock() {
  serving_.fetch_add(1);
  serving_.notify_all();  // each waits for a number of its own
}

ThreadPool::ThreadPool(int threads)
    : threads_(std::max(1, threads)), scratch_(threads_), forks_(fork_count()) {
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
  try {
    workers_.reserve(static_cast<std::size_t>(workers));
    for (int i = 1; i <= workers; ++i) workers_.emplace_back([this, i] { work(i); });
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

void ThreadPool::take_tasks(int worker) {
  const Enter enter(this, worker);
  try {
    for (int task; (task = next_task_.fetch_add(1)) < tasks_;) call_(body_, task, worker);
  } catch (...) {
    next_task_ = tasks_;  // the others stop early
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
  for (int task = 0; task < tasks; ++task) call(body, task, worker);
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
  tasks_ = tasks;
  error_ = nullptr;
  next_task_ = 0;
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
