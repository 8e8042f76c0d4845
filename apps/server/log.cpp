#include "server/log.h"

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <ctime>

namespace blip::server {

std::string utc_now() {
  const auto now = std::chrono::system_clock::now();
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count() % 1000;
  std::tm utc = {};
  gmtime_r(&seconds, &utc);
  char date[32], text[48];
  std::strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &utc);
  std::snprintf(text, sizeof text, "%s.%03dZ", date, static_cast<int>(ms));
  return text;
}

void Log::write(const std::string& level, const char* event, const Json& fields) {
  if (quiet_ && level == "info") return;
  Json line{{"time", utc_now()}, {"level", level}, {"event", event}};
  line.update(fields);
  const std::string text = dump(line) + "\n";
  const std::lock_guard lock(mutex_);
  // A full disk or a closed terminal must not stop the service: what cannot be written is lost.
  if (::write(STDERR_FILENO, text.data(), text.size()) < 0) return;
}

}  // namespace blip::server
