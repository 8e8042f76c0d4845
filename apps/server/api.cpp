#include "server/api.h"

#include "server/attention_api.h"

namespace blip::server {
namespace {

void need_pictures(const Fields& fields) {
  if (fields.pictures().empty()) throw Problem(kInvalidRequest, "no picture; send \"image\" or \"images\", or the file itself as the body");
}

Job job_of(Task task, const Work& work) {
  Job job;
  job.task = task;
  job.ticket = work.ticket();
  return job;
}

// `one` starts with what the result is of.
Json text_json(Json one, const JobResult& result, const char* name) {
  one.update(generation_json(result.generation, name));
  if (result.attention) one["attention"] = attention_json(*result.attention);
  finish_result(one, result);
  return one;
}

Json caption_json(std::size_t index, const JobResult& result) { return text_json({{"image", index}}, result, "caption"); }

Json answer_json(std::size_t index, const std::string& question, const JobResult& result) {
  return text_json({{"image", index}, {"question", question}}, result, "answer");
}

// what: "caption" or "answer".
void check_streamable(const GenerateOptions& options, std::size_t pictures, const std::string& what) {
  if (pictures != 1) throw Problem(kInvalidRequest, "a stream is of one picture's " + what + "; got " + std::to_string(pictures) + " pictures");
  if (options.num_return != 1) throw Problem(kInvalidRequest, "a stream is of one " + what + "; leave num_" + what + "s out");
  if (!options.sample && options.beams != 1)
    throw Problem(kInvalidRequest, "beam search decides its words at the end and cannot stream; use beams 1 or sample");
}

void check_answer_streamable(const GenerateOptions& options, std::size_t pictures, std::size_t questions, bool ranked) {
  if (ranked) throw Problem(kInvalidRequest, "given answers are ranked as a whole and cannot stream; leave \"answers\" or \"stream\" out");
  if (questions != 1) throw Problem(kInvalidRequest, "a stream is of one question's answer; got " + std::to_string(questions) + " questions");
  check_streamable(options, pictures, "answer");
}

using OnToken = std::function<void(std::int32_t, const std::string&)>;

// The caption or answer of the job, token by token, then result_json of its result.
void stream_text(Model& model, Exchange& exchange, Work& work, Job job, const std::function<Json(const JobResult&)>& result_json) {
  // The callback runs on the scheduler's thread and may outlive this call: the exchange has to live as long.
  OnToken& on_token = job.task == Task::kCaption ? job.caption.on_token : job.ask.on_token;
  on_token = [stream = exchange.shared_from_this(), ticket = work.ticket(), sent = std::string()](std::int32_t id, const std::string& text) mutable {
    const std::string added = text.starts_with(sent) ? text.substr(sent.size()) : text;
    sent = text;
    if (!stream->write(sse_event("token", {{"id", id}, {"text", text}, {"added", added}}))) ticket->cancelled = true;
  };
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
    work.ticket()->cancelled = true;
    exchange.write(sse_event("error", to_json(problem.kind(), problem.what(), exchange.request.id)));
  } catch (const std::exception&) {
    work.ticket()->cancelled = true;
    exchange.write(sse_event("error", to_json(kInternal, kUnexpected, exchange.request.id)));
    exchange.end();
    throw;  // into the log
  }
  exchange.end();
}

}  // namespace

std::string sse_event(const std::string& event, const Json& data) {
  return (event.empty() ? "" : "event: " + event + "\n") + "data: " + dump(data) + "\n\n";
}

void answer_caption(Service& service, Exchange& exchange) {
  Work work(exchange, service.preparing);
  Fields fields(exchange.request, service.limits.input);
  CaptionOptions options;
  const bool stream = fields.flag("stream", false);
  if (stream) options.generate.beams = 1;
  if (fields.has("prompt")) options.prompt = fields.text("prompt");
  options.generate = read_generate(fields, options.generate, "num_captions");
  const bool attention = fields.flag("attention", false);
  const std::string name = fields.text("model");
  work.set_timeout(read_timeout(fields, service.limits));
  fields.reject_unknown();
  need_pictures(fields);
  if (stream) check_streamable(options.generate, fields.pictures().size(), "caption");

  Model& model = service.models.choose(name, Task::kCaption, attention);
  std::vector<Job> jobs;
  for (Picture& picture : open_pictures(fields.pictures(), model, service.limits.image, service.metrics)) {
    jobs.push_back(job_of(Task::kCaption, work));
    jobs.back().picture = std::move(picture);
    jobs.back().caption = options;
    if (attention) jobs.back().attention = AttentionOptions{.prompt = options.prompt};
  }
  if (stream) return stream_text(model, exchange, work, std::move(jobs.front()), [](const JobResult& result) { return caption_json(0, result); });
  Json json{{"results", Json::array()}};
  for (const JobResult& result : work.run(model, std::move(jobs))) json["results"].push_back(caption_json(json["results"].size(), result));
  respond(exchange, std::move(json), model, work);
}

