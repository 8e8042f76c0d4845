#include "server/tasks.h"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace blip::server {
namespace {

constexpr int kMaxBeams = 64, kMaxReturned = 64, kMaxTokens = 512;
constexpr int kMaxTopK = 1'000'000;
constexpr double kMaxPenalty = 100;
constexpr double kShortestTimeoutMs = 500;
constexpr auto kWatchInterval = std::chrono::milliseconds(20);  // how soon a client that hung up is noticed

double rounded(double ms) { return std::round(ms * 1000) / 1000; }

}  // namespace

Work::Work(Exchange& exchange, std::atomic<int>& preparing)
    : exchange_(exchange), preparing_(preparing), ticket_(std::make_shared<Ticket>()) {
  ++preparing_;
}

Work::~Work() { prepared(); }

void Work::prepared() {
  if (!prepared_) --preparing_;
  prepared_ = true;
}

void Work::set_timeout(double ms) {
  ticket_->deadline = exchange_.request.received + std::chrono::microseconds(static_cast<std::int64_t>(ms * 1000));
}

double Work::ms() const { return ms_since(exchange_.request.received); }

JobResult Work::get(std::future<JobResult>& future) {
  while (future.wait_for(kWatchInterval) != std::future_status::ready) {
    if (exchange_.client_gone()) ticket_->cancelled = true;
    if (ticket_->cancelled) throw Error(ErrorCode::kCancelled, "the client hung up");
    if (ticket_->expired()) throw Problem(kDeadline, "the deadline passed before the answer was there; ask for less at a time, or later");
  }
  return take(future);
}

std::vector<std::future<JobResult>> Work::submit(Model& model, std::vector<Job> jobs) {
  prepared();  // before the queue looks who else is coming
  return model.scheduler.submit(std::move(jobs));
}

std::vector<JobResult> Work::run(Model& model, std::vector<Job> jobs) {
  auto futures = submit(model, std::move(jobs));
  std::vector<JobResult> results;
  try {
    for (auto& future : futures) results.push_back(get(future));
  } catch (...) {
    ticket_->cancelled = true;  // nobody needs the rest
    throw;
  }
  return results;
}

double read_timeout(Fields& fields, const TaskLimits& limits) {
  return fields.number("timeout_ms", limits.timeout_ms, std::min(kShortestTimeoutMs, limits.timeout_ms), limits.timeout_ms);
}

int read_text_length(Fields& fields) {
  constexpr std::uint64_t kShortest = 3, kLongest = std::uint64_t{1} << 20;
  return fields.has("max_text_length") ? static_cast<int>(fields.whole("max_text_length", 0, kShortest, kLongest)) : 0;
}

GenerateOptions read_generate(Fields& fields, GenerateOptions o, const std::string& count_name) {
  const auto whole = [&](const std::string& name, int otherwise, int low, int high) {
    return static_cast<int>(fields.whole(name, static_cast<std::uint64_t>(otherwise), static_cast<std::uint64_t>(low), static_cast<std::uint64_t>(high)));
  };
  const auto number = [&](const std::string& name, float otherwise, double low, double high) {
    return static_cast<float>(fields.number(name, otherwise, low, high));
  };
  const bool beams_given = fields.has("beams");
  o.beams = whole("beams", o.beams, 1, kMaxBeams);
  o.min_length = whole("min_length", o.min_length, 0, kMaxTokens);
  o.max_length = whole("max_length", o.max_length, 1, kMaxTokens);
  o.length_penalty = number("length_penalty", o.length_penalty, -kMaxPenalty, kMaxPenalty);
  o.repetition_penalty = number("repetition_penalty", o.repetition_penalty, 0.01, kMaxPenalty);
  o.sample = fields.flag("sample", o.sample);
  o.top_p = number("top_p", o.top_p, 0.001, 1);
  o.top_k = whole("top_k", o.top_k, 0, kMaxTopK);
  o.temperature = number("temperature", o.temperature, 0.001, kMaxPenalty);
  o.seed = fields.whole("seed", o.seed, 0, std::numeric_limits<std::uint64_t>::max());
  o.num_return = whole(count_name, o.num_return, 1, kMaxReturned);
  if (o.min_length > o.max_length)
    throw Problem(kInvalidRequest, "min_length " + std::to_string(o.min_length) + " is larger than max_length " + std::to_string(o.max_length));
  if (!o.sample && o.num_return > o.beams) {
    if (beams_given)
      throw Problem(kInvalidRequest, count_name + " " + std::to_string(o.num_return) + " cannot come from beams " + std::to_string(o.beams) +
                                         "; use more beams or sample");
    o.beams = o.num_return;
  }
  return o;
}

std::vector<Picture> open_pictures(const std::vector<std::string>& files, Model& model, const ImageLimits& limits, Metrics& metrics) {
  std::vector<Picture> pictures;
  for (const std::string& file : files) {
    Picture picture{content_hash(file), {}, {}, 0};
    picture.encoded = model.cache.find(picture.hash);
    if (!picture.encoded) {
      const auto started = Clock::now();
      try {
        picture.image = Image::from_memory(std::as_bytes(std::span(file)), limits);
      } catch (const Error& error) {
        throw Problem(kInvalidImage, "picture " + std::to_string(pictures.size()) + ": " + error.what());
      }
      metrics.observe("blip_stage_seconds", "stage=\"decode_image\"", ms_since(started) / 1000);
      // Here, where other pictures' threads work too, and a queue of small pictures costs little memory.
      const auto decoded = Clock::now();
      const int size = model.engine.info().image_size;
      picture.image = picture.image->resized(size, size);
      picture.resize_ms = ms_since(decoded);
    }
    pictures.push_back(std::move(picture));
  }
  return pictures;
}

Json number_json(double value) {
  if (!std::isfinite(value)) return nullptr;
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, static_cast<float>(value)).ptr;
  double read = 0;
  std::from_chars(text, end, read);
  return read;
}

Json timings_json(const JobResult& result) {
  return {{"queue", rounded(result.queue_ms)},
          {"preprocess", rounded(result.preprocess_ms)},
          {"encode", rounded(result.encode_ms)},
          {"task", rounded(result.task_ms)}};
}

Json generation_json(const Generation& generation, const std::string& name) {
  Json json{{name, generation.text}, {"score", number_json(generation.score)}, {"token_ids", generation.token_ids}};
  if (generation.all.size() > 1) {
    for (const Text& text : generation.all)
      json[name + "s"].push_back({{name, text.text}, {"score", number_json(text.score)}, {"token_ids", text.token_ids}});
  }
  return json;
}

void finish_result(Json& json, const JobResult& result) {
  json["cached"] = result.cached;
  json["batch"] = result.batch;
  json["timings_ms"] = timings_json(result);
  if (!result.warnings.empty()) json["warnings"] = result.warnings;
}

void add_summary(Json& json, const Model& model, const Work& work) {
  json["model"] = model.name;
  json["device"] = model.engine.device();
  json["total_ms"] = rounded(work.ms());
}

void respond(Exchange& exchange, Json json, const Model& model, const Work& work) {
  add_summary(json, model, work);
  json["request_id"] = exchange.request.id;
  exchange.respond(json_response(json));
}

}  // namespace blip::server
