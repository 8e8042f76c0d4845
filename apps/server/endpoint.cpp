#include "server/endpoint.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "server/worker_pool.h"

namespace blip::server {
namespace {

// Between its two passes the resizing has a narrow copy.
constexpr std::size_t kBesideDecoding = std::size_t{1} << 20;
// How soon it is noticed that a client hung up.
constexpr auto kWatchInterval = std::chrono::milliseconds(20);

double rounded(double ms) { return std::round(ms * 1000) / 1000; }

}  // namespace

MemoryBudget::Share take_memory(MemoryBudget& memory, Exchange& exchange, MemoryKind kind,
                                std::size_t bytes, Clock::time_point deadline) {
  if (bytes == 0) return memory.empty(kind);
  const WorkerPool::Waiting waiting;
  auto share = memory.take(kind, bytes, deadline, [&] { return exchange.client_gone(); });
  if (share) return std::move(*share);
  if (Clock::now() < deadline) throw Error(ErrorCode::kCancelled, "the client hung up");
  // They had it for so long: as long as that it may take again.
  throw Problem(kOutOfMemory,
                "this request needs " + shown_bytes(bytes) +
                    " of memory, which others had until its time was over; try again later",
                ms_since(exchange.request.received) / 1000);
}

MemoryBudget::Share take_memory_to_read(Service& service, Exchange& exchange) {
  // A body is never too large for that.
  const std::size_t bytes = MemoryBudget::kReadCopies * exchange.request.body.size();
  const auto patience =
      std::chrono::microseconds(static_cast<std::int64_t>(service.limits.timeout_ms * 1000));
  return take_memory(service.memory, exchange, MemoryKind::kRequests, bytes,
                     exchange.request.received + patience);
}

Work::Work(Service& service, Exchange& exchange)
    : service_(service), exchange_(exchange), request_state_(std::make_shared<RequestState>()) {
  const Request& request = exchange.request;
  request_state_->client = service.keys ? request.header("authorization") : request.client;
  set_timeout(service.limits.timeout_ms);
  ++service_.preparing;
}

Work::~Work() { prepared(); }

void Work::prepared() {
  if (!prepared_) --service_.preparing;
  prepared_ = true;
}

void Work::set_timeout(double ms) {
  request_state_->deadline =
      exchange_.request.received + std::chrono::microseconds(static_cast<std::int64_t>(ms * 1000));
}

double Work::ms() const { return ms_since(exchange_.request.received); }

void Work::hold(std::size_t bytes, const std::string& what) {
  const std::size_t most = service_.memory.largest(MemoryKind::kRequests);
  if (bytes > most)
    throw Problem(kInvalidRequest, what + " takes " + shown_bytes(bytes) +
                                       " of memory, and the server has at most " +
                                       shown_bytes(most) +
                                       " for a request (--memory); ask for less at a time");
  held_ = std::make_shared<MemoryBudget::Share>(take_memory(
      service_.memory, exchange_, MemoryKind::kRequests, bytes, request_state_->deadline));
}

MemoryBudget::Share Work::take_for_decoding(std::size_t bytes) {
  return take_memory(service_.memory, exchange_, MemoryKind::kPictures, bytes,
                     request_state_->deadline);
}

void Work::check() {
  if (exchange_.client_gone()) request_state_->cancelled = true;
  if (request_state_->cancelled) throw Error(ErrorCode::kCancelled, "the client hung up");
  if (request_state_->expired())
    throw Problem(
        kDeadline,
        "the deadline passed before the answer was there; ask for less at a time, or later");
}

void Work::wait(std::future<JobResult>& future) {
  const WorkerPool::Waiting waiting;
  while (future.wait_for(kWatchInterval) != std::future_status::ready) check();
}

JobResult Work::get(std::future<JobResult>& future) {
  wait(future);
  return take(future);
}

std::vector<std::future<JobResult>> Work::submit(Model& model, std::vector<Job> jobs) {
  prepared();  // before the queue looks who else is coming
  return model.scheduler.submit(std::move(jobs));
}

std::vector<JobResult> Work::run(Model& model, std::vector<Job> jobs) {
  std::vector<JobResult> results(jobs.size());
  std::vector<Job> sound;
  std::vector<std::size_t> places;
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    if (jobs[i].result.failure) {
      results[i] = std::move(jobs[i].result);
    } else {
      places.push_back(i);
      sound.push_back(std::move(jobs[i]));
    }
  }
  auto futures = submit(model, std::move(sound));
  try {
    for (std::size_t i = 0; i < futures.size(); ++i) {
      wait(futures[i]);
      JobResult& result = results[places[i]] = futures[i].get();
      if (result.failure && result.failure->ends_request()) result.failure->raise();
    }
  } catch (...) {
    request_state_->cancelled = true;  // nobody needs the rest
    throw;
  }
  const auto failed = [](const JobResult& result) { return result.failure.has_value(); };
  if (std::all_of(results.begin(), results.end(), failed)) results.front().failure->raise();
  for (const JobResult& result : results)
    if (result.failure)
      service_.metrics.count(
          "blip_part_failures_total",
          std::string("code=\"") + result.failure->kind_of_problem().code + "\"");
  return results;
}

