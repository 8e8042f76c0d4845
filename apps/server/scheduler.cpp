#include "server/scheduler.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <set>

namespace blip::server {
namespace {

// Threads wait for each other some hundred times per picture, a few microseconds each. Measured
// with 2 threads: of the bundled model (10 million weights, 2 ms) two executors compute a quarter
// more pictures per second than one pass on both; of BLIP-base (224 million, 110 ms) a tenth fewer,
// as each executor reads all weights for its own words.
constexpr std::size_t kSmallModel = 50'000'000;
constexpr int kMaxExecutors = 8;

// New pictures per batch, and of an executor's. The model is no faster per picture with more of
// them, and while it works on some, the next are decoded: eight clients with pictures of their own
// would otherwise all wait for one batch of eight, then all decode.
constexpr std::size_t kNewPictures = 4, kNewPicturesPerExecutor = 2;

// After a batch that took long its clients may take longer to ask again together than the window:
// waiting for them this share of its time costs little, and a batch of all of them saves more.
constexpr double kWindowShare = 0.02;

// Estimates are averages: a request is sent away only where it would be late by more than they may
// be wrong.
constexpr double kSurelyLate = 1.25;

// What the next batch is: so many jobs from the first on, and whether waiting could still add to
// it.
struct NextBatch {
  std::size_t jobs = 0;
  bool full = false;
};

void add_new_pictures(const Job& job, std::set<ContentHash>& pictures) {
  for_each_picture(job, [&](const Picture& picture) {
    if (!picture.encoded) pictures.insert(picture.hash);
  });
}

NextBatch next_batch(const JobQueue& queue, std::size_t limit, std::size_t new_pictures) {
  NextBatch next;
  std::set<ContentHash> pictures;
  for (; next.jobs < std::min(limit, queue.size()); ++next.jobs) {
    std::set<ContentHash> with = pictures;
    add_new_pictures(queue[next.jobs], with);
    // A job of more pictures than that goes alone.
    if (with.size() > std::max(new_pictures, pictures.size()) && next.jobs > 0) break;
    pictures = std::move(with);
  }
  next.full = next.jobs == limit || pictures.size() >= new_pictures;
  return next;
}

std::size_t count_new_pictures(const JobQueue& queue) {
  std::set<ContentHash> pictures;
  for (const Job& job : queue) add_new_pictures(job, pictures);
  return pictures.size();
}

// Its sessions compute side by side on threads of this machine.
bool on_host(const Engine& engine) { return device_kind(engine.device()).on_host; }

bool is_small(const Engine& engine) {
  return on_host(engine) && engine.info().parameters < kSmallModel;
}

}  // namespace

Scheduler::Scheduler(const Engine& engine, const SchedulerOptions& options, ImageCache& cache,
                     MemoryBudget& memory, Metrics& metrics, const std::atomic<int>& preparing)
    : engine_(engine),
      options_(options),
      executor_count_(is_small(engine) ? std::clamp(engine.threads(), 1, kMaxExecutors) : 1),
      max_pictures_(executor_count_ > 1 ? kNewPicturesPerExecutor : kNewPictures),
      memory_(memory),
      preparing_(preparing),
      wide_(engine, 0, {cache, memory, metrics, estimates_, options_.before_pass}) {
  const BatchExecutorParts parts{cache, memory, metrics, estimates_, options_.before_pass};
  const int threads_each = std::max(1, engine.threads() / executor_count_);
  for (int i = 0; i < executor_count_; ++i)
    executors_.push_back(std::make_unique<BatchExecutor>(engine, threads_each, parts));
  if (on_host(engine)) long_executor_ = std::make_unique<BatchExecutor>(engine, 0, parts);
  for (const auto& executor : executors_)
    threads_.emplace_back([this, own = executor.get()] { run(*own); });
  if (long_executor_) threads_.emplace_back([this] { run_long(); });
}

Scheduler::~Scheduler() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

// The time of the first so many jobs of the queue, and of those at work.
double Scheduler::seconds_locked(const Side& side, std::size_t jobs) const {
  double sum = 0;
  for (std::size_t i = 0; i < jobs; ++i) sum += estimates_.seconds(side.queue[i]);
  if (&side == &short_) sum /= executor_count_;
  return sum + std::max(0.0, -ms_since(side.busy_until) / 1000);
}

void Scheduler::check_room_locked(std::size_t jobs) const {
  const std::size_t waiting = waiting_locked();
  if (jobs > options_.queue_limit)
    throw Problem(kInvalidRequest, "this request needs " + std::to_string(jobs) +
                                       " jobs, one for each picture or each question about a "
                                       "picture, and the queue holds at most " +
                                       std::to_string(options_.queue_limit) +
                                       " (--queue); send fewer at a time");
  if (waiting + jobs <= options_.queue_limit) return;
  // Until as many are done as this request lacks room for.
  const double all =
      seconds_locked(short_, short_.queue.size()) + seconds_locked(long_, long_.queue.size());
  const double share =
      static_cast<double>(waiting + jobs - options_.queue_limit) / static_cast<double>(waiting);
  throw Problem(kQueueFull,
                "the queue holds " + std::to_string(waiting) + " of at most " +
                    std::to_string(options_.queue_limit) + " jobs and this request needs " +
                    std::to_string(jobs) + "; try again soon",
                all * share);
}

// A request that has the queue to itself is always tried.
void Scheduler::check_time_locked(const std::vector<Job>& jobs) const {
  const RequestState& request_state = *jobs.front().request_state;
  if (request_state.deadline == Clock::time_point::max()) return;
  const Side& side = side_of(jobs.front());
  const double turn =
      side.queue.last_turn(request_state.client, jobs.size(), cost_of(jobs.front()));
  const double wait = seconds_locked(side, side.queue.before(turn));
  double own = 0;
  for (const Job& job : jobs) own += estimates_.seconds(job);
  const double left = -ms_since(request_state.deadline) / 1000;
  if (wait <= 0 || wait + own <= kSurelyLate * left) return;
  const auto shown = [](double seconds) {
    return std::to_string(std::max(1, static_cast<int>(std::ceil(seconds)))) + " s";
  };
  throw Problem(kOverloaded,
                "the requests before this one take about " + shown(wait) +
                    ", and its time ends in " + shown(left) +
                    "; try again later, or with a longer timeout_ms",
                wait + own - left);
}

std::vector<std::future<JobResult>> Scheduler::submit(std::vector<Job> jobs) {
  std::vector<std::future<JobResult>> futures;
  if (jobs.empty()) return futures;
  const auto now = Clock::now();
  for (Job& job : jobs) {
    job.queued = now;
    if (job.rows == 0) job.rows = rows_of(engine_, job);
    if (const std::size_t bytes = work_bytes(engine_.info(), job);
        bytes > memory_.largest(MemoryKind::kWork))
      throw Problem(kInvalidRequest,
                    "this request needs " + shown_bytes(bytes) +
                        " of memory at a time and the server has at most " +
                        shown_bytes(memory_.largest(MemoryKind::kWork)) +
                        " (--memory); ask for fewer beams, a smaller max_length or fewer texts");
    futures.push_back(job.promise.get_future());
  }
  {
    const std::lock_guard lock(mutex_);
    check_room_locked(jobs.size());
    check_time_locked(jobs);
    std::vector<Job> lengthy;
    const auto first_long = std::stable_partition(
        jobs.begin(), jobs.end(), [&](const Job& job) { return &side_of(job) == &short_; });
    std::move(first_long, jobs.end(), std::back_inserter(lengthy));
    jobs.erase(first_long, jobs.end());
    short_.queue.push(std::move(jobs));
    long_.queue.push(std::move(lengthy));
  }
  changed_.notify_all();
  return futures;
}

void Scheduler::check_room(std::size_t jobs) const {
  const std::lock_guard lock(mutex_);
  check_room_locked(jobs);
}

std::size_t Scheduler::waiting() const {
  const std::lock_guard lock(mutex_);
  return waiting_locked();
}

double Scheduler::seconds_waiting() const {
  const std::lock_guard lock(mutex_);
  return std::max(seconds_locked(short_, short_.queue.size()),
                  seconds_locked(long_, long_.queue.size()));
}

void Scheduler::started_locked(Side& side, const std::vector<Job>& jobs) {
  double seconds = 0;
  for (const Job& job : jobs) seconds += estimates_.seconds(job);
  side.busy_until =
      std::max(side.busy_until, Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                                   std::chrono::duration<double>(seconds)));
}

