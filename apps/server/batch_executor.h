// A session and how it works through a batch of jobs: new pictures first, then the tasks, those
// that fit together in one pass.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "server/jobs.h"
#include "server/metrics.h"
#include "server/workload.h"

namespace blip::server {

// Called before a pass over the jobs, "encode" or the task's name. Tests throw from it, as a
// failing pass would.
using BeforePass = std::function<void(const std::string& pass, const std::vector<Job*>& jobs)>;

// What executors of one model share.
struct BatchExecutorParts {
  ImageCache& cache;
  MemoryBudget& memory;
  Metrics& metrics;
  Estimates& estimates;
  BeforePass before_pass{};
};

// One thread at a time.
class BatchExecutor {
 public:
  // threads: of its own; 0 = all of the engine's.
  BatchExecutor(const Engine& engine, int threads, const BatchExecutorParts& parts);
  BatchExecutor(const BatchExecutor&) = delete;
  BatchExecutor& operator=(const BatchExecutor&) = delete;

  // Every job gets its result or its failure. A pass that fails is done again for each of its jobs
  // alone, so that only those at fault fail.
  void execute(std::vector<Job>& batch);

 private:
  using Group = std::vector<Job*>;
  std::optional<MemoryBudget::Share> take_memory(std::vector<Job>& batch, std::size_t bytes);
  void run(std::vector<Job>& batch);
  void encode(std::vector<Job>& batch);
  // A picture to encode and the jobs that look at it.
  struct Wanted {
    std::vector<Picture*> places;
    Group jobs;
  };
  bool encode(const std::vector<Wanted>& pictures);
  void compute(const Group& group);
  void call(const Group& group);
  void attend(Job& job);
  bool cancelled() const;
  void warn(const std::string& message);

  BatchExecutorParts parts_;
  ModelInfo info_;
  Session session_;
  Group current_;  // what the session works on
};

}  // namespace blip::server
