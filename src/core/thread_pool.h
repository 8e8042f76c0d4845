// A fixed team of threads that runs one loop at a time.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace blip {

// Cores this process may use: its affinity mask, cut down by a container's CPU quota. At least 1.
int available_cpus();

// Bytes this process may still take: what the system has to spare, cut down by a container's limit. 0 = not known.
std::uint64_t available_memory();

// Sessions of one engine share a pool: a loop that starts while another runs waits for it, so the process never runs more
// threads than asked for. Loops started inside a loop run on the calling worker alone.
class ThreadPool {
 public:
  explicit ThreadPool(int threads);  // including the caller's: starts threads - 1 workers
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls body(task, worker) for every task in [0, tasks), worker in [0, size()). Returns when all are done; the first
  // exception of a body is rethrown here.
  template <class Body>
  void parallel_for(int tasks, const Body& body) {
    run(tasks, [](const void* b, int task, int worker) { (*static_cast<const Body*>(b))(task, worker); }, &body);
  }

 private:
  using Call = void (*)(const void* body, int task, int worker);
  void run(int tasks, Call call, const void* body);
  void work(int worker);
  void take_tasks(int worker);
  bool join();

  std::vector<std::thread> workers_;
  std::mutex loop_mutex_;  // held while a loop runs

  // The running loop; written while it is closed, read by workers that have joined it.
  Call call_ = nullptr;
  const void* body_ = nullptr;
  int tasks_ = 0;
  std::atomic<int> next_task_{0};
  // How many workers have joined the loop, plus kClosed where none may any more. The caller closes the loop when no task is
  // left and waits only for those who have joined: on a busy machine a worker may wake up long after the work is done.
  static constexpr std::uint32_t kClosed = 1u << 31;
  std::atomic<std::uint32_t> joined_{kClosed};
  std::mutex error_mutex_;
  std::exception_ptr error_;

  std::atomic<std::uint32_t> generation_{0};
  std::atomic<bool> stop_{false};
};

}  // namespace blip
