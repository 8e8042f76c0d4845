#include "server/job_queue.h"

#include <algorithm>
#include <set>

#include "server/workload.h"

namespace blip::server {

double cost_of(const Job& job) {
  return static_cast<double>(
      std::max<std::uint64_t>(1, job.rows + new_pictures(job) * kPictureRows));
}

std::size_t JobQueue::waiting_requests(const std::string& client) const {
  std::set<const RequestState*> requests;
  for (const Job& job : jobs_)
    if (job.request_state->client == client) requests.insert(job.request_state.get());
  return requests.size();
}

std::size_t JobQueue::before(double turn) const {
  const auto later = [](double value, const Job& job) { return value < job.turn; };
  return static_cast<std::size_t>(std::upper_bound(jobs_.begin(), jobs_.end(), turn, later) -
                                  jobs_.begin());
}

double JobQueue::last_turn(const std::string& client, std::size_t jobs, double cost) const {
  return now_ + static_cast<double>(waiting_requests(client) + jobs - 1) * cost;
}

void JobQueue::push(std::vector<Job> jobs) {
  if (jobs.empty()) return;
  double turn = now_ + static_cast<double>(waiting_requests(jobs.front().request_state->client)) *
                           cost_of(jobs.front());
  for (Job& job : jobs) {
    job.turn = turn;
    turn += cost_of(job);
    jobs_.insert(jobs_.begin() + static_cast<std::ptrdiff_t>(before(job.turn)), std::move(job));
  }
}

Job JobQueue::pop() {
  Job job = std::move(jobs_.front());
  jobs_.pop_front();
  now_ = std::max(now_, job.turn);
  return job;
}

}  // namespace blip::server