void answer_match(Service& service, Exchange& exchange) {
  Work work(exchange, service.preparing);
  Fields fields(exchange.request, service.limits.input);
  const std::vector<std::string> texts = fields.texts("text", "texts");
  const MatchOptions options{parse_match_head(fields.text("head", "all")), read_text_length(fields)};
  const std::string name = fields.text("model");
  work.set_timeout(read_timeout(fields, service.limits));
  fields.reject_unknown();
  need_pictures(fields);
  if (texts.empty()) throw Problem(kInvalidRequest, "no text; send \"text\" or \"texts\"");

  Model& model = service.models.choose(name, Task::kMatch);
  std::vector<Job> jobs;
  for (Picture& picture : open_pictures(fields.pictures(), model, service.limits.image, service.metrics)) {
    jobs.push_back(job_of(Task::kMatch, work));
    jobs.back().picture = std::move(picture);
    jobs.back().match = options;
    jobs.back().texts = texts;
  }
  Json json{{"results", Json::array()}};
  for (const JobResult& result : work.run(model, std::move(jobs))) {
    Json one{{"image", json["results"].size()}, {"matches", Json::array()}};
    for (std::size_t i = 0; i < texts.size(); ++i) {
      const Match& match = result.matches[i];
      one["matches"].push_back({{"text", texts[i]},
                                {"match_probability", match.match_probability ? number_json(*match.match_probability) : Json()},
                                {"cosine", match.cosine ? number_json(*match.cosine) : Json()}});
    }
    finish_result(one, result);
    json["results"].push_back(std::move(one));
  }
  respond(exchange, std::move(json), model, work);
}

void answer_ask(Service& service, Exchange& exchange) {
  Work work(exchange, service.preparing);
  Fields fields(exchange.request, service.limits.input);
  const std::vector<std::string> questions = fields.texts("question", "questions"), answers = fields.texts("answer", "answers");
  AskOptions options;
  const bool stream = fields.flag("stream", false);
  if (stream) options.generate.beams = 1;
  options.generate = read_generate(fields, options.generate, "num_answers");
  const bool attention = fields.flag("attention", false);
  options.max_text_length = read_text_length(fields);
  options.rank_candidates = static_cast<int>(fields.whole("rank_candidates", static_cast<std::uint64_t>(options.rank_candidates), 1, 4096));
  const std::string name = fields.text("model");
  work.set_timeout(read_timeout(fields, service.limits));
  fields.reject_unknown();
  need_pictures(fields);
  if (questions.empty()) throw Problem(kInvalidRequest, "no question; send \"question\" or \"questions\"");
  if (stream) check_answer_streamable(options.generate, fields.pictures().size(), questions.size(), !answers.empty());

  const Task task = answers.empty() ? Task::kAsk : Task::kRank;
  Model& model = service.models.choose(name, task, attention);
  std::vector<Job> jobs;
  for (const Picture& picture : open_pictures(fields.pictures(), model, service.limits.image, service.metrics)) {
    for (const std::string& question : questions) {
      jobs.push_back(job_of(task, work));
      jobs.back().picture = picture;
      jobs.back().question = question;
      jobs.back().texts = answers;
      jobs.back().ask = options;
      if (attention) jobs.back().attention = AttentionOptions{.max_text_length = options.max_text_length};
    }
  }
  if (stream) {
    return stream_text(model, exchange, work, std::move(jobs.front()),
                       [&](const JobResult& result) { return answer_json(0, questions.front(), result); });
  }
  const auto results = work.run(model, std::move(jobs));
  Json json{{"results", Json::array()}};
  for (std::size_t i = 0; i < results.size(); ++i) json["results"].push_back(answer_json(i / questions.size(), questions[i % questions.size()], results[i]));
  respond(exchange, std::move(json), model, work);
}

void answer_embed(Service& service, Exchange& exchange) {
  Work work(exchange, service.preparing);
  Fields fields(exchange.request, service.limits.input);
  const std::vector<std::string> texts = fields.texts("text", "texts");
  const EmbedOptions options{read_text_length(fields)};
  const std::string name = fields.text("model");
  work.set_timeout(read_timeout(fields, service.limits));
  fields.reject_unknown();
  if (fields.pictures().empty() && texts.empty()) throw Problem(kInvalidRequest, "nothing to embed; send pictures or texts");

  Model& model = service.models.choose(name, Task::kEmbedImage);
  std::vector<Job> jobs;
  for (Picture& picture : open_pictures(fields.pictures(), model, service.limits.image, service.metrics)) {
    jobs.push_back(job_of(Task::kEmbedImage, work));
    jobs.back().picture = std::move(picture);
  }
  if (!texts.empty()) {
    jobs.push_back(job_of(Task::kEmbedTexts, work));
    jobs.back().texts = texts;
    jobs.back().embed = options;
  }
  const auto results = work.run(model, std::move(jobs));
  const auto vector_json = [](const std::vector<float>& values) {
    Json list = Json::array();
    for (const float value : values) list.push_back(number_json(value));
    return list;
  };
  Json json{{"dimensions", model.engine.info().embed_dim}, {"images", Json::array()}, {"texts", Json::array()}};
  for (std::size_t i = 0; i < fields.pictures().size(); ++i) {
    Json one{{"image", i}, {"embedding", vector_json(results[i].vectors.front())}};
    finish_result(one, results[i]);
    json["images"].push_back(std::move(one));
  }
  for (std::size_t i = 0; i < texts.size(); ++i) json["texts"].push_back({{"text", texts[i]}, {"embedding", vector_json(results.back().vectors[i])}});
  if (!texts.empty() && !results.back().warnings.empty()) json["warnings"] = results.back().warnings;
  respond(exchange, std::move(json), model, work);
}

Json describe_models(const Models& models) {
  Json data = Json::array();
  for (const auto& model : models.all()) {
    const ModelInfo& info = model->engine.info();
    Json tasks = Json::array();
    for (const Task task : {Task::kCaption, Task::kMatch, Task::kAsk, Task::kRank, Task::kEmbedImage, Task::kAttention})
      if (can(info, task)) tasks.push_back(task == Task::kEmbedImage ? "embed" : to_string(task));
    data.push_back({{"id", model->name},
                    {"object", "model"},
                    {"created", 0},
                    {"owned_by", "blip"},
                    {"tasks", tasks},
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
