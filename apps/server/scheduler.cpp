#include "server/scheduler.h"

#include <algorithm>
#include <chrono>
#include <set>

namespace blip::server {
namespace {

// Threads wait for each other some hundred times per picture, a few microseconds each. Measured with 2 threads: of the bundled model (10 million
// weights, 2 ms) two lanes compute a quarter more pictures per second than one pass on both; of BLIP-base (224 million, 110 ms)
// a tenth fewer, as each lane reads all weights for its own words.
constexpr std::size_t kSmallModel = 50'000'000;
constexpr int kMaxLanes = 8;

// New pictures per batch, and of a lane's. The model is no faster per picture with more of them, and while it works on some, the next are
// decoded: eight clients with pictures of their own would otherwise all wait for one batch of eight, then all decode.
constexpr std::size_t kNewPictures = 4, kNewPicturesPerLane = 2;

// After a batch that took long its clients may take longer to ask again together than the window: waiting for them this share of
// its time costs little, and a batch of all of them saves more.
constexpr double kWindowShare = 0.02;

// What the next batch is: so many jobs from the first on, and whether waiting could still add to it.
struct NextBatch {
  std::size_t jobs = 0;
  bool full = false;
};

NextBatch next_batch(const std::deque<Job>& queue, std::size_t limit, std::size_t new_pictures) {
  NextBatch next;
  std::set<ContentHash> pictures;
  for (; next.jobs < std::min(limit, queue.size()); ++next.jobs) {
    const Job& job = queue[next.jobs];
    const bool is_new = job.picture && !job.picture->encoded && !pictures.contains(job.picture->hash);
    if (is_new && pictures.size() == new_pictures) break;
    if (is_new) pictures.insert(job.picture->hash);
  }
  next.full = next.jobs == limit || pictures.size() == new_pictures;
  return next;
}

std::size_t count_new_pictures(const std::deque<Job>& queue) {
  std::set<ContentHash> pictures;
  for (const Job& job : queue)
    if (job.picture && !job.picture->encoded) pictures.insert(job.picture->hash);
  return pictures.size();
}

bool is_small(const Engine& engine) { return engine.device() == "cpu" && engine.info().parameters < kSmallModel; }

}  // namespace

Scheduler::Scheduler(const Engine& engine, const SchedulerOptions& options, ImageCache& cache, Metrics& metrics,
                     const std::atomic<int>& preparing)
    : options_(options),
      lane_count_(is_small(engine) ? std::clamp(engine.threads(), 1, kMaxLanes) : 1),
      max_pictures_(lane_count_ > 1 ? kNewPicturesPerLane : kNewPictures),
      preparing_(preparing),
      wide_(engine, 0, cache, metrics) {
  const int threads_each = std::max(1, engine.threads() / lane_count_);
  for (int i = 0; i < lane_count_; ++i) lanes_.push_back(std::make_unique<Lane>(engine, threads_each, cache, metrics));
  for (const auto& lane : lanes_) threads_.emplace_back([this, own = lane.get()] { run(*own); });
}

Scheduler::~Scheduler() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

std::vector<std::future<JobResult>> Scheduler::submit(std::vector<Job> jobs) {
  std::vector<std::future<JobResult>> futures;
  const auto now = Clock::now();
  for (Job& job : jobs) {
    job.queued = now;
    futures.push_back(job.promise.get_future());
  }
  {
    const std::lock_guard lock(mutex_);
    if (queue_.size() + jobs.size() > options_.queue_limit)
      throw Problem(kQueueFull, "the queue holds " + std::to_string(queue_.size()) + " of at most " + std::to_string(options_.queue_limit) +
                                    " jobs and this request needs " + std::to_string(jobs.size()) + "; try again soon");
    std::move(jobs.begin(), jobs.end(), std::back_inserter(queue_));
  }
  changed_.notify_all();
  return futures;
}

std::size_t Scheduler::waiting() const {
  const std::lock_guard lock(mutex_);
  return queue_.size();
}

void Scheduler::run(Lane& own) {
  for (Batch batch = take(); !batch.jobs.empty(); batch = take()) {
    const auto started = Clock::now();
    (batch.wide ? wide_ : own).execute(batch.jobs);
    finished(batch, ms_since(started));
  }
}

// Would the batch that could be taken now gain nothing by waiting? As many as are coming, or as came together last time, are there:
// clients that wait for answers ask again together.
bool Scheduler::enough() const {
  const auto coming = queue_.size() + static_cast<std::size_t>(preparing_.load());
  return stop_ || queue_.size() >= std::max(coming, last_batch_) ||
         next_batch(queue_, static_cast<std::size_t>(options_.max_batch), max_pictures_).full;
}

// Does the next batch go to one lane rather than to all threads? Two pictures are faster together.
bool Scheduler::is_split() const { return lanes_.size() > 1 && (busy_ > 0 || count_new_pictures(queue_) > 2); }

// The idle lanes share what is there.
std::size_t Scheduler::pictures_per_batch() const {
  const std::size_t idle = lanes_.size() - busy_;
  return std::clamp<std::size_t>((count_new_pictures(queue_) + idle - 1) / idle, 1, max_pictures_);
}

// Waits for work; then, while requests are known to be on their way, up to the window for more of it.
Scheduler::Batch Scheduler::take() {
  std::unique_lock lock(mutex_);
  const auto free = [&] { return !queue_.empty() && !wide_at_work_; };
  do {
    changed_.wait(lock, [&] { return free() || (stop_ && queue_.empty()); });
    if (queue_.empty()) return {};
    const double window_ms = std::max(options_.window_ms, kWindowShare * last_ms_);
    if (options_.window_ms > 0) changed_.wait_for(lock, std::chrono::duration<double, std::milli>(window_ms), [&] { return !free() || enough(); });
  } while (!free());  // another lane was faster
  Batch batch;
  batch.wide = !is_split();
  const std::size_t pictures = batch.wide ? max_pictures_ : pictures_per_batch();
  for (std::size_t left = next_batch(queue_, static_cast<std::size_t>(options_.max_batch), pictures).jobs; left > 0; --left) {
    batch.jobs.push_back(std::move(queue_.front()));
    queue_.pop_front();
  }
  last_batch_ = std::max<std::size_t>(1, batch.jobs.size());
  wide_at_work_ = batch.wide;
  ++busy_;
  lock.unlock();
  changed_.notify_all();  // there may be work for another lane
  return batch;
}

void Scheduler::finished(const Batch& batch, double ms) {
  const std::lock_guard lock(mutex_);
  last_ms_ = ms;
  --busy_;
  if (batch.wide) wide_at_work_ = false;
  if (batch.wide) changed_.notify_all();
}

}  // namespace blip::server