void Scheduler::run(BatchExecutor& own) {
  for (Batch batch = take(); !batch.jobs.empty(); batch = take()) {
    const auto started = Clock::now();
    (batch.wide ? wide_ : own).execute(batch.jobs);
    finished(batch, ms_since(started));
  }
}

// One job at a time: it has rows enough to keep all threads busy, and the next client's turn comes
// sooner.
void Scheduler::run_long() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return stop_ || !long_.queue.empty(); });
    if (long_.queue.empty()) return;
    std::vector<Job> jobs;
    jobs.push_back(long_.queue.pop());
    started_locked(long_, jobs);
    lock.unlock();
    long_executor_->execute(jobs);
    jobs.clear();
    lock.lock();
    long_.busy_until = Clock::now();
  }
}

// Would the batch that could be taken now gain nothing by waiting? As many as are coming, or as
// came together last time, are there: clients that wait for answers ask again together.
bool Scheduler::enough() const {
  const auto coming = short_.queue.size() + static_cast<std::size_t>(preparing_.load());
  return stop_ || short_.queue.size() >= std::max(coming, last_batch_) ||
         next_batch(short_.queue, static_cast<std::size_t>(options_.max_batch), max_pictures_).full;
}

// Does the next batch go to one executor rather than to all threads? Two pictures are faster
// together.
bool Scheduler::is_split() const {
  return executors_.size() > 1 && (busy_ > 0 || count_new_pictures(short_.queue) > 2);
}

