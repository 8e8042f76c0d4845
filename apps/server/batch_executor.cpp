#include "server/batch_executor.h"

#include <algorithm>
#include <map>
#include <type_traits>
#include <variant>

#include "blip/limits.h"

namespace blip::server {
namespace {

// Is every option that has an effect the same?
bool generate_alike(const GenerateOptions& a, const GenerateOptions& b) {
  return std::all_of(kOptions.begin(), kOptions.end(), [&](const Option& row) {
    const auto same = [&](auto field) {
      if constexpr (std::is_same_v<decltype(field), std::monostate>)
        return true;
      else
        return a.*field == b.*field;
    };
    return !row.has_effect(a) || std::visit(same, row.field);
  });
}

// May one call of the session do both? A sample depends on what is drawn beside it, so sampled
// texts run alone.
bool together(const Job& a, const Job& b) {
  if (a.task != b.task) return false;
  switch (a.task) {
    case Task::kCaption:
      return !a.caption.on_token && !b.caption.on_token && !a.caption.generate.sample &&
             !b.caption.generate.sample && a.caption.prompt == b.caption.prompt &&
             generate_alike(a.caption.generate, b.caption.generate);
    case Task::kAsk:
      return a.picture->hash == b.picture->hash && !a.ask.on_token && !b.ask.on_token &&
             !a.ask.generate.sample && !b.ask.generate.sample &&
             generate_alike(a.ask.generate, b.ask.generate) &&
             a.ask.max_text_length == b.ask.max_text_length;
    case Task::kMatch:
      return a.picture->hash == b.picture->hash && a.match.head == b.match.head &&
             a.match.itm_token == b.match.itm_token &&
             a.match.max_text_length == b.match.max_text_length;
    case Task::kEmbedTexts:
      return a.embed.max_text_length == b.embed.max_text_length;
    case Task::kNlvr:
      return a.picture->hash == b.picture->hash && a.second->hash == b.second->hash &&
             a.nlvr.max_text_length == b.nlvr.max_text_length;
    case Task::kRank:
    case Task::kEmbedImage:
    case Task::kAttention:
      return false;
  }
  return false;
}

Failure over_failure(const Job& job) {
  if (job.request_state->cancelled)
    return {.kind = Failure::Kind::kError, .code = ErrorCode::kCancelled, .message = "cancelled"};
  return {.kind = Failure::Kind::kProblem,
          .problem = &kDeadline,
          .message =
              "the deadline passed before the answer was there; ask for less at a time, or later"};
}

// Splits what one call gave for the texts of several jobs, in order.
template <class Item>
void share(const std::vector<Job*>& group, std::vector<Item>& all,
           std::vector<Item> JobResult::*to) {
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

BatchExecutor::BatchExecutor(const Engine& engine, int threads, const BatchExecutorParts& parts)
    : parts_(parts),
      info_(engine.info()),
      session_(engine, {[this] { return cancelled(); },
                        [this](const std::string& message) { warn(message); }, threads}) {}

// Runs inside the session: true ends the call, when nobody waits for any of its results.
bool BatchExecutor::cancelled() const {
  return !current_.empty() && std::all_of(current_.begin(), current_.end(), [](const Job* job) {
    return job->request_state->over();
  });
}

// A warning quotes its text: it goes to the jobs that sent that text, once, and to nobody else.
// Those of words concern all jobs of a pass, which have the same.
void BatchExecutor::warn(const std::string& message) {
  const bool of_words = message.starts_with(option_named("forbid_words").name) ||
                        message.starts_with(option_named("force_words").name);
  for (Job* job : current_) {
    const auto quoted = [&](const std::string& text) {
      return !text.empty() && message.ends_with("\"" + text + "\"");
    };
    std::vector<std::string>& warnings = job->result.warnings;
    if (std::find(warnings.begin(), warnings.end(), message) != warnings.end()) continue;
    if (of_words || quoted(job->question) ||
        std::any_of(job->texts.begin(), job->texts.end(), quoted))
      warnings.push_back(message);
  }
}

void BatchExecutor::execute(std::vector<Job>& batch) {
  for (Job& job : batch) {
    job.result.queue_ms = ms_since(job.queued);
    parts_.metrics.observe("blip_stage_seconds", "stage=\"queue\"", job.result.queue_ms / 1000);
  }
  run(batch);
}

void BatchExecutor::run(std::vector<Job>& batch) {
  std::erase_if(batch, [](Job& job) {
    if (!job.request_state->over()) return false;
    job.fail(over_failure(job));
    return true;
  });
  if (batch.empty()) return;
  std::size_t bytes = 0;
  for (const Job& job : batch) bytes += work_bytes(info_, job);
  // Each fits alone: the scheduler takes no others.
  if (bytes > parts_.memory.largest(MemoryKind::kWork) && batch.size() > 1) {
    for (Job& job : batch) {
      std::vector<Job> one;
      one.push_back(std::move(job));
      run(one);
    }
    return;
  }
  const auto memory = take_memory(batch, bytes);
  if (!memory) {
    for (Job& job : batch)
      job.fail(job.request_state->cancelled ? over_failure(job)
                                            : Failure::of(kOutOfMemory, kNoMemoryNow));
    return;
  }
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
  for (const Job& job : batch)
    for_each_picture(job, [&](const Picture& one) { parts_.cache.recount(one.hash); });
}

// Waits until the last of the jobs is over. nullopt: it was.
std::optional<MemoryBudget::Share> BatchExecutor::take_memory(std::vector<Job>& batch,
                                                              std::size_t bytes) {
  const auto over = [&] {
    return std::all_of(batch.begin(), batch.end(),
                       [](const Job& job) { return job.request_state->over(); });
  };
  return parts_.memory.take(MemoryKind::kWork, bytes, Clock::time_point::max(), over);
}

// Every new picture of the batch in one pass; jobs whose picture fails leave the batch with the
// error.
void BatchExecutor::encode(std::vector<Job>& batch) {
  std::map<ContentHash, Wanted> wanted;
  for (Job& job : batch) {
    job.result.cached = job.picture.has_value();
    for_each_picture(job, [&](Picture& picture) {
      if (!picture.encoded) picture.encoded = parts_.cache.find(picture.hash);
      const bool cached = picture.encoded.has_value();
      parts_.metrics.count(cached ? "blip_image_cache_hits_total"
                                  : "blip_image_cache_misses_total");
      if (cached) return;
      job.result.cached = false;
      wanted[picture.hash].places.push_back(&picture);
      wanted[picture.hash].jobs.push_back(&job);
    });
  }
  std::vector<Wanted> pictures;
  for (auto& [hash, picture] : wanted) pictures.push_back(std::move(picture));
  const bool together = pictures.empty() || encode(pictures);
  if (!together && pictures.size() > 1) {
    for (Job& job : batch) job.result.failure.reset();
    for (const Wanted& picture : pictures) encode({picture});
  }
  for (Job& job : batch) {
    if (job.result.failure) {
      job.fail(job.request_state->over() ? over_failure(job) : *job.result.failure);
    } else {
      // The encoded one is all that is needed now.
      for_each_picture(job, [](Picture& picture) {
        picture.image.reset();
        picture.memory.reset();
      });
    }
  }
  std::erase_if(batch, [](const Job& job) { return new_pictures(job) > 0; });
}

// In one pass. false: it failed, and every job has the failure.
bool BatchExecutor::encode(const std::vector<Wanted>& pictures) {
  std::vector<Image> images;
  current_.clear();
  for (const Wanted& picture : pictures) {
    images.push_back(*picture.places.front()->image);
    current_.insert(current_.end(), picture.jobs.begin(), picture.jobs.end());
  }
  std::optional<Failure> failure;
  try {
    if (parts_.before_pass) parts_.before_pass("encode", current_);
    const auto started = Clock::now();
    const auto encoded = session_.encode(images);
    parts_.estimates.encoded(images.size(), ms_since(started) / 1000);
    parts_.metrics.observe("blip_batch_size", "task=\"encode\"",
                           static_cast<double>(images.size()));
    for (std::size_t i = 0; i < images.size(); ++i) {
      const EncodedImage& image = encoded[i];
      const Picture& first = *pictures[i].places.front();
      parts_.cache.insert(first.hash, image);
      parts_.metrics.observe("blip_stage_seconds", "stage=\"preprocess\"",
                             (first.resize_ms + image.preprocess_ms()) / 1000);
      parts_.metrics.observe("blip_stage_seconds", "stage=\"encode\"", image.encode_ms() / 1000);
      for (std::size_t j = 0; j < pictures[i].jobs.size(); ++j) {
        Picture& picture = *pictures[i].places[j];
        JobResult& result = pictures[i].jobs[j]->result;
        picture.encoded = image;
        result.preprocess_ms += picture.resize_ms + image.preprocess_ms();
        result.encode_ms += image.encode_ms();
      }
    }
  } catch (...) {
    failure = Failure::current();
  }
  for (Job* job : current_)
    if (failure && new_pictures(*job) > 0) job->result.failure = failure;
  current_.clear();
  return !failure;
}

void BatchExecutor::compute(const Group& group) {
  current_ = group;
  const auto started = Clock::now();
  std::optional<Failure> failure;
  try {
    if (parts_.before_pass) parts_.before_pass(to_string(group.front()->task), group);
    call(group);
    for (Job* job : group)
      if (job->attention) attend(*job);
  } catch (...) {
    failure = Failure::current();
  }
  current_.clear();
  if (failure && group.size() > 1) {  // one bad input must not fail the others
    for (Job* job : group) {
      job->result.warnings.clear();
      compute({job});
    }
    return;
  }
  std::uint64_t rows = 0;
  for (const Job* job : group) rows += job->rows;
  if (!failure) parts_.estimates.computed(group.front()->task, rows, ms_since(started) / 1000);
  const double ms = ms_since(started) / static_cast<double>(group.size());
  const std::string task = to_string(group.front()->task);
  parts_.metrics.observe("blip_batch_size", "task=\"" + task + "\"",
                         static_cast<double>(group.size()));
  parts_.metrics.observe("blip_stage_seconds", "stage=\"" + task + "\"", ms / 1000);
  for (Job* job : group) {
    if (failure) {
      // What a device that failed held of the picture is lost: the next request encodes it anew.
      if (failure->is_of_device())
        for_each_picture(*job, [&](const Picture& one) { parts_.cache.erase(one.hash); });
      job->fail(job->request_state->over() ? over_failure(*job) : *failure);
      continue;
    }
    job->result.task_ms = ms;
    job->result.batch = static_cast<int>(group.size());
    job->promise.set_value(std::move(job->result));
  }
}

void BatchExecutor::attend(Job& job) {
  const auto started = Clock::now();
  const Text& text = job.result.generation;
  const EncodedImage& image = *job.picture->encoded;
  job.result.attention = job.question.empty()
                             ? session_.attention(image, text, *job.attention)
                             : session_.attention(image, job.question, text, *job.attention);
  parts_.metrics.observe("blip_stage_seconds", "stage=\"attention\"", ms_since(started) / 1000);
}

void BatchExecutor::call(const Group& group) {
  Job& first = *group.front();
  switch (first.task) {
    case Task::kCaption: {
      std::vector<EncodedImage> images;
      for (const Job* job : group) images.push_back(*job->picture->encoded);
      auto captions = session_.caption(images, first.caption);
      for (std::size_t i = 0; i < group.size(); ++i)
        group[i]->result.generation = std::move(captions[i]);
      return;
    }
    case Task::kAsk: {
      std::vector<std::string> questions;
      for (const Job* job : group) questions.push_back(job->question);
      auto answers = session_.ask(*first.picture->encoded, questions, first.ask);
      for (std::size_t i = 0; i < group.size(); ++i)
        group[i]->result.generation = std::move(answers[i]);
      return;
    }
    case Task::kMatch: {
      auto matches = session_.match(*first.picture->encoded, texts_of(group), first.match);
      return share(group, matches, &JobResult::matches);
    }
    case Task::kRank:
      first.result.generation =
          session_.rank(*first.picture->encoded, first.question, first.texts, first.ask);
      return;
    case Task::kEmbedImage:
      first.result.vectors = {session_.embed(*first.picture->encoded)};
      return;
    case Task::kAttention:
      first.result.generation.text = first.texts.front();
      return;
    case Task::kNlvr: {
      auto probabilities = session_.nlvr(*first.picture->encoded, *first.second->encoded,
                                         texts_of(group), first.nlvr);
      return share(group, probabilities, &JobResult::probabilities);
    }
    case Task::kEmbedTexts: {
      auto vectors = session_.embed(texts_of(group), first.embed);
      return share(group, vectors, &JobResult::vectors);
    }
  }
}

}  // namespace blip::server
