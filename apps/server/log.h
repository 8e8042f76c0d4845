// Log lines on standard error: one JSON object each, with the time first.
#pragma once

#include <mutex>
#include <string>

#include "server/problem.h"

namespace blip::server {

class Log {
 public:
  explicit Log(bool quiet) : quiet_(quiet) {}
  void info(const char* event, const Json& fields) { write("info", event, fields); }
  // Also with --quiet.
  void error(const char* event, const Json& fields) { write("error", event, fields); }

 private:
  void write(const std::string& level, const char* event, const Json& fields);

  const bool quiet_;
  std::mutex mutex_;
};

// "2026-01-31T12:00:00.123Z"
std::string utc_now();

}  // namespace blip::server