// The idle executors share what is there.
std::size_t Scheduler::pictures_per_batch() const {
  const std::size_t idle = executors_.size() - busy_;
  return std::clamp<std::size_t>((count_new_pictures(short_.queue) + idle - 1) / idle, 1,
                                 max_pictures_);
}

// Waits for work; then, while requests are known to be on their way, up to the window for more of
// it.
Scheduler::Batch Scheduler::take() {
  std::unique_lock lock(mutex_);
  const auto free = [&] { return !short_.queue.empty() && !wide_at_work_; };
  do {
    changed_.wait(lock, [&] { return free() || (stop_ && short_.queue.empty()); });
    if (short_.queue.empty()) return {};
    const double window_ms = std::max(options_.window_ms, kWindowShare * last_ms_);
    if (options_.window_ms > 0)
      changed_.wait_for(lock, std::chrono::duration<double, std::milli>(window_ms),
                        [&] { return !free() || enough(); });
  } while (!free());  // another executor was faster
  Batch batch;
  batch.wide = !is_split();
  const std::size_t pictures = batch.wide ? max_pictures_ : pictures_per_batch();
  for (std::size_t left =
           next_batch(short_.queue, static_cast<std::size_t>(options_.max_batch), pictures).jobs;
       left > 0; --left) {
    batch.jobs.push_back(short_.queue.pop());
  }
  started_locked(short_, batch.jobs);
  last_batch_ = std::max<std::size_t>(1, batch.jobs.size());
  wide_at_work_ = batch.wide;
  ++busy_;
  lock.unlock();
  changed_.notify_all();  // there may be work for another executor
  return batch;
}

void Scheduler::finished(const Batch& batch, double ms) {
  const std::lock_guard lock(mutex_);
  last_ms_ = ms;
  if (--busy_ == 0) short_.busy_until = Clock::now();
  if (batch.wide) wide_at_work_ = false;
  if (batch.wide) changed_.notify_all();
}

}  // namespace blip::server
