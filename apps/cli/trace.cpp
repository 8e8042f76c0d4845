#include "cli/trace.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>

#include "base/json.h"
#include "blip/error.h"
#include "cli/exit.h"
#include "cli/files.h"

namespace blip::cli {
namespace {

// How a trace of ours begins: the format is Google's "Trace Event Format".
constexpr std::string_view kStart = "{\"displayTimeUnit\": \"ms\", \"traceEvents\": [\n";
constexpr std::string_view kProcess =
    R"({"name": "process_name", "ph": "M", "pid": 1, "tid": 0, "args": {"name": "blip"}})";
constexpr std::size_t kBuffer = std::size_t{1} << 16;

// With quotes; bytes that are not UTF-8 become U+FFFD.
std::string quoted(std::string_view text) { return json_text(nlohmann::json(std::string(text))); }

template <class... Values>
std::string formatted(const char* format, Values... values) {
  char text[256];
  const int size = std::snprintf(text, sizeof text, format, values...);
  return {text, static_cast<std::size_t>(std::clamp(size, 0, static_cast<int>(sizeof text) - 1))};
}

double now_us() {
  return std::chrono::duration<double, std::micro>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace

CLI::Option* add_trace_option(CLI::App& command, OutputOptions& options) {
  return add_named(command, "--trace", options.trace,
                   "Write where time goes, as chrome://tracing and ui.perfetto.dev show it", "FILE")
      ->group("Output");
}

Run traced(const OutputOptions& options, Run command) {
  if (options.trace.empty()) return command;
  return [path = options.trace, command = std::move(command)] {
    Trace trace(path);
    const int code = command();
    trace.finish();
    return code;
  };
}

Trace::Trace(const std::string& path) : first_us_(now_us()) {
  if (path.empty()) return;
  std::error_code ignored;
  if (path == "-" ||
      (std::filesystem::exists(path, ignored) && !std::filesystem::is_regular_file(path, ignored)))
    throw Exit(kExitUsage, "--trace " + path +
                               ": give the name of a file, which appears when the "
                               "run is over");
  check_replaceable(path, kStart, "trace");
  try {
    file_.emplace(path);
  } catch (const Error& error) {
    throw Exit(kExitSomeFailed, error.what());
  }
  buffer_.append(kStart).append(kProcess);
  profile_ =
      std::make_unique<Profile>(ZoneDetail::kOperations, [this](const Zone& zone) { add(zone); });
}

Trace::~Trace() { profile_.reset(); }

void Trace::add(const Zone& zone) {
  const bool stage = zone.detail == ZoneDetail::kStages;
  const std::lock_guard lock(mutex_);
  for (; threads_ < zone.thread; ++threads_)
    buffer_ += formatted(
        ",\n{\"name\": \"thread_name\", \"ph\": \"M\", \"pid\": 1, \"tid\": %d, "
        "\"args\": {\"name\": \"thread %d\"}}",
        threads_ + 1, threads_ + 1);
  buffer_.append(",\n{\"name\": ").append(quoted(zone.name));
  buffer_ += formatted(
      ", \"cat\": \"%s\", \"ph\": \"X\", \"ts\": %.3f, \"dur\": %.3f, \"pid\": 1, "
      "\"tid\": %d, \"args\": {",
      stage ? "stage" : "operation", zone.start_us - first_us_, zone.microseconds, zone.thread);
  if (stage) buffer_ += formatted("\"items\": %d", zone.items);
  if (zone.operations > 0)
    buffer_ += formatted("%s\"operations\": %.0f, \"bytes\": %.0f, \"gops\": %.1f",
                         stage ? ", " : "", zone.operations, zone.bytes,
                         zone.microseconds > 0 ? zone.operations / zone.microseconds / 1e3 : 0.0);
  buffer_ += "}}";
  flush(kBuffer);
}

// What is written later than a failure is lost anyway: finish() tells the first.
void Trace::flush(std::size_t above) {
  if (buffer_.size() <= above) return;
  if (failure_.empty()) {
    try {
      file_->write(std::as_bytes(std::span(buffer_)));
    } catch (const Error& error) {
      failure_ = error.what();
    }
  }
  buffer_.clear();
}

void Trace::finish() {
  if (!file_) return;
  profile_.reset();
  const std::lock_guard lock(mutex_);
  buffer_ += "\n]}\n";
  flush(0);
  if (!failure_.empty()) throw Exit(kExitSomeFailed, failure_);
  try {
    file_->commit();
  } catch (const Error& error) {
    throw Exit(kExitSomeFailed, error.what());
  }
  file_.reset();
}

}  // namespace blip::cli
