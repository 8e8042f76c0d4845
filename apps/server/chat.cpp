#include "server/chat.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <ctime>
#include <limits>
#include <map>

#include "base/ascii.h"
#include "base/json.h"
#include "server/base64.h"

namespace blip::server {
namespace {

// A long conversation has some thousands of values; the body's bytes were already limited.
constexpr JsonLimits kBodyLimits{.max_bytes = std::numeric_limits<std::size_t>::max(),
                                 .max_values = 50'000};

[[noreturn]] void invalid(const std::string& what) { throw Problem(kInvalidRequest, what); }

void set_picture(const Json& part, ChatRequest& chat) {
  const Json& image = part["image_url"];
  const Json& url = image.is_object() && image.contains("url") ? image["url"] : image;
  if (!url.is_string()) invalid("image_url needs a url");
  const auto& address = url.get_ref<const std::string&>();
  if (!address.starts_with("data:"))
    invalid(
        "the server fetches no addresses; send the picture as a data URL: "
        "data:image/jpeg;base64,...");
  auto bytes = decode_data_url(address);
  if (!bytes || bytes->empty()) invalid("image_url is no base64 data URL");
  chat.picture = std::move(*bytes);
}

// The parts of one user message.
void read_parts(const Json& content, ChatRequest& chat) {
  int pictures = 0;
  for (const Json& part : content) {
    const std::string type = part.is_object() && part.contains("type") && part["type"].is_string()
                                 ? part["type"].get<std::string>()
                                 : "";
    if (type == "text" && part.contains("text") && part["text"].is_string()) {
      if (!chat.text.empty()) chat.text += ' ';
      chat.text += part["text"].get<std::string>();
    } else if (type == "image_url" && part.contains("image_url")) {
      if (++pictures > 1)
        invalid(
            "several pictures in one message; an answer is about one picture. Send them in a "
            "message, or a request, each");
      set_picture(part, chat);
    } else {
      invalid(
          "a content part is neither {\"type\": \"text\", \"text\": ...} nor {\"type\": "
          "\"image_url\", \"image_url\": {\"url\": ...}}");
    }
  }
}

// The last user message says what is wanted; the newest picture of the conversation is the one it
// is about.
void read_messages(const Json& body, ChatRequest& chat) {
  static constexpr std::array kOtherRoles = {"system", "assistant", "developer", "tool",
                                             "function"};
  if (!body.contains("messages") || !body["messages"].is_array() || body["messages"].empty())
    invalid("\"messages\" must be a list of at least one message");
  for (const Json& message : body["messages"]) {
    if (!message.is_object() || !message.contains("role") || !message["role"].is_string())
      invalid("every message needs a \"role\"");
    const std::string role = message["role"];
    static const Json kNothing;
    const Json& content = message.contains("content") ? message["content"] : kNothing;
    if (role != "user") {
      if (std::find(kOtherRoles.begin(), kOtherRoles.end(), role) == kOtherRoles.end())
        invalid("unknown role " + quote(role));
      continue;
    }
    chat.text.clear();
    if (content.is_string()) {
      chat.text = content.get<std::string>();
    } else if (content.is_array()) {
      read_parts(content, chat);
    } else {
      invalid("a user message needs \"content\": text, or a list of parts");
    }
  }
  if (chat.picture.empty())
    invalid(
        "no picture in the messages; this server answers about pictures only. Add a part "
        "{\"type\": \"image_url\", \"image_url\": {\"url\": \"data:image/jpeg;base64,...\"}}");
}

// What would change the answer and cannot be done, each with the values that ask for nothing; null
// asks for nothing either. Fields that change no answer (user, metadata, store, service_tier and
// the like) are not looked at.
void refuse_unsupported(const Json& body) {
  static const std::map<std::string, std::vector<Json>> kNeutral = {
      {"frequency_penalty", {0}},
      {"presence_penalty", {0}},
      {"logit_bias", {Json::object()}},
      {"logprobs", {false, 0}},
      {"top_logprobs", {0}},
      {"tools", {Json::array()}},
      {"functions", {Json::array()}},
      {"tool_choice", {"none", "auto"}},
      {"function_call", {"none", "auto"}},
      {"audio", {}},
      {"prediction", {}},
      {"web_search_options", {}},
      {"modalities", {Json::array({"text"})}},
      {"best_of", {1}},
      {"echo", {false}},
      {"suffix", {""}},
      {"top_k", {0, -1}},
      {"min_p", {0}},
      {"repetition_penalty", {1}},
      {"length_penalty", {1}},
      {"use_beam_search", {false}},
      {"ignore_eos", {false}},
      {"min_tokens", {0}}};
  for (const auto& [name, neutral] : kNeutral) {
    const auto found = body.find(name);
    if (found == body.end() || found->is_null() ||
        std::find(neutral.begin(), neutral.end(), *found) != neutral.end())
      continue;
    invalid("\"" + name + "\" is not supported; leave it out");
  }
  const auto format = body.find("response_format");
  if (format == body.end() || format->is_null()) return;
  const std::string type =
      format->is_object() && format->contains("type") && (*format)["type"].is_string()
          ? (*format)["type"].get<std::string>()
          : "";
  if (type != "text")
    invalid(
        "\"response_format\" must be {\"type\": \"text\"}: the model writes captions and answers, "
        "no JSON");
}

double number_field(const Json& body, const char* name, double otherwise, double low, double high) {
  if (!body.contains(name) || body[name].is_null()) return otherwise;
  const double value = body[name].is_number() ? body[name].get<double>() : low - 1;
  if (!(value >= low && value <= high))
    invalid(std::string("\"") + name + "\" must be a number from " + Json(low).dump() + " to " +
            Json(high).dump());
  return value;
}

double whole_field(const Json& body, const char* name, double otherwise, double low, double high) {
  const double value = number_field(body, name, otherwise, low, high);
  if (value != std::floor(value)) invalid(std::string("\"") + name + "\" must be a whole number");
  return value;
}

bool flag_field(const Json& body, const char* name) {
  if (!body.contains(name) || body[name].is_null()) return false;
  if (!body[name].is_boolean()) invalid(std::string("\"") + name + "\" must be true or false");
  return body[name].get<bool>();
}

std::int64_t seed_field(const Json& body) {
  const auto seed = body.find("seed");
  if (seed == body.end() || seed->is_null()) return 0;
  if (seed->is_number_integer()) return seed->get<std::int64_t>();
  return static_cast<std::int64_t>(whole_field(body, "seed", 0, -9e15, 9e15));
}

void read_stops(const Json& body, ChatRequest& chat) {
  const auto stop = body.find("stop");
  if (stop == body.end() || stop->is_null()) return;
  for (const Json& one : stop->is_array() ? *stop : Json::array({*stop})) {
    if (!one.is_string() || one.get_ref<const std::string&>().empty())
      invalid("\"stop\" must be a text or a list of texts, none of them empty");
    chat.stop.push_back(one.get<std::string>());
  }
  if (chat.stop.size() > kMaxStops)
    invalid("\"stop\" may have at most " + std::to_string(kMaxStops) + " texts");
}

void read_options(const Json& body, ChatRequest& chat) {
  GenerateOptions& o = chat.generate;
  const auto given = [&](const char* name) { return body.contains(name) && !body[name].is_null(); };
  const char* limit = given("max_completion_tokens") ? "max_completion_tokens" : "max_tokens";
  if (given(limit)) chat.max_tokens = static_cast<int>(whole_field(body, limit, 1, 1, 1e9));
  // A temperature above 0 asks for samples; without one the best text is the answer.
  const double temperature = number_field(body, "temperature", 0, 0, kMaxChatTemperature);
  constexpr const Option &top_p = option_named("top_p"), &count = option_named("num_return");
  o.top_p = static_cast<float>(number_field(body, "top_p", o.top_p, top_p.low, top_p.high));
  o.num_return = static_cast<int>(whole_field(body, "n", o.num_return, count.low, count.high));
  o.sample = temperature > 0;
  if (o.sample)
    o.temperature = static_cast<float>(std::max(temperature, option_named("temperature").low));
  o.seed = static_cast<std::uint64_t>(seed_field(body));
  if (!o.sample) o.beams = std::max(chat.stream ? 1 : o.beams, o.num_return);
  if (chat.stream && o.num_return > 1) invalid("a stream has one choice; leave \"n\" out");
  read_stops(body, chat);
}

// The answer's tokens follow the prompt's, and the model's positions end both.
void limit_length(ChatRequest& chat, const Engine& engine, int prompt, const WorkLimits& limits) {
  GenerateOptions& o = chat.generate;
  const ModelInfo& info = engine.info();
  if (info.fixed_length > 0) return;  // has its own way
  if (chat.max_tokens) o.max_length = prompt + std::min(*chat.max_tokens, limits.max_tokens);
  o.max_length = std::min(
      o.max_length,
      std::min(limits.max_tokens, info.max_length > 0 ? info.max_length : limits.max_tokens));
  o.beams = std::max(std::min(o.beams, limits.max_beams), o.num_return);
  check_limits(o, "n", limits);
}

int prompt_tokens(const ChatRequest& chat, const Engine& engine) {
  return static_cast<int>(chat.question ? engine.answer_prompt_tokens()
                                        : engine.caption_prompt_tokens());
}

// Shorter than allowed: the model ended it, or a stop.
const char* finish_reason(const Text& text, const ChatRequest& chat) {
  const bool stopped = find_stop(text.text, chat.stop) != std::string::npos;
  return stopped || text.token_ids.size() < static_cast<std::size_t>(chat.generate.max_length)
             ? "stop"
             : "length";
}

std::string content_of(const Text& text, const ChatRequest& chat) {
  return text.text.substr(0, find_stop(text.text, chat.stop));
}

Json usage_json(const Generation& generation, int prompt) {
  int completion = 0;
  for (const Text& text : generation.all)
    completion += std::max(0, static_cast<int>(text.token_ids.size()) - prompt);
  return {{"prompt_tokens", prompt},
          {"completion_tokens", completion},
          {"total_tokens", prompt + completion}};
}

Json head_json(const Exchange& exchange, const Model& model, const char* object) {
  return {{"id", "chatcmpl-" + exchange.request.id},
          {"object", object},
          {"created", static_cast<std::int64_t>(std::time(nullptr))},
          {"model", model.name}};
}

std::string chunk(const Exchange& exchange, const Model& model, const Json& delta,
                  const Json& reason) {
  Json json = head_json(exchange, model, "chat.completion.chunk");
  json["choices"] = Json::array(
      {{{"index", 0}, {"delta", delta}, {"logprobs", nullptr}, {"finish_reason", reason}}});
  return sse_event("", json);
}

void stream_chat(Model& model, Exchange& exchange, Work& work, const ChatRequest& chat, int prompt,
                 Job job) {
  const auto stream = exchange.shared_from_this();
  // Written on the scheduler's thread before the result is there.
  const auto sent = std::make_shared<std::string>();
  auto& on_token = chat.question ? job.ask.on_token : job.caption.on_token;
  on_token = [stream, sent, &model, stops = chat.stop, request_state = work.request_state()](
                 std::int32_t, const std::string& text) {
    const std::string safe = text.substr(0, safe_length(text, stops));
    if (!safe.starts_with(*sent) || safe == *sent) return;
    const std::string added = safe.substr(sent->size());
    *sent = safe;
    if (!stream->write(chunk(*stream, model, {{"content", added}}, nullptr)))
      request_state->cancelled = true;
  };
  std::vector<Job> jobs;
  jobs.push_back(std::move(job));
  // Before the scheduler can write.
  exchange.write(chunk(exchange, model, {{"role", "assistant"}, {"content", ""}}, nullptr));
  auto futures = work.submit(model, std::move(jobs));  // full: a plain 429, the chunk is never sent
  exchange.start_stream({200, "text/event-stream", "", {{"Cache-Control", "no-store"}}});
  try {
    const Generation generation = work.get(futures.front()).generation;
    const std::string content = content_of(generation, chat);
    if (content.starts_with(*sent) && content != *sent)
      exchange.write(chunk(exchange, model, {{"content", content.substr(sent->size())}}, nullptr));
    exchange.write(chunk(exchange, model, Json::object(), finish_reason(generation, chat)));
    if (chat.stream_usage) {
      Json json = head_json(exchange, model, "chat.completion.chunk");
      json["choices"] = Json::array();
      json["usage"] = usage_json(generation, prompt);
      exchange.write(sse_event("", json));
    }
    exchange.write("data: [DONE]\n\n");
  } catch (const Problem& problem) {
    work.request_state()->cancelled = true;
    exchange.write(
        "data: " + chat_problem(problem.kind(), problem.what(), exchange.request.id).body + "\n");
  } catch (const std::exception&) {
    work.request_state()->cancelled = true;
    exchange.write("data: " + chat_problem(kInternal, kUnexpected, exchange.request.id).body +
                   "\n");
    exchange.end();
    throw;  // into the log
  }
  exchange.end();
}

}  // namespace

ChatRequest read_chat(const Request& request, std::size_t max_text_bytes) {
  Json body;
  try {
    body = read_json<Json>(request.body, kBodyLimits);
  } catch (const JsonError& error) {
    invalid(std::string("the body cannot be read as JSON: ") + error.what());
  }
  if (!body.is_object()) invalid("the body must be a JSON object");
  ChatRequest chat;
  if (body.contains("model") && !body["model"].is_null()) {
    if (!body["model"].is_string()) invalid("\"model\" must be text");
    chat.model = body["model"];
  }
  read_messages(body, chat);
  if (chat.text.size() > max_text_bytes)
    invalid("the text is longer than " + std::to_string(max_text_bytes) + " bytes");
  chat.stream = flag_field(body, "stream");
  if (body.contains("stream_options") && !body["stream_options"].is_null()) {
    if (!body["stream_options"].is_object()) invalid("\"stream_options\" must be an object");
    chat.stream_usage = flag_field(body["stream_options"], "include_usage");
  }
  refuse_unsupported(body);
  chat.question = is_question(chat.text);
  chat.generate = chat.question ? AskOptions().generate : CaptionOptions().generate;
  read_options(body, chat);
  return chat;
}

std::size_t find_stop(const std::string& text, const std::vector<std::string>& stops) {
  std::size_t first = std::string::npos;
  for (const std::string& stop : stops) first = std::min(first, text.find(stop));
  return first;
}

std::size_t safe_length(const std::string& text, const std::vector<std::string>& stops) {
  if (const std::size_t stop = find_stop(text, stops); stop != std::string::npos) return stop;
  std::size_t safe = text.size();
  for (const std::string& stop : stops) {
    const std::size_t longest = std::min(text.size(), stop.size() - 1);
    for (std::size_t size = longest; size > 0; --size)
      if (text.ends_with(stop.substr(0, size))) {
        safe = std::min(safe, text.size() - size);
        break;
      }
  }
  return safe;
}

bool is_question(const std::string& text) {
  static constexpr std::array kOpeners = {"what",  "who",  "whose", "whom",  "which", "when",
                                          "where", "why",  "how",   "is",    "are",   "was",
                                          "were",  "does", "do",    "did",   "can",   "could",
                                          "has",   "have", "will",  "would", "should"};
  const std::size_t last = text.find_last_not_of(" \t\r\n");
  if (last == std::string::npos) return false;
  if (text[last] == '?') return true;
  const std::size_t start = text.find_first_not_of(" \t\r\n");
  const std::string word = lower(text.substr(start, text.find_first_of(" \t\r\n", start) - start));
  return std::find(kOpeners.begin(), kOpeners.end(), word) != kOpeners.end();
}

Response chat_problem(const ProblemKind& kind, const std::string& detail,
                      const std::string& request_id, double retry_after) {
  Response response = to_response(kind, detail, request_id, retry_after);
  Json json = to_json(kind, detail, request_id);
  const char* type = kind.status < 500 ? "invalid_request_error" : "server_error";
  json["error"] = {{"message", detail}, {"type", type}, {"param", nullptr}, {"code", kind.code}};
  response.body = json_text(json) + "\n";
  return response;
}

void answer_chat(Service& service, Exchange& exchange) {
  Work work(service, exchange);
  ChatRequest chat = read_chat(exchange.request, 4 * service.limits.input.max_text_characters);
  const Task task = chat.question ? Task::kAsk : Task::kCaption;
  Model& model = service.models.choose_leniently(chat.model, task);
  const int prompt = prompt_tokens(chat, model.engine);
  limit_length(chat, model.engine, prompt, service.limits.work);
  Job job;
  job.task = task;
  job.request_state = work.request_state();
  job.question = chat.question ? chat.text : "";
  job.ask.generate = job.caption.generate = chat.generate;
  job.rows = rows_of(model.engine, job);
  check_work(job.rows, service.limits.work);
  job.picture = open_picture(chat.picture, std::nullopt, model, service, work);
  if (chat.stream) return stream_chat(model, exchange, work, chat, prompt, std::move(job));

  std::vector<Job> jobs;
  jobs.push_back(std::move(job));
  const Generation generation = work.run(model, std::move(jobs)).front().generation;
  Json json = head_json(exchange, model, "chat.completion");
  json["choices"] = Json::array();
  for (const Text& text : generation.all)
    json["choices"].push_back(
        {{"index", json["choices"].size()},
         {"message",
          {{"role", "assistant"}, {"content", content_of(text, chat)}, {"refusal", nullptr}}},
         {"logprobs", nullptr},
         {"finish_reason", finish_reason(text, chat)}});
  json["usage"] = usage_json(generation, prompt);
  exchange.respond(json_response(json));
}

}  // namespace blip::server
