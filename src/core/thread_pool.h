// A fixed team of threads that runs one loop at a time.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "core/aligned.h"
#include "core/worker_scratch.h"

namespace blip {

// A lock that is given in the order in which it was asked for. A std::mutex goes to whoever comes
// first when it is free, which is nearly always the thread that has just given it back: one that
// asks again and again keeps all others out.
class FifoLock {
 public:
  void lock();
  void unlock();
  // For a process that was forked: free, whoever held it or waited for it.
  void reset() { next_ = serving_ = 0; }

 private:
  std::atomic<std::uint32_t> next_{0}, serving_{0};  // tickets
};

// What is left of a loop's tasks: neighbours, which their owner takes from the front, one by one,
// and others from the back, half of what is left at a time. So each worker passes over memory in
// order, and none waits for another that is slow: its tasks are taken over.
class TaskRange {
 public:
  // The next one; false: none is left.
  bool take(int& task) { return take_before(task, kLast); }
  // The same, of those below `end`.
  bool take_before(int& task, int end);

 private:
  friend class ThreadPool;
  static constexpr int kLast = 0x7fffffff;
  // Only while it is empty.
  void set(int begin, int end) { range_.store(pack(begin, end)); }
  void clear() { set(0, 0); }
  int left() const { return std::max(0, end_of(range_.load()) - begin_of(range_.load())); }
  bool give_half(int& begin, int& end);

  static std::uint64_t pack(int begin, int end) {
    return static_cast<std::uint64_t>(begin) << 32 | static_cast<std::uint32_t>(end);
  }
  static int begin_of(std::uint64_t range) { return static_cast<int>(range >> 32); }
  static int end_of(std::uint64_t range) { return static_cast<int>(range & 0xffffffffu); }

  // A task that was taken comes back to no range within a loop. So where compare_exchange finds the
  // value that was read, nothing has changed meanwhile.
  alignas(kAlignment) std::atomic<std::uint64_t> range_{0};
};

// Sessions of one engine share a pool: a loop that starts while another runs waits for it, so the
// process never runs more threads than asked for. Loops that wait get their turn in order. Loops
// started inside a loop of the same pool run on the calling worker alone.
//
// A pool of as many threads as this process has CPUs binds each worker to one of them, another than
// the caller's; the caller is bound to none. Else, where a neighbour takes a part of a CPU, the
// system has two of our threads share another now and then. $BLIP_BIND_THREADS=0: none is bound.
//
// A fork copies the pool without its workers. They are started anew when the child's first loop
// runs; what a loop of another thread was at when the process was forked is nothing that the child
// knows of.
class ThreadPool {
 public:
  // threads: including the caller's; starts threads - 1 workers. Error(kDevice) where the system
  // has not so many, and none is left behind.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return threads_; }

  // Memory for a body, by its worker.
  template <class T>
  T* scratch(int worker, ScratchUse use, std::size_t count) {
    return scratch_.get<T>(worker, use, count);
  }
  Scratch scratch_of(int worker) { return {scratch_, worker}; }
  std::size_t scratch_bytes() const { return scratch_.bytes(); }
  // Gives it back, between two loops. Not from within a loop of this pool. Returns the bytes.
  std::size_t trim();

  // Calls body(task, worker) for every task in [0, tasks), worker in [0, size()). Returns when all
  // are done; the first exception of a body is rethrown here. Each worker begins with an equal
  // share of neighbours, from loop to loop the same.
  template <class Body>
  void parallel_for(int tasks, const Body& body) {
    parallel_ranges(tasks, [&](TaskRange& range, int worker) {
      for (int task; range.take(task);) body(task, worker);
    });
  }
  // The same for bodies that do more than one task at a time: body(range, worker) takes at least
  // one of the tasks from the range, and is called again while there are more.
  template <class Body>
  void parallel_ranges(int tasks, const Body& body) {
    run(
        tasks,
        [](const void* b, TaskRange& range, int worker) {
          (*static_cast<const Body*>(b))(range, worker);
        },
        &body);
  }

 private:
  using Call = void (*)(const void* body, TaskRange& range, int worker);
  void run(int tasks, Call call, const void* body);
  void run_alone(int tasks, Call call, const void* body, int worker);
  void share_out(int tasks);
  void make_way();
  bool take_over(int worker);
  void start(int workers);
  void stop();
  void restart_if_forked();
  void work(int worker);
  void take_tasks(int worker);
  bool join();

  const int threads_;
  WorkerScratch scratch_;
  std::vector<std::thread> workers_;
  std::vector<int> cpus_;             // by worker, the caller's first; empty: nobody is bound
  FifoLock turn_;                     // held while a loop runs
  std::atomic<std::uint64_t> forks_;  // of this process' ancestors when the workers were started
  std::mutex restart_mutex_;

  // The running loop; written while it is closed, read by workers that have joined it.
  Call call_ = nullptr;
  const void* body_ = nullptr;
  std::vector<TaskRange> ranges_;  // by worker
  // How many workers have joined the loop, plus kClosed where none may any more. The caller closes
  // the loop when no task is left and waits only for those who have joined: on a busy machine a
  // worker may wake up long after the work is done.
  static constexpr std::uint32_t kClosed = 1u << 31;
  std::atomic<std::uint32_t> joined_{kClosed};
  std::mutex error_mutex_;
  std::exception_ptr error_;

  std::atomic<std::uint32_t> generation_{0};
  std::atomic<bool> stop_{false};
};

}  // namespace blip