int read_whole(Fields& fields, const Option& row, int otherwise) {
  return static_cast<int>(fields.whole(std::string(row.name), static_cast<std::uint64_t>(otherwise),
                                       row.whole_low(), row.whole_high()));
}

int read_text_length(Fields& fields) {
  // Not read without the field: what stands for the model's own length is outside of the range.
  return fields.has("max_text_length") ? read_whole(fields, option_named("max_text_length"), 0) : 0;
}

namespace {

// An option that changes nothing is a mistake of the client, who expects it to.
void refuse_idle_options(Fields& fields, const GenerateOptions& o, const GeneratedText& text) {
  for (const Option& row : kOptions) {
    const std::string name = name_for(row, text);
    if (!row.generates() || row.has_effect(o) || !fields.has(name)) continue;
    const char* why =
        row.use == OptionUse::kSampling
            ? "has no effect without sample; add \"sample\": true, or leave it out"
        : row.use == OptionUse::kWithoutSampling
            ? "has no effect with sample, which draws each text by itself; leave one of the two out"
            : "has an effect in beam search only; use more beams without sample, or leave it out";
    throw Problem(kInvalidRequest, "field \"" + name + "\": " + why);
  }
}

// std::visit's cases: the kinds of fields that GenerateOptions has. One that is not given stays as
// it is.
void read_field(Fields&, const Option&, const std::string&, GenerateOptions&, std::monostate) {}
void read_field(Fields& fields, const Option&, const std::string& name, GenerateOptions& o,
                bool GenerateOptions::*field) {
  o.*field = fields.flag(name, o.*field);
}
void read_field(Fields& fields, const Option& row, const std::string& name, GenerateOptions& o,
                float GenerateOptions::*field) {
  o.*field = static_cast<float>(fields.number(name, double{o.*field}, row.low, row.high));
}
void read_field(Fields& fields, const Option& row, const std::string& name, GenerateOptions& o,
                std::vector<std::string> GenerateOptions::*field) {
  if (fields.has(name)) o.*field = fields.list(name, row.whole_high());
}
template <class T>
void read_field(Fields& fields, const Option& row, const std::string& name, GenerateOptions& o,
                T GenerateOptions::*field) {
  using Whole = std::conditional_t<std::is_same_v<T, std::uint64_t>, std::uint64_t, int>;
  if (fields.has(name))
    o.*field = static_cast<Whole>(fields.whole(name, 0, row.whole_low(), row.whole_high()));
}

[[noreturn]] void over_limit(const std::string& what, const std::string& got,
                             const std::string& limit, const char* option) {
  throw Problem(kInvalidRequest, what + " " + got + " is more than " + limit +
                                     ", this server's limit (" + option + "); ask for less");
}

void check_limit(const std::string& name, int value, int limit, const char* option) {
  if (value > limit)
    over_limit("field \"" + name + "\":", std::to_string(value), std::to_string(limit), option);
}

}  // namespace

void check_limits(const GenerateOptions& o, const std::string& count_name,
                  const WorkLimits& limits) {
  check_limit(count_name, o.num_return, limits.max_returned, "--max-captions");
  if (!o.sample) check_limit("beams", o.beams, limits.max_beams, "--max-beams");
  check_limit("max_length", o.max_length, limits.max_tokens, "--max-tokens");
}

void check_work(std::uint64_t rows, const WorkLimits& limits) {
  if (rows > limits.max_work)
    over_limit(
        "the request's work, pictures x questions x beams x max_length and the tokens of its "
        "texts, of",
        std::to_string(rows), std::to_string(limits.max_work), "--max-work");
}

GenerateOptions read_generate(Fields& fields, GenerateOptions o, const GeneratedText& text,
                              const WorkLimits& limits) {
  // The server's limits move its defaults, so that only what a client asks for can be over them.
  o.beams = std::min(o.beams, limits.max_beams);
  o.max_length = std::min(o.max_length, limits.max_tokens);
  const bool beams_given = fields.has("beams"), max_length_given = fields.has("max_length");
  for (const Option& row : kOptions)
    std::visit([&](auto field) { read_field(fields, row, name_for(row, text), o, field); },
               row.field);
  refuse_idle_options(fields, o, text);
  const std::string count_name = name_for(option_named("num_return"), text);
  // A default never fights what the client asks for.
  if (o.min_length && *o.min_length > o.max_length) {
    if (max_length_given)
      throw Problem(kInvalidRequest, "min_length " + std::to_string(*o.min_length) +
                                         " is larger than max_length " +
                                         std::to_string(o.max_length));
    o.max_length = *o.min_length;
  }
  if (!o.sample && o.num_return > o.beams) {
    if (beams_given)
      throw Problem(kInvalidRequest, count_name + " " + std::to_string(o.num_return) +
                                         " cannot come from beams " + std::to_string(o.beams) +
                                         "; use more beams or sample");
    o.beams = o.num_return;
  }
  check_limits(o, count_name, limits);
  return o;
}

