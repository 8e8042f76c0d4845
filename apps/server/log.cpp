#include "server/log.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <ctime>
#include <system_error>

#include "blip/error.h"

namespace blip::server {
namespace {

constexpr auto kSecond = std::chrono::seconds(1);
constexpr std::size_t kMaxKinds = 1000;

}  // namespace

std::string utc_now() {
  const auto now = std::chrono::system_clock::now();
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  const auto ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count() % 1000;
  std::tm utc = {};
  gmtime_r(&seconds, &utc);
  char date[32], text[48];
  std::strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &utc);
  std::snprintf(text, sizeof text, "%s.%03dZ", date, static_cast<int>(ms));
  return text;
}

Log::Log(bool quiet, int descriptor) : quiet_(quiet), descriptor_(descriptor) {
  try {
    thread_ = std::thread([this] { work(); });
  } catch (const std::system_error& error) {
    throw Error(ErrorCode::kIo, std::string("cannot start the log's thread: ") + error.what());
  }
}

Log::~Log() {
  {
    const std::lock_guard lock(mutex_);
    summarise(std::chrono::steady_clock::now(), true);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Log::push(const char* level, const std::string& event, Json fields) {
  if (waiting_.size() >= kMaxWaiting) {
    ++lost_;
    return;
  }
  Json line{{"time", utc_now()}, {"level", level}, {"event", event}};
  line.update(fields);
  waiting_.push_back(std::move(line));
}

// Of each kind whose second is over, or of all: how many lines were left out.
void Log::summarise(std::chrono::steady_clock::time_point now, bool all) {
  for (auto& [name, kind] : kinds_) {
    if (kind.suppressed > 0 && (all || now - kind.since >= kSecond)) {
      push("warning", "suppressed", {{"kind", name}, {"lines", kind.suppressed}});
      kind.suppressed = 0;
    }
  }
  if (lost_ > 0 && waiting_.size() < kMaxWaiting / 2) {
    const std::uint64_t lines = std::exchange(lost_, 0);
    push("warning", "suppressed",
         {{"kind", "standard error is not read fast enough"}, {"lines", lines}});
  }
}

void Log::add(const char* level, const char* event, Json fields) {
  if (quiet_ && *level == 'i') return;
  std::string name = event;
  bool good = *level == 'i';
  if (const auto status = fields.find("status");
      status != fields.end() && status->is_number_integer()) {
    name += " " + std::to_string(status->get<int>());
    good = good && status->get<int>() < 400;
  }
  {
    const std::lock_guard lock(mutex_);
    const auto now = std::chrono::steady_clock::now();
    if (kinds_.size() >= kMaxKinds) kinds_.clear();
    Kind& kind = kinds_[name];
    if (now - kind.since >= kSecond) {
      if (kind.suppressed > 0) summarise(now, false);
      kind.since = now;
      kind.written = 0;
    }
    if (++kind.written > (good ? kGoodPerSecond : kPerSecond)) {
      ++kind.suppressed;
      return;
    }
    push(level, event, std::move(fields));
  }
  changed_.notify_one();
}

void Log::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait_for(lock, kSecond, [this] { return stop_ || !waiting_.empty(); });
    summarise(std::chrono::steady_clock::now(), false);
    if (waiting_.empty()) {
      if (stop_) return;
      continue;
    }
    const Json line = std::move(waiting_.front());
    waiting_.pop_front();
    lock.unlock();
    const bool written = write(json_text(line) + "\n");
    lock.lock();
    if (!written && stop_) return;  // nobody takes the lines, and nobody waits for them any longer
  }
}

// A full disk or a closed terminal must not stop the service: what cannot be written is lost.
bool Log::write(const std::string& line) {
  std::string_view left = line;
  while (!left.empty()) {
    pollfd ready{descriptor_, POLLOUT, 0};
    if (const int count = poll(&ready, 1, 1000); count == 0 || (count < 0 && errno == EINTR)) {
      const std::lock_guard lock(mutex_);
      if (stop_) return false;
      continue;
    }
    // A pipe that is ready takes this much without waiting.
    const ssize_t size =
        ::write(descriptor_, left.data(), std::min<std::size_t>(left.size(), PIPE_BUF));
    if (size < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (size < 0) return false;
    left.remove_prefix(static_cast<std::size_t>(size));
  }
  return true;
}

}  // namespace blip::server
