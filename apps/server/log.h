// Log lines on standard error: one JSON object each, with the time first.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <thread>

#include "server/problem.h"

namespace blip::server {

// Writes on a thread of its own: whoever logs never waits for a slow disk or for a pipe that nobody
// reads. Of each kind of line (its event, and its status where it has one) it writes kPerSecond a
// second, of what went well kGoodPerSecond; one line of the event "suppressed" says how many more
// there were.
class Log {
 public:
  static constexpr unsigned kPerSecond = 20, kGoodPerSecond = 1000;
  static constexpr std::size_t kMaxWaiting = 10'000;

  // Throws Error(kIo) where there is no thread for it. descriptor: where the lines go; others than
  // standard error are for tests.
  explicit Log(bool quiet, int descriptor = 2);
  ~Log();  // writes what is there, where it is taken within a second
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  void info(const char* event, Json fields) { add("info", event, std::move(fields)); }
  // These also with --quiet.
  void warning(const char* event, Json fields) { add("warning", event, std::move(fields)); }
  void error(const char* event, Json fields) { add("error", event, std::move(fields)); }

 private:
  struct Kind {
    std::chrono::steady_clock::time_point since;  // of the present second
    unsigned written = 0;
    std::uint64_t suppressed = 0;
  };
  void add(const char* level, const char* event, Json fields);
  void summarise(std::chrono::steady_clock::time_point now, bool all);
  void push(const char* level, const std::string& event, Json fields);
  void work();
  bool write(const std::string& line);

  const bool quiet_;
  const int descriptor_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, Kind> kinds_;
  std::deque<Json> waiting_;
  std::uint64_t lost_ = 0;
  bool stop_ = false;
  std::thread thread_;
};

// "2026-01-31T12:00:00.123Z"
std::string utc_now();

}  // namespace blip::server
