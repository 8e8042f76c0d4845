#include "server/scheduler.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

namespace blip::server {
namespace {

// New pictures per batch. The vision tower is no faster per picture with more of them, and while it works on some, the next
// are decoded: eight clients with pictures of their own would otherwise all wait for one batch of eight, then all decode.
constexpr std::size_t kNewPictures = 4;

// What the next batch is: so many jobs from the first on, and whether waiting could still add to it.
struct NextBatch {
  std::size_t jobs = 0;
  bool full = false;
};

NextBatch next_batch(const std::deque<Job>& queue, std::size_t limit) {
  NextBatch next;
  std::set<ContentHash> pictures;
  for (; next.jobs < std::min(limit, queue.size()); ++next.jobs) {
    const Job& job = queue[next.jobs];
    const bool is_new = job.picture && !job.picture->encoded && !pictures.contains(job.picture->hash);
    if (is_new && pictures.size() == kNewPictures) break;
    if (is_new) pictures.insert(job.picture->hash);
  }
  next.full = next.jobs == limit || pictures.size() == kNewPictures;
  return next;
}

auto key_of(const GenerateOptions& o) {
  return std::tuple(o.beams, o.min_length, o.max_length, o.length_penalty, o.repetition_penalty, o.num_return);
}

// May one call of the session do both? A sample depends on what is drawn beside it, so sampled texts run alone.
bool together(const Job& a, const Job& b) {
  if (a.task != b.task) return false;
  switch (a.task) {
    case Task::kCaption:
      return !a.caption.on_token && !b.caption.on_token && !a.caption.generate.sample && !b.caption.generate.sample &&
             a.caption.prompt == b.caption.prompt && key_of(a.caption.generate) == key_of(b.caption.generate);
    case Task::kAsk:
      return a.picture->hash == b.picture->hash && !a.ask.on_token && !b.ask.on_token && !a.ask.generate.sample && !b.ask.generate.sample &&
             key_of(a.ask.generate) == key_of(b.ask.generate);
    case Task::kMatch:
      return a.picture->hash == b.picture->hash;
    case Task::kEmbedTexts:
      return true;
    case Task::kRank:
    case Task::kEmbedImage:
    case Task::kAttention:
      return false;
  }
  return false;
}

Failure over_failure(const Job& job) {
  if (job.ticket->cancelled) return {.kind = Failure::Kind::kError, .code = ErrorCode::kCancelled, .message = "cancelled"};
  return {.kind = Failure::Kind::kProblem,
          .problem = &kDeadline,
          .message = "the deadline passed before the answer was there; ask for less at a time, or later"};
}

// Splits what one call gave for the texts of several jobs, in order.
template <class Item>
void share(const std::vector<Job*>& group, std::vector<Item>& all, std::vector<Item> JobResult::*to) {
  auto next = std::make_move_iterator(all.begin());
  for (Job* job : group) {
    const auto end = next + static_cast<std::ptrdiff_t>(job->texts.size());
    (job->result.*to).assign(next, end);
    next = end;
  }
}

std::vector<std::string> texts_of(const std::vector<Job*>& group) {
  std::vector<std::string> texts;
  for (const Job* job : group) texts.insert(texts.end(), job->texts.begin(), job->texts.end());
  return texts;
}

}  // namespace

Failure Failure::current() {
  try {
    throw;
  } catch (const Problem& problem) {
    return {.kind = Kind::kProblem, .problem = &problem.kind(), .message = problem.what()};
  } catch (const Error& error) {
    return {.kind = Kind::kError, .code = error.code(), .message = error.what()};
  } catch (const std::bad_alloc&) {
    return {.kind = Kind::kOutOfMemory, .message = "not enough memory"};
  } catch (const std::exception& error) {
    return {.message = error.what()};
  }
}

void Failure::raise() const {
  switch (kind) {
    case Kind::kProblem: throw Problem(*problem, message);
    case Kind::kError: throw Error(code, message);
    case Kind::kOutOfMemory: throw std::bad_alloc();
    case Kind::kOther: break;
  }
  throw std::runtime_error(message);
}

void Job::fail(Failure failure) {
  result.failure = std::move(failure);
  promise.set_value(std::move(result));
}

JobResult take(std::future<JobResult>& future) {
  JobResult result = future.get();
  if (result.failure) result.failure->raise();
  return result;
}

const char* to_string(Task task) {
  switch (task) {
    case Task::kCaption: return "caption";
    case Task::kMatch: return "match";
    case Task::kAsk: return "ask";
    case Task::kRank: return "rank";
    case Task::kEmbedImage: return "embed_image";
    case Task::kEmbedTexts: return "embed_texts";
    case Task::kAttention: return "attention";
  }
  return "unknown";
}

Scheduler::Scheduler(const Engine& engine, const SchedulerOptions& options, ImageCache& cache, Metrics& metrics,
                     const std::atomic<int>& preparing)
    : options_(options),
      cache_(cache),
      metrics_(metrics),
      preparing_(preparing),
      session_(engine, {[this] { return cancelled(); }, [this](const std::string& message) { warn(message); }}),
      worker_([this] { run(); }) {}

Scheduler::~Scheduler() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  worker_.join();
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
  changed_.notify_one();
  return futures;
}

