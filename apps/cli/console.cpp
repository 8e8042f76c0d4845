#include "cli/console.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <system_error>

#include "base/json.h"
#include "cli/chinese.h"
#include "cli/exit.h"

namespace blip::cli {
namespace {

constexpr auto kBarInterval = std::chrono::milliseconds(100);  // smooth to the eye
constexpr auto kLineInterval = std::chrono::seconds(5);        // a log that can still be read
constexpr auto kJsonInterval = std::chrono::seconds(1);
constexpr auto kBarDelay = std::chrono::milliseconds(300);  // short work needs no bar
constexpr int kSignalPipe = 13;

bool write_all(int fd, const char* data, std::size_t size) {
  while (size > 0) {
    const ssize_t written = ::write(fd, data, size);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    data += written;
    size -= static_cast<std::size_t>(written);
  }
  return true;
}

// A reader that has gone (blip ... | head) ends the program as quietly as the signal would.
[[noreturn]] void output_failed() {
  if (errno == EPIPE) throw Exit(kExitSignal + kSignalPipe, "");
  throw Exit(kExitSomeFailed,
             "cannot write to standard output: " + std::generic_category().message(errno));
}

std::string format_seconds(double seconds) {
  const long total = std::lround(std::min(seconds, 359999.0));
  if (total < 60) return std::to_string(total) + " s";
  if (total < 3600) return std::to_string(total / 60) + " min " + std::to_string(total % 60) + " s";
  return std::to_string(total / 3600) + " h " + std::to_string(total / 60 % 60) + " min";
}

int result_fd = STDOUT_FILENO;

}  // namespace

void keep_output_for_results(bool quiet) {
  if (result_fd != STDOUT_FILENO) return;
  const int results = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  if (results < 0) return;  // standard output is closed: the first result says so
  const int elsewhere = quiet ? ::open("/dev/null", O_WRONLY | O_CLOEXEC) : ::dup(STDERR_FILENO);
  if (elsewhere >= 0 && dup2(elsewhere, STDOUT_FILENO) >= 0) result_fd = results;
  if (elsewhere >= 0) ::close(elsewhere);
  if (result_fd != results) ::close(results);
}

Console::Console(const OutputOptions& options)
    : options_(options), terminal_(options.progress == "auto" && isatty(STDERR_FILENO) == 1) {}

Console::~Console() { clear_bar(); }

void Console::line(std::string_view text) {
  clear_bar();
  std::string whole(text);
  whole += '\n';
  if (!write_all(result_fd, whole.data(), whole.size())) output_failed();
}

void Console::object(const Json& object) { line(printable_json(json_text(object))); }

void Console::bytes(std::span<const std::byte> data) {
  clear_bar();
  if (!write_all(result_fd, reinterpret_cast<const char*>(data.data()), data.size()))
    output_failed();
}

void Console::write_error(std::string_view text) { write_printable(printable(text)); }

void Console::write_printable(const std::string& text) {
  clear_bar();
  const std::string whole = "blip: " + text + '\n';
  write_all(STDERR_FILENO, whole.data(), whole.size());
}

void Console::note(std::string_view text) {
  if (!quiet()) write_error(text);
}

void Console::warning(const std::string& text) {
  if (!quiet() && warned_.insert(text).second) write_error("warning: " + text);
}

void Console::error(std::string_view text) {
  write_error("error: " + (speaks_chinese() ? with_chinese(text) : std::string(text)));
}

void Console::failed(Json row, const std::string& shown, const std::string& message) {
  ++failures_;
  row["error"] = message;
  if (json()) return object(row);
  // Most messages name the file already.
  error(message.find(shown) != std::string::npos ? message : shown + ": " + message);
}

void Console::input_failed(const std::string& name, const std::string& message) {
  failed(named("image", name), name, message);
}

void Console::start_progress(const std::string& what, std::optional<std::size_t> total) {
  what_ = printable(what);
  total_ = total;
  progressing_ = true;
  done_ = passed_ = 0;
  started_ = Clock::now();
  drawn_ = terminal_ ? started_ + kBarDelay - kBarInterval : started_;
}

bool Console::has_progress() const {
  return progressing_ && shows_progress() && !(total_ && *total_ < 2);
}

void Console::progress(std::size_t done, std::size_t passed, std::optional<std::size_t> total) {
  done_ = done + passed;
  passed_ = passed;
  total_ = total;
  if (!has_progress() || (total_ && done_ >= *total_)) return;
  const auto now = Clock::now();
  const auto interval = options_.progress == "json" ? Clock::duration(kJsonInterval)
                        : terminal_                 ? Clock::duration(kBarInterval)
                                                    : Clock::duration(kLineInterval);
  if (now - drawn_ >= interval) draw(now);
}

void Console::end_progress() {
  clear_bar();
  // A reader of JSON learns of the end; to people the next line tells it.
  if (has_progress() && options_.progress == "json") draw_json();
  progressing_ = false;
}

void Console::clear_bar() {
  if (!bar_shown_) return;
  constexpr std::string_view kEraseLine = "\r\x1b[K";
  write_all(STDERR_FILENO, kEraseLine.data(), kEraseLine.size());
  bar_shown_ = false;
  drawn_ = {};  // drawn again with the next step
}

double Console::rate(Clock::time_point now) const {
  const double seconds = std::chrono::duration<double>(now - started_).count();
  return seconds > 0 ? static_cast<double>(done_ - passed_) / seconds : 0;
}

std::optional<double> Console::seconds_left(Clock::time_point now) const {
  const double speed = rate(now);
  if (!total_ || speed <= 0 || done_ > *total_) return std::nullopt;
  return static_cast<double>(*total_ - done_) / speed;
}

void Console::draw_json() {
  const auto now = Clock::now();
  const std::optional<double> left = seconds_left(now);
  const Json object{{"progress", what_},
                    {"done", done_},
                    {"failed", failures_},
                    {"total", total_ ? Json(*total_) : Json(nullptr)},
                    {"per_second", std::round(rate(now) * 100) / 100},
                    {"seconds_left", left ? Json(std::round(*left)) : Json(nullptr)}};
  const std::string line = object.dump() + '\n';
  write_all(STDERR_FILENO, line.data(), line.size());
}

void Console::draw(Clock::time_point now) {
  drawn_ = now;
  if (options_.progress == "json") return draw_json();
  std::string text =
      std::to_string(done_) + (total_ ? "/" + std::to_string(*total_) : "") + " " + what_;
  if (failures_ > 0) text += " (" + std::to_string(failures_) + " failed)";
  if (done_ > passed_) text += ", " + fixed(rate(now), 1) + "/s";
  if (const auto left = seconds_left(now)) text += ", " + format_seconds(*left) + " left";
  if (!terminal_) return write_printable(text);
  winsize size = {};
  const int columns =
      ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
  const int width = std::min(40, columns - static_cast<int>(text.size()) - 4);
  std::string bar = "\r\x1b[K";
  if (width >= 10 && total_) {
    const double share = std::min(
        1.0, static_cast<double>(done_) / static_cast<double>(std::max<std::size_t>(*total_, 1)));
    const auto filled = static_cast<std::size_t>(width * share);
    bar += '[';
    bar.append(filled, '#').append(static_cast<std::size_t>(width) - filled, '-');
    bar += "] ";
  }
  bar += text.substr(0, static_cast<std::size_t>(std::max(columns - 1, 1)));
  write_all(STDERR_FILENO, bar.data(), bar.size());
  bar_shown_ = true;
}

Json json_number(float value) {
  if (!std::isfinite(value)) return nullptr;
  char text[32];
  const auto written = std::to_chars(text, text + sizeof text, value);
  double shortest = 0;
  std::from_chars(text, written.ptr, shortest);
  return shortest;
}

Json json_number(const std::optional<float>& value) {
  return value ? json_number(*value) : Json(nullptr);
}

Json json_ms(double milliseconds) { return std::round(milliseconds * 1000) / 1000; }

std::string format_ms(double milliseconds) {
  return fixed(milliseconds, milliseconds < 100 ? 1 : 0) + " ms";
}

Json named(const std::string& key, const std::string& name) {
  Json row{{key, name}};
  // A NUL cannot be in a name, and JSON can say one.
  if (find_not_utf8(name) != std::string::npos) row[key + "_bytes"] = base64(name);
  return row;
}

Json joined(Json row, const Json& more) {
  for (const auto& [key, value] : more.items()) row[key] = value;
  return row;
}

std::string left_aligned(std::string text, std::size_t width) {
  text.resize(std::max(text.size(), width), ' ');
  return text;
}

std::string right_aligned(std::string text, std::size_t width) {
  if (text.size() < width) text.insert(0, width - text.size(), ' ');
  return text;
}

std::string fixed(double value, int digits) {
  char text[400];  // the largest double has 309 digits before the point
  const auto written =
      std::to_chars(text, text + sizeof text, value, std::chars_format::fixed, digits);
  return {text, written.ptr};
}

}  // namespace blip::cli
