// What the program writes: results on standard output, one flushed line each; everything else on
// standard error.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>

#include "cli/printable.h"

namespace blip::cli {

using Json = nlohmann::ordered_json;

// A bar on a terminal and lines elsewhere; lines; JSON objects; none.
inline constexpr std::array kProgressStyles = {"auto", "lines", "json", "none"};

struct OutputOptions {
  bool json = false;              // one object a line on standard output, failed inputs included
  bool quiet = false;             // errors only on standard error
  std::string trace{};            // a file for cli/trace.h; "" = none
  std::string progress = "auto";  // one of kProgressStyles
};

// For devices whose runtime prints on standard output of its own accord (SOPHON's does): from here
// on only a Console's results go there; what anything else prints goes to standard error, or
// nowhere if quiet. Call before the runtime starts.
void keep_output_for_results(bool quiet);

class Console {
 public:
  explicit Console(const OutputOptions& options);
  ~Console();
  Console(const Console&) = delete;
  Console& operator=(const Console&) = delete;

  bool json() const { return options_.json; }
  bool quiet() const { return options_.quiet; }
  bool shows_progress() const { return !quiet() && options_.progress != "none"; }

  void line(std::string_view text);  // a result; throws Exit when standard output is closed or full
  // The same as JSON: bytes that are not UTF-8 become U+FFFD (see named()), control characters are
  // escaped.
  void object(const Json& object);
  void bytes(std::span<const std::byte> data);

  void note(std::string_view text);  // timings and the like; silent with --quiet
  // Silent with --quiet; each text once, as it may come with every picture.
  void warning(const std::string& text);
  void error(std::string_view text);
  // A picture that failed: {"image", "error"} with --json, else a line on standard error. Counted.
  void input_failed(const std::string& name, const std::string& message);
  // Another input that failed: `row` with "error" added, or `shown` and the message. Counted.
  void failed(Json row, const std::string& shown, const std::string& message);
  std::size_t failures() const { return failures_; }

  // Progress over `total` things ("pictures"): a bar on a terminal, else a line every few seconds.
  // A total below 2 shows nothing; one that is not known yet may become so.
  void start_progress(const std::string& what, std::optional<std::size_t> total);
  void progress(std::size_t done) { progress(done, 0, total_); }
  // passed: things that were done before, which count as done but say nothing of the speed.
  void progress(std::size_t done, std::size_t passed, std::optional<std::size_t> total);
  void end_progress();

 private:
  using Clock = std::chrono::steady_clock;
  void write_error(std::string_view text);        // a line on standard error, above the bar
  void write_printable(const std::string& text);  // of what is printable already
  void clear_bar();
  void draw(Clock::time_point now);
  void draw_json();
  double rate(Clock::time_point now) const;  // things a second
  std::optional<double> seconds_left(Clock::time_point now) const;
  bool has_progress() const;

  OutputOptions options_;
  bool terminal_ = false;  // standard error is one
  bool bar_shown_ = false;
  std::set<std::string> warned_;
  std::string what_;
  std::optional<std::size_t> total_;
  std::size_t done_ = 0, passed_ = 0, failures_ = 0;
  bool progressing_ = false;
  Clock::time_point started_, drawn_;
};

// The shortest decimal that reads back as this float: 0.9871, not 0.98710000514984131.
Json json_number(float value);
// The same; null for nothing.
Json json_number(const std::optional<float>& value);
// Milliseconds to the microsecond.
Json json_ms(double milliseconds);
// "12.3 ms"
std::string format_ms(double milliseconds);
// {key: name} and, where the name is not UTF-8 and would lose something in JSON, {key}_bytes: its
// bytes in base64.
Json named(const std::string& key, const std::string& name);
// The rows one after the other in one.
Json joined(Json row, const Json& more);
// printf's %.*f without a locale's comma.
std::string fixed(double value, int digits);
// With blanks behind, or before it, where it is shorter than `width`.
std::string left_aligned(std::string text, std::size_t width);
std::string right_aligned(std::string text, std::size_t width);

}  // namespace blip::cli
