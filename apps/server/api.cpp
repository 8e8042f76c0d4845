#include "server/api.h"

#include <limits>

#include "server/attention_api.h"

namespace blip::server {
namespace {

void need_pictures(const Fields& fields) {
  if (fields.pictures().empty())
    throw Problem(kInvalidRequest,
                  "no picture; send \"image\" or \"images\", or the file itself as the body");
}

// A job of the picture, which may have failed already.
void add_job(std::vector<Job>& jobs, Job job, std::uint64_t rows, const Opened& opened) {
  job.rows = rows;
  job.result.failure = opened.failure;
  if (!opened.failure) job.picture = opened.picture;
  jobs.push_back(std::move(job));
}

// Before pictures are decoded: is there room for the jobs, and memory for pictures and answers?
// rows: of all of them.
void admit(Service& service, Work& work, Model& model, std::size_t pictures, std::size_t jobs,
           std::uint64_t rows, const Job& like) {
  check_work(rows, service.limits.work);
  model.scheduler.check_room(jobs);
  const ModelInfo& info = model.engine.info();
  const std::size_t attention = like.attention ? jobs * attention_bytes(info, like) : 0;
  work.hold(pictures * resized_bytes(info) + attention,
            attention > 0 ? "the attention of " + std::to_string(jobs) + " texts"
                          : std::to_string(pictures) + " pictures");
}

Job job_of(Task task, const Work& work) {
  Job job;
  job.task = task;
  job.request_state = work.request_state();
  return job;
}

// `one` starts with what the result is of.
Json text_json(Json one, const JobResult& result, const char* name) {
  one.update(generation_json(result.generation, name));
  if (result.attention) one["attention"] = attention_json(*result.attention);
  finish_result(one, result);
  return one;
}

// The result, or why there is none: one bad picture does not take the others' results away.
Json result_or_error(Json one, const JobResult& result, const char* name) {
  if (!result.failure) return text_json(std::move(one), result, name);
  one["error"] = error_json(*result.failure);
  return one;
}

Json caption_json(std::size_t index, const JobResult& result) {
  return result_or_error({{"image", index}}, result, "caption");
}

Json answer_json(std::size_t index, const std::string& question, const JobResult& result) {
  return result_or_error({{"image", index}, {"question", question}}, result, "answer");
}

// Which of a request's texts the model can read: one without a single token fails alone.
class ReadableTexts {
 public:
  // Throws Problem(invalid_request) where none is.
  ReadableTexts(const std::vector<std::string>& all, const Engine& engine, const char* field)
      : all_(all) {
    for (const std::string& text : all) {
      places_.push_back(engine.count_tokens(text) == 0 ? kNone : texts_.size());
      if (places_.back() != kNone) texts_.push_back(text);
    }
    if (!all.empty() && texts_.empty())
      throw Problem(kInvalidRequest, "field \"" + std::string(field) + "\": " + kEmptyText);
  }
  const std::vector<std::string>& texts() const { return texts_; }
  std::size_t size() const { return all_.size(); }
  // Where the text is among texts(); nullopt: it is not.
  std::optional<std::size_t> place(std::size_t index) const {
    return places_[index] == kNone ? std::nullopt : std::optional(places_[index]);
  }
  static Failure failure() { return Failure::of(kInvalidRequest, kEmptyText); }