namespace {

double read_timeout(Fields& fields, const ServiceLimits& limits) {
  return fields.number("timeout_ms", limits.timeout_ms,
                       std::min(kShortestTimeoutMs, limits.timeout_ms), limits.timeout_ms);
}

std::optional<Color> read_background(Fields& fields) {
  if (!fields.has("background")) return std::nullopt;
  try {
    return parse_color(fields.text("background"));
  } catch (const Error& error) {
    throw Problem(kInvalidRequest, std::string("field \"background\": ") + error.what());
  }
}

}  // namespace

CommonFields read_common(Fields& fields, Work& work, const ServiceLimits& limits) {
  CommonFields common{fields.text("model"), read_background(fields)};
  work.set_timeout(read_timeout(fields, limits));
  fields.reject_unknown();
  return common;
}

Decoded decode(const std::string& file, const std::optional<Color>& background, std::size_t index,
               Service& service, Work& work, std::size_t beside) {
  const std::string name = "picture " + std::to_string(index) + ": ";
  try {
    ImageLimits limits = service.limits.image;
    limits.max_memory = 0;  // the budget's matter
    const auto encoded = std::as_bytes(std::span(file));
    limits.max_memory = Image::inspect(encoded, limits, background).decode_bytes;
    const std::size_t bytes = limits.max_memory + beside,
                      most = service.memory.largest(MemoryKind::kPictures);
    if (bytes > most)
      throw Problem(kInvalidImage, name + "decoding it takes " + shown_bytes(bytes) +
                                       " of memory, and the server has at most " +
                                       shown_bytes(most) + " (--memory); send it smaller");
    auto memory = work.take_for_decoding(bytes);
    const auto started = Clock::now();
    Decoded decoded{Image::from_memory(encoded, limits, background), std::move(memory)};
    service.metrics.observe("blip_stage_seconds", "stage=\"decode_image\"",
                            ms_since(started) / 1000);
    return decoded;
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kImage) throw;
    throw Problem(kInvalidImage, name + error.what());
  } catch (const std::bad_alloc&) {
    throw Problem(kOutOfMemory, name + kNoMemoryNow);
  }
}

std::size_t resized_bytes(const ModelInfo& info) {
  return 3 * static_cast<std::size_t>(info.image_size) * static_cast<std::size_t>(info.image_size);
}

namespace {

// Over another colour a picture is another one.
ContentHash picture_hash(const std::string& file, const std::optional<Color>& background) {
  const ContentHash hash = content_hash(file);
  if (!background) return hash;
  std::string key(reinterpret_cast<const char*>(&hash), sizeof hash);
  for (const std::uint8_t component : {background->red, background->green, background->blue})
    key += static_cast<char>(component);
  return content_hash(key);
}

}  // namespace

Picture open_picture(const std::string& file, const std::optional<Color>& background, Model& model,
                     Service& service, Work& work, std::size_t index) {
  Picture picture{picture_hash(file, background), {}, {}, 0, {}};
  picture.encoded = model.cache.find(picture.hash);
  if (picture.encoded) return picture;
  const ModelInfo& info = model.engine.info();
  if (!work.held()) work.hold(resized_bytes(info), "a picture");
  const Decoded decoded = decode(file, background, index, service, work, kBesideDecoding);
  // Here, where other pictures' threads work too, and a queue of small pictures costs little
  // memory.
  const auto started = Clock::now();
  picture.image = decoded.image.resized(info.image_size, info.image_size);
  picture.resize_ms = ms_since(started);
  picture.memory = work.held();
  return picture;
}

std::vector<Opened> open_pictures(const Fields& fields, const std::optional<Color>& background,
                                  Model& model, Service& service, Work& work) {
  std::vector<Opened> all;
  for (std::size_t i = 0; i < fields.pictures().size(); ++i) {
    Opened& opened = all.emplace_back();
    work.check();
    try {
      if (!fields.picture_problem(i).empty())
        throw Problem(kInvalidRequest,
                      "picture " + std::to_string(i) + ": " + fields.picture_problem(i));
      opened.picture = open_picture(fields.pictures()[i], background, model, service, work, i);
    } catch (...) {
      opened.failure = Failure::current();
      if (opened.failure->ends_request()) throw;
    }
  }
  return all;
}

Json error_json(const Failure& failure) {
  return {{"code", failure.kind_of_problem().code}, {"detail", failure.detail()}};
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
  Json json{{name, generation.text},
            {"score", number_json(generation.score)},
            {"token_ids", generation.token_ids}};
  if (generation.all.size() > 1) {
    for (const Text& text : generation.all)
      json[name + "s"].push_back(
          {{name, text.text}, {"score", number_json(text.score)}, {"token_ids", text.token_ids}});
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
