// One model's queues: jobs of all requests, taken in batches by the threads that own the model's
// sessions.
#pragma once

#include <atomic>
#include <condition_variable>
#include <future>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "server/batch_executor.h"
#include "server/job_queue.h"
#include "server/metrics.h"
#include "server/workload.h"

namespace blip::server {

struct SchedulerOptions {
  std::size_t queue_limit = 256;  // jobs waiting
  int max_batch = 8;
  // How long a batch waits for requests known to be on their way; 0 = not at all.
  double window_ms = 2;
  BeforePass before_pass{};  // tests' own
};

// A batch computes on all of the engine's threads. A small model's threads wait for each other more
// than they compute, so with one, and several new pictures in the queue, each executor computes a
// batch of its own on its share of the threads.
//
// Long jobs (workload.h) have a queue and an executor of their own, one at a time: it takes turns
// with the other executors at the engine's threads, loop by loop, so that a short job beside the
// longest one takes a few times its own time.
class Scheduler {
 public:
  // preparing: how many requests will submit jobs soon. A batch can wait for them, and never waits
  // for nobody.
  Scheduler(const Engine& engine, const SchedulerOptions& options, ImageCache& cache,
            MemoryBudget& memory, Metrics& metrics, const std::atomic<int>& preparing);
  ~Scheduler();  // finishes what is queued
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // All of a request's jobs or none. Throws Problem(queue_full), or Problem(overloaded) where the
  // jobs before them take longer than the request has, as far as is known.
  std::vector<std::future<JobResult>> submit(std::vector<Job> jobs);
  // Throws Problem(queue_full) where as many jobs would not be taken now, Problem(invalid_request)
  // where they never are.
  void check_room(std::size_t jobs) const;
  std::size_t waiting() const;
  // How long the jobs in the queues will take, as far as is known.
  double seconds_waiting() const;

 private:
  struct Batch {
    std::vector<Job> jobs;  // none: the end
    bool wide = false;      // on all threads, no executor beside it
  };
  // A queue with what its executors work on.
  struct Side {
    JobQueue queue;
    Clock::time_point busy_until;  // as far as is known
  };
  void run(BatchExecutor& own);
  void run_long();
  Batch take();
  void finished(const Batch& batch, double ms);
  bool enough() const;
  bool is_split() const;
  std::size_t pictures_per_batch() const;
  std::size_t waiting_locked() const { return short_.queue.size() + long_.queue.size(); }
  double seconds_locked(const Side& side, std::size_t jobs) const;
  void check_room_locked(std::size_t jobs) const;
  void check_time_locked(const std::vector<Job>& jobs) const;
  void started_locked(Side& side, const std::vector<Job>& jobs);
  const Side& side_of(const Job& job) const {
    return long_executor_ && job.rows > kLongRows ? long_ : short_;
  }

  const Engine& engine_;
  const SchedulerOptions options_;
  const int executor_count_;
  const std::size_t max_pictures_;  // new ones of a batch
  const MemoryBudget& memory_;
  const std::atomic<int>& preparing_;
  Estimates estimates_;
  BatchExecutor wide_;
  // At least one, whose thread takes batches; where it is the only one, it never computes itself.
  std::vector<std::unique_ptr<BatchExecutor>> executors_;
  // None on a chip, which computes one thing at a time.
  std::unique_ptr<BatchExecutor> long_executor_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  Side short_, long_;
  std::size_t busy_ = 0;  // executors at work
  bool wide_at_work_ = false;
  std::size_t last_batch_ = 1;  // jobs of the batch begun last
  double last_ms_ = 0;          // that the batch ended last took
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace blip::server
