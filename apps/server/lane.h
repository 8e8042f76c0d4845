// A session and how it works through a batch of jobs: new pictures first, then the tasks, those that fit together in one pass.
#pragma once

#include <string>
#include <vector>

#include "server/jobs.h"
#include "server/metrics.h"

namespace blip::server {

// One thread at a time.
class Lane {
 public:
  // threads: of its own; 0 = all of the engine's.
  Lane(const Engine& engine, int threads, ImageCache& cache, Metrics& metrics);
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  // Every job gets its result or its failure.
  void execute(std::vector<Job>& batch);

 private:
  using Group = std::vector<Job*>;
  void encode(std::vector<Job>& batch);
  void compute(const Group& group);
  void call(const Group& group);
  void attend(Job& job);
  bool cancelled() const;
  void warn(const std::string& message);

  ImageCache& cache_;
  Metrics& metrics_;
  Session session_;
  Group current_;  // what the session works on
};

}  // namespace blip::server