std::size_t Scheduler::waiting() const {
  const std::lock_guard lock(mutex_);
  return queue_.size();
}

// Runs inside the session: true ends the call, when nobody waits for any of its results.
bool Scheduler::cancelled() const {
  return !current_.empty() && std::all_of(current_.begin(), current_.end(), [](const Job* job) { return job->ticket->over(); });
}

// A warning quotes its text: it goes to the jobs that sent that text, and to nobody else.
void Scheduler::warn(const std::string& message) {
  for (Job* job : current_) {
    const auto quoted = [&](const std::string& text) { return !text.empty() && message.ends_with("\"" + text + "\""); };
    if (quoted(job->question) || std::any_of(job->texts.begin(), job->texts.end(), quoted)) job->result.warnings.push_back(message);
  }
}

void Scheduler::run() {
  for (auto batch = take(); !batch.empty(); batch = take()) execute(batch);
}

// Waits for work; then, while requests are known to be on their way, up to the window for more of it. Empty: the end.
std::vector<Job> Scheduler::take() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return stop_ || !queue_.empty(); });
  const auto limit = static_cast<std::size_t>(options_.max_batch);
  const auto enough = [&] {
    // As many as are coming, or as came together last time: clients that wait for answers ask again together.
    const auto coming = queue_.size() + static_cast<std::size_t>(preparing_.load());
    return stop_ || queue_.size() >= std::max(coming, last_batch_) || next_batch(queue_, limit).full;
  };
  if (options_.window_ms > 0) changed_.wait_for(lock, std::chrono::duration<double, std::milli>(options_.window_ms), enough);
  std::vector<Job> batch;
  for (std::size_t left = next_batch(queue_, limit).jobs; left > 0; --left) {
    batch.push_back(std::move(queue_.front()));
    queue_.pop_front();
  }
  last_batch_ = std::max<std::size_t>(1, batch.size());
  return batch;
}

void Scheduler::execute(std::vector<Job>& batch) {
  for (Job& job : batch) {
    job.result.queue_ms = ms_since(job.queued);
    metrics_.observe("blip_stage_seconds", "stage=\"queue\"", job.result.queue_ms / 1000);
  }
  std::erase_if(batch, [](Job& job) {
    if (!job.ticket->over()) return false;
    job.fail(over_failure(job));
    return true;
  });
  encode(batch);
  std::vector<Group> groups;
  for (Job& job : batch) {
    const auto fits = [&](const Group& group) { return together(*group.front(), job); };
    const auto group = std::find_if(groups.begin(), groups.end(), fits);
    if (group != groups.end()) {
      group->push_back(&job);
    } else {
      groups.push_back({&job});
    }
  }
  for (const Group& group : groups) compute(group);
}

