#include "server/sophon_demo_protocol.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "server/worker_pool.h"

namespace blip::server {
namespace {

// How long get_result waits for a result that is on its way. The sample does not wait at all; its
// clients ask again after some milliseconds.
constexpr auto kPatience = std::chrono::seconds(1);
constexpr auto kPollInterval = std::chrono::milliseconds(50);
constexpr std::size_t kResultBytes = 512;   // of the store's own, for one result
constexpr std::size_t kMaxIdDigits = 4300;  // Python's limit
constexpr int kTextTokens = 35;             // the sample's tokenizer truncates to so many
// Of a longer text the rest is not read: 35 tokens of at most 100 characters of at most 4 bytes,
// which is as long as the tokenizer knows words, fit in.
constexpr std::size_t kTextBytes = 16384;
constexpr const char* kNoResult =
    "result is None,you should sent data first";  // the sample's words

// The result with the id, a number of any length, before it.
Response result_response(const std::string& id, const Json& result) {
  return {200, "application/json", "{\"id\":" + id + "," + json_text(result).substr(1) + "\n"};
}

Json caption_result(const std::vector<JobResult>& results) {
  return {{"texts", {results.front().generation.text}}};
}

// The sample's own result has no texts, but its page looks for them as "question".
Json match_result(const std::vector<std::string>& texts, const std::vector<JobResult>& results) {
  Json similarity = Json::array();
  for (const Match& match : results.front().matches)
    similarity.push_back(float_text(match.match_probability.value_or(match.cosine.value_or(0))));
  return {{"question", texts}, {"similarity", similarity}};
}

Json ask_result(const std::vector<std::string>& questions, const std::vector<JobResult>& results) {
  Json answers = Json::array();
  for (const JobResult& result : results) answers.push_back(result.generation.text);
  return {{"question", questions}, {"texts", answers}};
}

Json result_json(Task task, const std::vector<std::string>& texts,
                 const std::vector<JobResult>& results) {
  if (task == Task::kCaption) return caption_result(results);
  return task == Task::kMatch ? match_result(texts, results) : ask_result(texts, results);
}

struct Push {
  Task task{};
  std::string id;
  std::vector<std::string> texts;
  std::vector<Job> jobs;
  Model* model = nullptr;
};

std::string read_id(Fields& fields) {
  const std::string text = fields.number_text("id", kMaxIdDigits);
  if (text.empty()) throw Problem(kInvalidRequest, "field \"id\" is missing");
  const auto id = whole_number(text);
  if (!id)
    throw Problem(kInvalidRequest, "field \"id\" must be a whole number, not " + quote(text));
  return *id;
}

// The pages send a list as repeated fields; a list as one JSON text is understood too.
std::vector<std::string> read_texts(Fields& fields) {
  std::vector<std::string> texts;
  for (const auto& [one, many] :
       {std::pair{"text", "texts"}, {"texts[]", "question"}, {"questions", "question[]"}}) {
    const auto some = fields.texts(one, many);
    texts.insert(texts.end(), some.begin(), some.end());
  }
  texts = fields.unpacked(std::move(texts), "texts");
  for (std::string& text : texts) {
    if (text.size() <= kTextBytes) continue;
    std::size_t end = kTextBytes;
    while ((static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;  // whole characters
    text.resize(end);
    text.shrink_to_fit();
  }
  return texts;
}

void add_jobs(Push& push, const Picture& picture, Work& work) {
  const ModelInfo& info = push.model->engine.info();
  const int tokens = std::min(kTextTokens, info.max_text_length);
  const auto add = [&]() -> Job& {
    Job& job = push.jobs.emplace_back();
    job.task = push.task;
    job.request_state = work.request_state();
    job.picture = picture;
    job.match.max_text_length = job.ask.max_text_length = tokens;
    if (info.can_match_itm) job.match.head = MatchHead::kItm;
    return job;
  };
  if (push.task != Task::kAsk) {
    add().texts = push.texts;
    return;
  }
  for (const std::string& question : push.texts) add().question = question;
}

Push read_push(Service& service, Task task, Exchange& exchange, Work& work) {
  exchange.request.query.clear();  // the sample reads the form alone
  InputLimits limits = service.limits.input;
  limits.max_text_characters = std::numeric_limits<std::size_t>::max() / 4;  // the body's limit
  Fields fields(exchange.request, limits);
  Push push;
  push.task = task;
  push.texts = read_texts(fields);
  const std::string name = fields.text("model");
  if (fields.pictures().size() != 1)
    throw Problem(kInvalidRequest, "one picture is needed in field \"image\", as base64 or a file");
  if (task != Task::kCaption && push.texts.empty())
    throw Problem(kInvalidRequest, "field \"texts\" is missing");
  push.id = read_id(fields);
  push.model = &service.models.choose(name, task);
  const Picture picture =
      open_picture(fields.pictures().front(), std::nullopt, *push.model, service, work);
  add_jobs(push, picture, work);
  return push;
}

// What a result takes of the store's memory without its body.
std::size_t entry_bytes(const std::string& owner, const std::string& id) {
  return kResultBytes + 2 * (owner.size() + id.size());
}

}  // namespace

Task sophon_demo_task(const std::string& name) {
  if (name == "caption") return Task::kCaption;
  return name == "match" ? Task::kMatch : Task::kAsk;
}

std::optional<std::string> whole_number(std::string_view text) {
  constexpr std::string_view kSpaces = " \t\r\n\v\f";
  const std::size_t first = text.find_first_not_of(kSpaces);
  if (first == std::string_view::npos) return std::nullopt;
  text = text.substr(first, text.find_last_not_of(kSpaces) + 1 - first);
  const bool negative = text.front() == '-';
  if (negative || text.front() == '+') text.remove_prefix(1);
  std::string digits;
  bool after_digit = false;  // an underscore stands between two digits
  for (const char c : text) {
    const bool digit = c >= '0' && c <= '9';
    if (!digit && !(c == '_' && after_digit)) return std::nullopt;
    if (digit) digits += c;
    after_digit = digit;
  }
  if (!after_digit) return std::nullopt;
  digits.erase(0, std::min(digits.find_first_not_of('0'), digits.size() - 1));
  return negative && digits != "0" ? "-" + digits : digits;
}

std::string float_text(float value) {
  if (!std::isfinite(value)) return std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf";
  constexpr float kLeastFixed = 1e-4F, kMostFixed = 1e16F;
  const float size = std::abs(value);
  const bool fixed = size == 0 || (size >= kLeastFixed && size < kMostFixed);
  char text[64];
  const auto end = std::to_chars(text, text + sizeof text, value,
                                 fixed ? std::chars_format::fixed : std::chars_format::scientific)
                       .ptr;
  std::string shown(text, end);
  if (fixed && shown.find('.') == std::string::npos) shown += ".0";
  return shown;
}

bool is_sophon_demo_path(const std::string& path) {
  return path.ends_with("/push_data") || path.ends_with("/get_result");
}

Response sophon_demo_problem(const std::string& path, const ProblemKind& kind,
                             const std::string& detail, double retry_after) {
  // What the sample's own code refuses; what HTTP, the keys or a full server do keeps its status.
  const bool pushed = path.ends_with("/push_data");
  int status = kind.status;
  for (const ProblemKind* own : {&kInvalidRequest, &kModelNotFound, &kUnsupportedMedia,
                                 &kInvalidImage, &kUnsupportedTask, &kInternal})
    if (&kind == own) status = pushed ? 500 : 400;
  Response response = to_response(kind, detail, "", retry_after);  // with its headers
  response.status = status;
  response.content_type = "application/json";
  response.body = json_text(Json{{"error", detail}}) + "\n";
  return response;
}

ResultStore::Entries::iterator ResultStore::find(const std::string& owner,
                                                 const std::optional<std::string>& id) {
  if (!id) {
    const auto first = entries_.lower_bound({owner, 0});
    return first != entries_.end() && first->first.first == owner ? first : entries_.end();
  }
  const auto number = numbers_.find({owner, *id});
  return number == numbers_.end() ? entries_.end() : entries_.find({owner, number->second});
}

void ResultStore::forget(Entries::iterator entry) {
  bytes_ -= entry->second.bytes;
  numbers_.erase({entry->first.first, entry->second.id});
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

void ResultStore::set_bytes(Entry& entry, std::size_t bytes) {
  bytes_ = bytes_ - entry.bytes + bytes;
  entry.bytes = bytes;
}

bool ResultStore::expect(const std::string& owner, const std::string& id) {
  const std::lock_guard lock(mutex_);
  const ContentHash use = content_hash(owner + '\0' + id);
  if (!used_.insert(use).second) return false;
  used_in_order_.push_back(use);
  if (used_in_order_.size() > kMaxIds) {
    used_.erase(used_in_order_.front());
    used_in_order_.pop_front();
  }
  if (const auto old = find(owner, id); old != entries_.end()) forget(old);
  const std::size_t bytes = entry_bytes(owner, id);
  make_room(bytes);
  const std::uint64_t number = next_number_++;
  numbers_[{owner, id}] = number;
  Entry& entry = entries_[{owner, number}] = {id, false, {}, Clock::now(), 0};
  set_bytes(entry, bytes);
  return true;
}

void ResultStore::withdraw(const std::string& owner, const std::string& id) {
  const std::lock_guard lock(mutex_);
  if (const auto entry = find(owner, id); entry != entries_.end()) forget(entry);
  const ContentHash use = content_hash(owner + '\0' + id);
  used_.erase(use);
  const auto newest = std::find(used_in_order_.rbegin(), used_in_order_.rend(), use);
  if (newest != used_in_order_.rend()) used_in_order_.erase(std::next(newest).base());
}

void ResultStore::put(const std::string& owner, const std::string& id, Response response) {
  {
    const std::lock_guard lock(mutex_);
    const std::size_t bytes = entry_bytes(owner, id) + response.body.size();
    const auto expected = find(owner, id);
    if (expected == entries_.end()) return;
    // Out of the count of what must make room for it.
    Entry entry = std::move(expected->second);
    const auto key = expected->first;
    bytes_ -= entry.bytes;
    entries_.erase(expected);
    make_room(bytes);
    entry.bytes = 0;
    entry.ready = true;
    entry.response = std::move(response);
    entry.since = Clock::now();
    set_bytes(entries_[key] = std::move(entry), bytes);
  }
  changed_.notify_all();
}

ResultStore::State ResultStore::take(const std::string& owner, const std::optional<std::string>& id,
                                     Clock::time_point until, Response& response, bool leave) {
  std::unique_lock lock(mutex_);
  const auto settled = [&] {
    const auto found = find(owner, id);
    return found == entries_.end() || found->second.ready;
  };
  if (!changed_.wait_until(lock, until, settled)) return State::kPending;
  while (true) {
    const auto found = find(owner, id);
    if (found == entries_.end()) return State::kUnknown;
    if (!found->second.ready) return State::kPending;
    const bool expired = Clock::now() - found->second.since > keep_;
    if (leave && !expired) {
      response = found->second.response;
      return State::kTaken;
    }
    response = std::move(found->second.response);
    forget(found);
    if (!expired) return State::kTaken;
  }
}

void push_data(Service& service, ResultStore& store, const std::string& owner,
               const std::string& task, Exchange& exchange) {
  Work work(service, exchange);
  Push push = read_push(service, sophon_demo_task(task), exchange, work);
  const std::string whose = task + owner;
  if (!store.expect(whose, push.id))
    throw Problem(kInvalidRequest, "ID " + push.id + " already exists in the queue.");
  std::vector<std::future<JobResult>> futures;
  try {
    futures = work.submit(*push.model, std::move(push.jobs));  // full: the client hears it now
  } catch (...) {
    store.withdraw(whose, push.id);
    throw;
  }
  exchange.respond(json_response({{"status", "success"}}));
  const auto fail = [&](const ProblemKind& kind, const std::string& detail) {
    Response response = sophon_demo_problem(exchange.request.path, kind, detail, 1);
    store.put(whose, push.id, std::move(response));
  };
  try {
    std::vector<JobResult> results;
    const WorkerPool::Waiting waiting;
    for (auto& future : futures) results.push_back(take(future));
    store.put(whose, push.id,
              result_response(push.id, result_json(push.task, push.texts, results)));
  } catch (const Problem& problem) {
    fail(problem.kind(), problem.what());
  } catch (const std::exception&) {
    fail(kInternal, kUnexpected);
    throw;  // into the log
  }
}

void get_result(Service&, ResultStore& store, const std::string& owner, const std::string& task,
                Exchange& exchange) {
  std::optional<std::string> id;
  for (const auto& [name, value] : exchange.request.query) {
    if (name != "id" || value.empty()) continue;
    id = whole_number(value);
    if (!id)
      throw Problem(kInvalidRequest,
                    "parameter \"id\" must be a whole number, not " + quote(value));
    break;  // the first counts, as for the sample
  }
  const auto deadline = exchange.request.received + kPatience;
  const WorkerPool::Waiting waiting;
  while (true) {
    if (exchange.client_gone()) throw Error(ErrorCode::kCancelled, "the client hung up");
    const auto now = Clock::now();
    Response response;
    const auto state = store.take(task + owner, id, std::min(deadline, now + kPollInterval),
                                  response, exchange.request.head_only);
    if (state == ResultStore::State::kTaken) return exchange.respond(std::move(response));
    if (state == ResultStore::State::kUnknown || now >= deadline)
      throw Problem(kInvalidRequest, kNoResult);
  }
}

}  // namespace blip::server
