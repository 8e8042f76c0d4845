#include "core/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <string>

#include "core/denormals.h"

namespace blip {
namespace {

thread_local int current_worker = -1;  // >= 0 while this thread runs a loop's task

// Between two loops of a forward pass lie a few microseconds; sleeping costs about 50 to wake up. So wait this many
// polls (about 20 to 50 microseconds) before sleeping.
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
    std::ifstream q("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), p("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
    if (!(q >> quota) || !(p >> period)) return 0;
  }
  return quota > 0 && period > 0 ? std::max(1, static_cast<int>(std::ceil(quota / period))) : 0;
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
  std::ifstream v1("/sys/fs/cgroup/memory/memory.limit_in_bytes"), v1_used("/sys/fs/cgroup/memory/memory.usage_in_bytes");
  if (v1 >> limit && v1_used >> used) return std::min(free, limit > used ? limit - used : 0);
  return free;
}

ThreadPool::ThreadPool(int threads) {
  for (int i = 1; i < threads; ++i) workers_.emplace_back([this, i] { work(i); });
}

ThreadPool::~ThreadPool() {
  stop_ = true;
  generation_.fetch_add(1);
  generation_.notify_all();
  for (auto& worker : workers_) worker.join();
}

void ThreadPool::take_tasks(int worker) {
  current_worker = worker;
  try {
    for (int task; (task = next_task_.fetch_add(1)) < tasks_;) call_(body_, task, worker);
  } catch (...) {
    next_task_ = tasks_;  // the others stop early
    const std::lock_guard lock(error_mutex_);
    if (!error_) error_ = std::current_exception();
  }
  current_worker = -1;
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
    take_tasks(worker);
    if (joined_.fetch_sub(1) == (kClosed | 1)) joined_.notify_one();
  }
}

void ThreadPool::run(int tasks, Call call, const void* body) {
  const FlushDenormals flush;
  if (current_worker >= 0 || tasks <= 1 || workers_.empty()) {
    const int worker = std::max(current_worker, 0);
    // A single task on a free thread still takes the loop lock: worker 0's scratch belongs to one loop at a time.
    std::unique_lock<std::mutex> lock(loop_mutex_, std::defer_lock);
    if (current_worker < 0) lock.lock();
    for (int task = 0; task < tasks; ++task) call(body, task, worker);
    return;
  }
  const std::lock_guard lock(loop_mutex_);
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
  if (error_) std::rethrow_exception(error_);
}

}  // namespace blip