// Every new picture of the batch in one pass; jobs whose picture fails leave the batch with the error.
void Scheduler::encode(std::vector<Job>& batch) {
  std::map<ContentHash, std::vector<Job*>> wanted;
  for (Job& job : batch) {
    if (!job.picture) continue;
    if (!job.picture->encoded) job.picture->encoded = cache_.find(job.picture->hash);
    if (!job.picture->encoded) wanted[job.picture->hash].push_back(&job);
    job.result.cached = job.picture->encoded.has_value();
    metrics_.count(job.result.cached ? "blip_image_cache_hits_total" : "blip_image_cache_misses_total");
  }
  if (wanted.empty()) return;
  std::vector<Image> images;
  current_.clear();
  for (const auto& [hash, jobs] : wanted) {
    images.push_back(*jobs.front()->picture->image);
    current_.insert(current_.end(), jobs.begin(), jobs.end());
  }
  try {
    const auto encoded = session_.encode(images);
    metrics_.observe("blip_batch_size", "task=\"encode\"", static_cast<double>(images.size()));
    std::size_t next = 0;
    for (const auto& [hash, jobs] : wanted) {
      const EncodedImage& image = encoded[next++];
      cache_.insert(hash, image);
      metrics_.observe("blip_stage_seconds", "stage=\"preprocess\"", (jobs.front()->picture->resize_ms + image.preprocess_ms()) / 1000);
      metrics_.observe("blip_stage_seconds", "stage=\"encode\"", image.encode_ms() / 1000);
      for (Job* job : jobs) {
        job->picture->encoded = image;
        job->result.preprocess_ms = job->picture->resize_ms + image.preprocess_ms();
        job->result.encode_ms = image.encode_ms();
      }
    }
  } catch (...) {
    const Failure failure = Failure::current();
    for (Job& job : batch)
      if (job.picture && !job.picture->encoded) job.fail(job.ticket->over() ? over_failure(job) : failure);
    std::erase_if(batch, [](const Job& job) { return job.picture && !job.picture->encoded; });
  }
  current_.clear();
}

void Scheduler::compute(const Group& group) {
  current_ = group;
  const auto started = Clock::now();
  std::optional<Failure> failure;
  try {
    call(group);
    for (Job* job : group)
      if (job->attention) attend(*job);
  } catch (...) {
    failure = Failure::current();
  }
  current_.clear();
  if (failure && group.size() > 1) {  // one bad input must not fail the others
    for (Job* job : group) compute({job});
    return;
  }
  const double ms = ms_since(started) / static_cast<double>(group.size());
  const std::string task = to_string(group.front()->task);
  metrics_.observe("blip_batch_size", "task=\"" + task + "\"", static_cast<double>(group.size()));
  metrics_.observe("blip_stage_seconds", "stage=\"" + task + "\"", ms / 1000);
  for (Job* job : group) {
    if (failure) {
      job->fail(job->ticket->over() ? over_failure(*job) : *failure);
      continue;
    }
    job->result.task_ms = ms;
    job->result.batch = static_cast<int>(group.size());
    job->promise.set_value(std::move(job->result));
  }
}

void Scheduler::attend(Job& job) {
  const auto started = Clock::now();
  const Text& text = job.result.generation;
  const EncodedImage& image = *job.picture->encoded;
  job.result.attention =
      job.question.empty() ? session_.attention(image, text, *job.attention) : session_.attention(image, job.question, text, *job.attention);
  metrics_.observe("blip_stage_seconds", "stage=\"attention\"", ms_since(started) / 1000);
}

void Scheduler::call(const Group& group) {
  Job& first = *group.front();
  switch (first.task) {
    case Task::kCaption: {
      std::vector<EncodedImage> images;
      for (const Job* job : group) images.push_back(*job->picture->encoded);
      auto captions = session_.caption(images, first.caption);
      for (std::size_t i = 0; i < group.size(); ++i) group[i]->result.generation = std::move(captions[i]);
      return;
    }
    case Task::kAsk: {
      std::vector<std::string> questions;
      for (const Job* job : group) questions.push_back(job->question);
      auto answers = session_.ask(*first.picture->encoded, questions, first.ask);
      for (std::size_t i = 0; i < group.size(); ++i) group[i]->result.generation = std::move(answers[i]);
      return;
    }
    case Task::kMatch: {
      auto matches = session_.match(*first.picture->encoded, texts_of(group));
      return share(group, matches, &JobResult::matches);
    }
    case Task::kRank:
      first.result.generation = session_.rank(*first.picture->encoded, first.question, first.texts, first.ask);
      return;
    case Task::kEmbedImage:
      first.result.vectors = {session_.embed(*first.picture->encoded)};
      return;
    case Task::kAttention:
      first.result.generation.text = first.texts.front();
      return;
    case Task::kEmbedTexts: {
      auto vectors = session_.embed(texts_of(group));
      return share(group, vectors, &JobResult::vectors);
    }
  }
}

}  // namespace blip::server
