// The web page's history: results with their pictures in an SQLite file. Every change is one transaction.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "server/problem.h"

struct sqlite3;
struct sqlite3_stmt;

namespace blip::server {

struct HistoryEntry {
  std::int64_t id = 0;
  std::string created;  // UTC, as log lines have it
  std::string task;     // "caption", "match" or "ask"
  std::string name;     // of the picture
  std::string summary;  // what search looks at, together with the name
  std::string result;   // JSON, the page's own
};

struct HistoryPicture {
  std::string type, bytes;
};

// Thread-safe. All functions throw Error(kIo) when the file fails them.
class History {
 public:
  // Creates the file and its folder where they are missing.
  explicit History(const std::string& path);
  ~History();
  History(const History&) = delete;
  History& operator=(const History&) = delete;

  std::int64_t add(const HistoryEntry& entry, const HistoryPicture& picture);
  bool update(std::int64_t id, const std::string& summary, const std::string& result);
  // Newest first, ids below `before` (0 = from the newest on), whose name or summary holds the text.
  std::vector<HistoryEntry> list(const std::string& text, std::int64_t before, int limit);
  std::optional<HistoryEntry> find(std::int64_t id);
  std::optional<HistoryPicture> picture(std::int64_t id);
  bool remove(std::int64_t id);
  void clear();

 private:
  class Statement;
  void execute(const char* sql);
  [[noreturn]] void fail(const std::string& what);

  const std::string path_;
  std::mutex mutex_;
  sqlite3* database_ = nullptr;
};

}  // namespace blip::server
