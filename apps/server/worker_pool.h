// Threads for requests at work, with a bounded number of requests at work and waiting for one.
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
  // threads: that compute at a time. max_requests: running and waiting together.
  WorkerPool(int threads, int max_requests);
  ~WorkerPool();  // finishes what it has
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // What answers a request, which must not throw. false: full.
  bool try_run(std::function<void()> request);
  int requests() const;  // running and waiting

  // While it lives, the calling request waits for something: another may have its place, on a
  // thread that is started where there is none. So requests that wait for a model never keep those
  // out that only have to be read or refused. On a thread that is no pool's it does nothing.
  class Waiting {
   public:
    Waiting();
    ~Waiting();
    Waiting(const Waiting&) = delete;
    Waiting& operator=(const Waiting&) = delete;

   private:
    WorkerPool* pool_;
  };

 private:
  void work();
  void start_thread_locked();

  const int max_running_, max_requests_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> waiting_;
  int running_ = 0;  // requests on a thread
  int idle_ = 0;     // of them, those that wait for something
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace blip::server
