// One model's queue: jobs of all requests, taken in batches by the threads that own the model's sessions.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <future>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "server/jobs.h"
#include "server/lane.h"
#include "server/metrics.h"

namespace blip::server {

struct SchedulerOptions {
  std::size_t queue_limit = 256;  // jobs waiting
  int max_batch = 8;
  double window_ms = 2;  // how long a batch waits for requests known to be on their way; 0 = not at all
};

// A batch computes on all of the engine's threads. A small model's threads wait for each other more than they compute, so with one,
// and several new pictures in the queue, each lane computes a batch of its own on its share of the threads.
class Scheduler {
 public:
  // preparing: how many requests will submit jobs soon. A batch can wait for them, and never waits for nobody.
  Scheduler(const Engine& engine, const SchedulerOptions& options, ImageCache& cache, Metrics& metrics, const std::atomic<int>& preparing);
  ~Scheduler();  // finishes what is queued
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // All of a request's jobs or none: throws Problem(queue_full).
  std::vector<std::future<JobResult>> submit(std::vector<Job> jobs);
  std::size_t waiting() const;

 private:
  struct Batch {
    std::vector<Job> jobs;  // none: the end
    bool wide = false;      // on all threads, no lane beside it
  };
  void run(Lane& own);
  Batch take();
  void finished(const Batch& batch, double ms);
  bool enough() const;
  bool is_split() const;
  std::size_t pictures_per_batch() const;

  const SchedulerOptions options_;
  const int lane_count_;
  const std::size_t max_pictures_;  // new ones of a batch
  const std::atomic<int>& preparing_;
  Lane wide_;
  std::vector<std::unique_ptr<Lane>> lanes_;  // at least one thread takes batches; with one lane it never computes by itself

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> queue_;
  std::size_t busy_ = 0;        // lanes at work
  bool wide_at_work_ = false;
  std::size_t last_batch_ = 1;  // jobs of the batch begun last
  double last_ms_ = 0;          // that the batch ended last took
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace blip::server
