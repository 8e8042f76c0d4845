// Threads for requests at work, with a bounded number of requests waiting for one.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace blip::server {

class WorkerPool {
 public:
  // max_tasks: running and waiting together.
  WorkerPool(int threads, int max_tasks);
  ~WorkerPool();  // finishes what it has
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // false: full. Tasks must not throw.
  bool try_run(std::function<void()> task);
  int tasks() const;

 private:
  void work();

  const int max_tasks_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> waiting_;
  int running_ = 0;
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace blip::server
