#include "server/sophon_demo_protocol.h"

#include <cstdio>

#include "server/worker_pool.h"

namespace blip::server {
namespace {

constexpr auto kWatchInterval = std::chrono::milliseconds(50);
constexpr std::size_t kEntryBytes = 512;  // of the store's own, for one result

std::string two_decimals(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f", value);
  return text;
}

Json caption_result(const std::vector<JobResult>& results) {
  return {{"texts", {results.front().generation.text}}};
}

Json match_result(const std::vector<std::string>& texts, const std::vector<JobResult>& results) {
  Json similarity = Json::array();
  for (const Match& match : results.front().matches)
    similarity.push_back(two_decimals(match.match_probability.value_or(match.cosine.value_or(0))));
  return {{"texts", texts}, {"similarity", similarity}};
}

Json ask_result(const std::vector<std::string>& questions, const std::vector<JobResult>& results) {
  Json answers = Json::array();
  for (const JobResult& result : results) answers.push_back(result.generation.text);
  return {{"question", questions}, {"texts", answers}};
}

struct Push {
  std::string id;
  std::vector<std::string> texts;
  std::vector<Job> jobs;
  Model* model = nullptr;
};

Push read_push(Service& service, const std::string& task, Exchange& exchange, Work& work) {
  Fields fields(exchange.request, service.limits.input);
  Push push;
  push.id = fields.text("id");
  for (const auto& [one, many] :
       {std::pair{"text", "texts"}, {"texts[]", "question"}, {"questions", "question[]"}}) {
    const auto some = fields.texts(one, many);
    push.texts.insert(push.texts.end(), some.begin(), some.end());
  }
  // The sample's pages send a list as repeated fields; a list as one JSON text is understood too.
  push.texts = fields.unpacked(std::move(push.texts), "texts");
  const std::string name = fields.text("model");
  if (push.id.empty()) throw Problem(kInvalidRequest, "field \"id\" is missing");
  if (fields.pictures().size() != 1)
    throw Problem(kInvalidRequest, "one picture is needed in field \"image\", as base64 or a file");
  if (task != "caption" && push.texts.empty())
    throw Problem(kInvalidRequest, "field \"texts\" is missing");
  const Task kind = task == "caption" ? Task::kCaption
                    : task == "match" ? Task::kMatch
                                      : Task::kAsk;
  push.model = &service.models.choose(name, kind);
  const Picture picture =
      open_picture(fields.pictures().front(), std::nullopt, *push.model, service, work);
  const auto add = [&]() -> Job& {
    Job& job = push.jobs.emplace_back();
    job.task = kind;
    job.ticket = work.ticket();
    job.picture = picture;
    return job;
  };
  if (kind == Task::kAsk) {
    for (const std::string& question : push.texts) add().question = question;
  } else {
    add().texts = push.texts;
  }
  return push;
}

}  // namespace

void ResultStore::forget(std::map<Key, Entry>::iterator entry) {
  bytes_ -= entry->second.bytes;
  entries_.erase(entry);
}

// Room for one more of so many bytes.
void ResultStore::make_room(std::size_t bytes) {
  const auto now = Clock::now();
  for (auto entry = entries_.begin(); entry != entries_.end();) {
    const auto next = std::next(entry);
    if (entry->second.ready && now - entry->second.since > keep_) forget(entry);
    entry = next;
  }
  while (!entries_.empty() && (entries_.size() >= max_results_ || bytes_ + bytes > max_bytes_)) {
    const auto older = [](const auto& a, const auto& b) { return a.second.since < b.second.since; };
    forget(std::min_element(entries_.begin(), entries_.end(), older));
  }
}

void ResultStore::set(const Key& key, Entry entry) {
  if (const auto old = entries_.find(key); old != entries_.end()) forget(old);
  entry.bytes =
      kEntryBytes + 2 * (key.first.size() + key.second.size()) + entry.response.body.size();
  make_room(entry.bytes);
  bytes_ += entry.bytes;
  entries_[key] = std::move(entry);
}

void ResultStore::expect(const Key& key) {
  const std::lock_guard lock(mutex_);
  set(key, {false, {}, Clock::now(), 0});
}

void ResultStore::put(const Key& key, Response response) {
  {
    const std::lock_guard lock(mutex_);
    set(key, {true, std::move(response), Clock::now(), 0});
  }
  changed_.notify_all();
}

ResultStore::State ResultStore::wait(const Key& key, Clock::time_point until, Response& response) {
  std::unique_lock lock(mutex_);
  const auto settled = [&] {
    const auto found = entries_.find(key);
    return found == entries_.end() || found->second.ready;
  };
  if (!changed_.wait_until(lock, until, settled)) return State::kPending;
  const auto found = entries_.find(key);
  if (found == entries_.end() ||
      std::chrono::duration<double>(Clock::now() - found->second.since) > keep_)
    return State::kUnknown;
  response = found->second.response;
  return State::kReady;
}

void push_data(Service& service, ResultStore& store, const std::string& owner,
               const std::string& task, Exchange& exchange) {
  Work work(service, exchange);
  Push push = read_push(service, task, exchange, work);
  const ResultStore::Key key{task + owner, push.id};
  auto futures = work.submit(*push.model, std::move(push.jobs));  // full: the client hears it now
  store.expect(key);
  exchange.respond(json_response({{"id", push.id}, {"status", "accepted"}}));
  Json json{{"id", push.id}};
  try {
    std::vector<JobResult> results;
    const WorkerPool::Waiting waiting;
    for (auto& future : futures) results.push_back(take(future));
    json.update(task == "caption" ? caption_result(results)
                : task == "match" ? match_result(push.texts, results)
                                  : ask_result(push.texts, results));
    store.put(key, json_response(json));
  } catch (const Problem& problem) {
    store.put(key, to_response(problem.kind(), problem.what(), exchange.request.id,
                               problem.retry_after()));
  } catch (const std::exception& error) {
    store.put(key, to_response(kInternal, kUnexpected, exchange.request.id));
    throw;  // into the log
  }
}

void get_result(Service& service, ResultStore& store, const std::string& owner,
                const std::string& task, Exchange& exchange) {
  Fields fields(exchange.request, service.limits.input);
  const std::string id = fields.text("id");
  fields.reject_unknown();
  if (id.empty()) throw Problem(kInvalidRequest, "parameter \"id\" is missing");
  const auto deadline =
      exchange.request.received +
      std::chrono::microseconds(static_cast<std::int64_t>(service.limits.timeout_ms * 1000));
  const WorkerPool::Waiting waiting;
  while (true) {
    Response response;
    const auto state =
        store.wait({task + owner, id}, std::min(deadline, Clock::now() + kWatchInterval), response);
    if (state == ResultStore::State::kReady) return exchange.respond(std::move(response));
    if (state == ResultStore::State::kUnknown)
      throw Problem(kNotFound, "no result for id " + quote(id) +
                                   ": nothing was pushed under it, or it has expired");
    if (exchange.client_gone()) throw Error(ErrorCode::kCancelled, "the client hung up");
    if (Clock::now() >= deadline)
      throw Problem(kDeadline, "the result is not there yet; ask again");
  }
}

}  // namespace blip::server
