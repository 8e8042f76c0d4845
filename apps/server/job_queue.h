// Jobs in the order of their turns: requests step between each other's jobs, and clients between
// each other's requests.
#pragma once

#include <deque>
#include <vector>

#include "server/jobs.h"

namespace blip::server {

// Start-time fair queueing. A job's turn lies as far behind the present as the work that comes
// before it on its own side: the jobs of its request before it, and one for each request of its
// client that waits already. So a request of one job passes most of a request of many, and one
// client's first request passes another's tenth. Not thread-safe.
class JobQueue {
 public:
  // Of one request.
  void push(std::vector<Job> jobs);
  Job pop();

  bool empty() const { return jobs_.empty(); }
  std::size_t size() const { return jobs_.size(); }
  const Job& operator[](std::size_t index) const { return jobs_[index]; }
  auto begin() const { return jobs_.begin(); }
  auto end() const { return jobs_.end(); }
  // Those that a job of such a turn would wait for.
  std::size_t before(double turn) const;
  // The turn that the last of so many jobs of a client would get.
  double last_turn(const std::string& client, std::size_t jobs, double cost) const;

 private:
  std::size_t waiting_requests(const std::string& client) const;

  std::deque<Job> jobs_;
  double now_ = 0;  // the turn of the job taken last
};

// What a job counts when turns are given.
double cost_of(const Job& job);

}  // namespace blip::server