 private:
  static constexpr std::size_t kNone = std::numeric_limits<std::size_t>::max();
  static constexpr const char* kEmptyText = "an empty text; give at least one word";
  const std::vector<std::string>& all_;
  std::vector<std::string> texts_;
  std::vector<std::size_t> places_;
};

// what: "caption" or "answer".
void check_streamable(const GenerateOptions& options, std::size_t pictures,
                      const std::string& what) {
  if (pictures != 1)
    throw Problem(kInvalidRequest, "a stream is of one picture's " + what + "; got " +
                                       std::to_string(pictures) + " pictures");
  if (options.num_return != 1)
    throw Problem(kInvalidRequest, "a stream is of one " + what + "; leave num_" + what + "s out");
  if (!options.sample && options.beams != 1)
    throw Problem(
        kInvalidRequest,
        "beam search decides its words at the end and cannot stream; use beams 1 or sample");
}

void check_answer_streamable(const GenerateOptions& options, std::size_t pictures,
                             std::size_t questions, bool ranked) {
  if (ranked)
    throw Problem(kInvalidRequest,
                  "given answers are ranked as a whole and cannot stream; leave \"answers\" or "
                  "\"stream\" out");
  if (questions != 1)
    throw Problem(kInvalidRequest, "a stream is of one question's answer; got " +
                                       std::to_string(questions) + " questions");
  check_streamable(options, pictures, "answer");
}

using OnToken = std::function<void(std::int32_t, const std::string&)>;

// The caption or answer of the job, token by token, then result_json of its result.
void stream_text(Model& model, Exchange& exchange, Work& work, Job job,
                 const std::function<Json(const JobResult&)>& result_json) {
  // The callback runs on the scheduler's thread and may outlive this call: the exchange has to live
  // as long.
  OnToken& on_token = job.task == Task::kCaption ? job.caption.on_token : job.ask.on_token;
  on_token = [stream = exchange.shared_from_this(), request_state = work.request_state(),
              sent = std::string()](std::int32_t id, const std::string& text) mutable {
    const std::string added = text.starts_with(sent) ? text.substr(sent.size()) : text;
    sent = text;
    if (!stream->write(sse_event("token", {{"id", id}, {"text", text}, {"added", added}})))
      request_state->cancelled = true;
  };
  if (job.result.failure) job.result.failure->raise();
  std::vector<Job> jobs;
  jobs.push_back(std::move(job));
  auto futures = work.submit(model, std::move(jobs));  // a full queue is still a plain 429
  exchange.start_stream({200, "text/event-stream", "", {{"Cache-Control", "no-store"}}});
  try {
    Json json = result_json(work.get(futures.front()));
    add_summary(json, model, work);
    json["request_id"] = exchange.request.id;
    exchange.write(sse_event("done", json));
  } catch (const Problem& problem) {
    work.request_state()->cancelled = true;
    exchange.write(
        sse_event("error", to_json(problem.kind(), problem.what(), exchange.request.id)));
  } catch (const std::exception&) {
    work.request_state()->cancelled = true;
    exchange.write(sse_event("error", to_json(kInternal, kUnexpected, exchange.request.id)));
    exchange.end();
    throw;  // into the log
  }
  exchange.end();
}

}  // namespace

std::string sse_event(const std::string& event, const Json& data) {
  return (event.empty() ? "" : "event: " + event + "\n") + "data: " + json_text(data) + "\n\n";
}

void answer_caption(Service& service, Exchange& exchange) {
  Work work(service, exchange);
  Fields fields(exchange.request, service.limits.input);
  CaptionOptions options;
  const bool stream = fields.flag("stream", false);
  if (stream) options.generate.beams = 1;
  if (fields.has("prompt")) options.prompt = fields.text("prompt");
  options.generate = read_generate(fields, options.generate, kCaptionText, service.limits.work);
  const bool attention = fields.flag("attention", false);
  const CommonFields common = read_common(fields, work, service.limits);
  need_pictures(fields);
  if (stream) check_streamable(options.generate, fields.pictures().size(), "caption");

  Model& model = service.models.choose(common.model, Task::kCaption, attention);
  const auto make = [&] {
    Job job = job_of(Task::kCaption, work);
    job.caption = options;
    if (attention) job.attention = AttentionOptions{.prompt = options.prompt};
    return job;
  };
  const std::uint64_t rows = rows_of(model.engine, make());
  const std::size_t count = fields.pictures().size();
  admit(service, work, model, count, count, rows * count, make());
  std::vector<Job> jobs;
  for (const Opened& opened : open_pictures(fields, common.background, model, service, work))
    add_job(jobs, make(), rows, opened);
  if (stream)
    return stream_text(model, exchange, work, std::move(jobs.front()),
                       [](const JobResult& result) { return caption_json(0, result); });
  Json json{{"results", Json::array()}};
  for (const JobResult& result : work.run(model, std::move(jobs)))
    json["results"].push_back(caption_json(json["results"].size(), result));
  respond(exchange, std::move(json), model, work);
}

namespace {

Json matches_json(const std::vector<std::string>& texts, const ReadableTexts& readable,
                  const JobResult& result) {
  Json matches = Json::array();
  for (std::size_t i = 0; i < texts.size(); ++i) {
    Json& one = matches.emplace_back(Json{{"text", texts[i]}});
    const auto place = readable.place(i);
    if (!place) {
      one["error"] = error_json(ReadableTexts::failure());
      continue;
    }
    const Match& match = result.matches[*place];
    one["match_probability"] =
        match.match_probability ? number_json(*match.match_probability) : Json();
    one["cosine"] = match.cosine ? number_json(*match.cosine) : Json();
  }
  return matches;
}

}  // namespace

void answer_match(Service& service, Exchange& exchange) {
  Work work(service, exchange);
  Fields fields(exchange.request, service.limits.input);
  const std::vector<std::string> texts = fields.texts("text", "texts", Fields::Empty::kSome);
  const MatchOptions options{parse_match_head(fields.text("head", "all")), read_text_length(fields),
                             parse_itm_token(fields.text("itm_token", kItmTokens.front()))};
  const CommonFields common = read_common(fields, work, service.limits);
  need_pictures(fields);
  if (texts.empty()) throw Problem(kInvalidRequest, "no text; send \"text\" or \"texts\"");

  Model& model = service.models.choose(common.model, Task::kMatch);
  const ReadableTexts readable(texts, model.engine, "texts");
  const auto make = [&] {
    Job job = job_of(Task::kMatch, work);
    job.match = options;
    job.texts = readable.texts();
    return job;
  };
  const std::uint64_t rows = rows_of(model.engine, make());
  const std::size_t count = fields.pictures().size();
  admit(service, work, model, count, count, rows * count, make());
  std::vector<Job> jobs;
  for (const Opened& opened : open_pictures(fields, common.background, model, service, work))
    add_job(jobs, make(), rows, opened);
  Json json{{"results", Json::array()}};
  for (const JobResult& result : work.run(model, std::move(jobs))) {
    Json one{{"image", json["results"].size()}};
    if (result.failure) {
      one["error"] = error_json(*result.failure);
    } else {
      one["matches"] = matches_json(texts, readable, result);
      finish_result(one, result);
    }
    json["results"].push_back(std::move(one));
  }
  respond(exchange, std::move(json), model, work);
}

namespace {

struct AskRequest {
  std::vector<std::string> questions, answers;
  AskOptions options;
  CommonFields common;
  bool stream = false, attention = false;
  Task task() const { return answers.empty() ? Task::kAsk : Task::kRank; }
};

AskRequest read_ask(Service& service, Fields& fields, Work& work) {
  AskRequest ask;
  ask.questions = fields.texts("question", "questions", Fields::Empty::kSome);
  ask.answers = fields.texts("answer", "answers");
  ask.stream = fields.flag("stream", false);
  if (ask.stream) ask.options.generate.beams = 1;
  ask.options.generate =
      read_generate(fields, ask.options.generate, kAnswerText, service.limits.work);
  ask.attention = fields.flag("attention", false);
  ask.options.max_text_length = read_text_length(fields);
  ask.options.rank_candidates =
      read_whole(fields, option_named("rank_candidates"), ask.options.rank_candidates);
  ask.common = read_common(fields, work, service.limits);
  need_pictures(fields);
  if (ask.questions.empty())
    throw Problem(kInvalidRequest, "no question; send \"question\" or \"questions\"");
  if (ask.answers.empty() && fields.has("rank_candidates"))
    throw Problem(kInvalidRequest,
                  "field \"rank_candidates\": has an effect on given answers only; send "
                  "\"answers\", or leave it out");
  for (const Option& row : kOptions) {
    const std::string name = name_for(row, kAnswerText);
    if (!ask.answers.empty() && row.generates() && fields.has(name))
      throw Problem(
          kInvalidRequest,
          "field \"" + name +
              "\": has no effect on given answers, which are ranked; leave it or \"answers\" out");
  }
  if (ask.stream)
    check_answer_streamable(ask.options.generate, fields.pictures().size(), ask.questions.size(),
                            !ask.answers.empty());
  return ask;
}

Job job_of(const AskRequest& ask, const std::string& question, const Work& work) {
  Job job = job_of(ask.task(), work);
  job.question = question;
  job.texts = ask.answers;
  job.ask = ask.options;
  if (ask.attention)
    job.attention = AttentionOptions{.max_text_length = ask.options.max_text_length};
  return job;
}

}  // namespace

void answer_ask(Service& service, Exchange& exchange) {
  Work work(service, exchange);
  Fields fields(exchange.request, service.limits.input);
  const AskRequest ask = read_ask(service, fields, work);
  Model& model = service.models.choose(ask.common.model, ask.task(), ask.attention);
  const ReadableTexts readable(ask.questions, model.engine, "questions");
  std::vector<std::uint64_t> rows;
  std::uint64_t total = 0;
  for (const std::string& question : ask.questions)
    total += rows.emplace_back(rows_of(model.engine, job_of(ask, question, work)));
  const std::size_t count = fields.pictures().size();
  admit(service, work, model, count, count * rows.size(), total * count,
        job_of(ask, ask.questions.front(), work));
  std::vector<Job> jobs;
  for (const Opened& opened : open_pictures(fields, ask.common.background, model, service, work)) {
    for (std::size_t i = 0; i < rows.size(); ++i) {
      add_job(jobs, job_of(ask, ask.questions[i], work), rows[i], opened);
      if (!readable.place(i) && !opened.failure)
        jobs.back().result.failure = ReadableTexts::failure();
    }
  }
  const std::vector<std::string>& questions = ask.questions;
  if (ask.stream) {
    return stream_text(
        model, exchange, work, std::move(jobs.front()),
        [&](const JobResult& result) { return answer_json(0, questions.front(), result); });
  }
  const auto results = work.run(model, std::move(jobs));
  Json json{{"results", Json::array()}};
  for (std::size_t i = 0; i < results.size(); ++i)
    json["results"].push_back(
        answer_json(i / questions.size(), questions[i % questions.size()], results[i]));
  respond(exchange, std::move(json), model, work);
}

namespace {

// By pairs: each readable text has a probability.
Json judgements_json(const std::vector<std::string>& texts, const ReadableTexts& readable,
                     const JobResult& result) {
  Json judgements = Json::array();
  for (std::size_t i = 0; i < texts.size(); ++i) {
    Json& one = judgements.emplace_back(Json{{"text", texts[i]}});
    if (const auto place = readable.place(i)) {
      one["answer"] = result.probabilities[*place] > 0.5f;
      one["probability"] = number_json(result.probabilities[*place]);
    } else {
      one["error"] = error_json(ReadableTexts::failure());
    }
  }
  return judgements;
}

}  // namespace

void answer_nlvr(Service& service, Exchange& exchange) {
  Work work(service, exchange);
  Fields fields(exchange.request, service.limits.input);
  const std::vector<std::string> texts = fields.texts("text", "texts", Fields::Empty::kSome);
  const NlvrOptions options{read_text_length(fields)};
  const CommonFields common = read_common(fields, work, service.limits);
  if (const std::size_t count = fields.pictures().size(); count != 2)
    throw Problem(kInvalidRequest, "two pictures, the left and the right one, are judged; got " +
                                       std::to_string(count) + "; send \"images\"");
  if (texts.empty()) throw Problem(kInvalidRequest, "no text; send \"text\" or \"texts\"");

  Model& model = service.models.choose(common.model, Task::kNlvr);
  const ReadableTexts readable(texts, model.engine, "texts");
  Job job = job_of(Task::kNlvr, work);
  job.nlvr = options;
  job.texts = readable.texts();
  job.rows = rows_of(model.engine, job);
  admit(service, work, model, 2, 1, job.rows, job);
  std::vector<Opened> opened = open_pictures(fields, common.background, model, service, work);
  for (const Opened& one : opened)
    if (one.failure) one.failure->raise();
  job.picture = std::move(opened[0].picture);
  job.second = std::move(opened[1].picture);
  std::vector<Job> jobs;
  jobs.push_back(std::move(job));
  const auto results = work.run(model, std::move(jobs));
  Json one{{"images", {0, 1}}, {"judgements", judgements_json(texts, readable, results.front())}};
  finish_result(one, results.front());
  respond(exchange, Json{{"results", Json::array({std::move(one)})}}, model, work);
}

namespace {

Json vector_json(const std::vector<float>& values) {
  Json list = Json::array();
  for (const float value : values) list.push_back(number_json(value));
  return list;
}

}  // namespace

void answer_embed(Service& service, Exchange& exchange) {
  Work work(service, exchange);
  Fields fields(exchange.request, service.limits.input);
  const std::vector<std::string> texts = fields.texts("text", "texts", Fields::Empty::kSome);
  const EmbedOptions options{read_text_length(fields)};
  const CommonFields common = read_common(fields, work, service.limits);
  if (fields.pictures().empty() && texts.empty())
    throw Problem(kInvalidRequest, "nothing to embed; send pictures or texts");

  Model& model = service.models.choose(common.model, Task::kEmbedImage);
  const ReadableTexts readable(texts, model.engine, "texts");
  Job of_texts = job_of(Task::kEmbedTexts, work);
  of_texts.texts = readable.texts();
  of_texts.embed = options;
  of_texts.rows = rows_of(model.engine, of_texts);
  const std::size_t count = fields.pictures().size();
  admit(service, work, model, count, count + 1, of_texts.rows, of_texts);
  std::vector<Job> jobs;
  for (const Opened& opened : open_pictures(fields, common.background, model, service, work))
    add_job(jobs, job_of(Task::kEmbedImage, work), 1, opened);
  if (!texts.empty()) jobs.push_back(std::move(of_texts));
  const auto results = work.run(model, std::move(jobs));
  Json json{{"dimensions", model.engine.info().embed_dim},
            {"images", Json::array()},
            {"texts", Json::array()}};
  for (std::size_t i = 0; i < fields.pictures().size(); ++i) {
    Json one{{"image", i}};
    if (results[i].failure) {
      one["error"] = error_json(*results[i].failure);
    } else {
      one["embedding"] = vector_json(results[i].vectors.front());
      finish_result(one, results[i]);
    }
    json["images"].push_back(std::move(one));
  }
  for (std::size_t i = 0; i < texts.size(); ++i) {
    Json one{{"text", texts[i]}};
    const auto place = readable.place(i);
    const std::optional<Failure> failure =
        place ? results.back().failure : ReadableTexts::failure();
    if (failure)
      one["error"] = error_json(*failure);
    else
      one["embedding"] = vector_json(results.back().vectors[*place]);
    json["texts"].push_back(std::move(one));
  }
  if (!texts.empty() && !results.back().warnings.empty())
    json["warnings"] = results.back().warnings;
  respond(exchange, std::move(json), model, work);
}

Json describe_models(const Models& models) {
  Json data = Json::array();
  for (const auto& model : models.all()) {
    const ModelInfo& info = model->engine.info();
    Json tasks = Json::array();
    for (const Task task : {Task::kCaption, Task::kMatch, Task::kAsk, Task::kRank, Task::kNlvr,
                            Task::kEmbedImage, Task::kAttention})
      if (can(info, task)) tasks.push_back(task == Task::kEmbedImage ? "embed" : to_string(task));
    data.push_back({{"id", model->name},
                    {"object", "model"},
                    {"created", 0},
                    {"owned_by", "blip"},
                    {"tasks", tasks},
                    {"adapters", info.adapters},
                    {"image_size", info.image_size},
                    {"embed_dim", info.embed_dim},
                    {"prompt", info.prompt},
                    {"text_length", info.text_length},
                    {"max_text_length", info.max_text_length},
                    {"max_length", info.max_length},
                    {"parameters", info.parameters},
                    {"device", model->engine.device()},
                    {"dtype", to_string(model->engine.dtype())},
                    {"threads", model->engine.threads()}});
  }
  return {{"object", "list"}, {"data", data}};
}

}  // namespace blip::server
