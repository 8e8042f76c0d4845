// The web page's history: results with their pictures in an SQLite file. Every change is one
// transaction.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "server/history_reserve.h"
#include "server/problem.h"

struct sqlite3;

namespace blip::server {

struct HistoryEntry {
  std::int64_t id = 0;
  std::string created = {};  // UTC, as log lines have it
  std::string task = {};     // "caption", "match" or "ask"
  std::string name = {};     // of the picture
  std::string summary = {};  // what search looks at, together with the name
  std::string result = {};   // JSON, the page's own
};

struct HistoryPicture {
  std::string type, bytes;
};

// Of one owner's entries. The oldest go to make room for a new one.
struct HistoryLimits {
  std::int64_t max_entries = 1000;
  // of texts and pictures, and 1 KiB for each entry
  std::int64_t max_bytes = std::int64_t{1} << 30;
};

struct HistoryUsage {
  std::int64_t entries = 0, bytes = 0;
};

// Thread-safe. An owner is what owner_of() makes of an API key; nobody reads or changes entries of
// another. All functions throw Error(kIo) when the file fails them, whose message is for the log:
// it names the file. They throw Problem(storage_full) when the disk has no room and
// Problem(unavailable) while another program holds the file.
class History {
 public:
  // In bytes; what is longer is not stored, and not read out of a file that another program wrote.
  static constexpr std::size_t kMaxWord = 64, kMaxName = 4096, kMaxSummary = std::size_t{64} << 10,
                               kMaxResult = std::size_t{4} << 20,
                               kMaxPicture = std::size_t{256} << 20;

  // Creates the file and its folder where they are missing; ":memory:" is no file. Files of older
  // versions are brought up to date: their entries belong to those without a key. A file that is
  // anything else is left as it was.
  explicit History(const std::string& path, const HistoryLimits& limits = {});
  ~History();
  History(const History&) = delete;
  History& operator=(const History&) = delete;

  // A hash of the key and a secret of this file, so that the file does not tell keys. "" stays "".
  std::string owner_of(const std::string& key) const;

  struct Change {
    HistoryEntry entry;        // as it is stored now
    std::int64_t dropped = 0;  // older entries that made room for it
  };
  // Throws Problem(payload_too_large) for an entry that is larger than all that may be kept.
  Change add(const std::string& owner, HistoryEntry entry, const HistoryPicture& picture);
  std::optional<Change> update(const std::string& owner, std::int64_t id,
                               const std::string& summary, const std::string& result);

  struct Page {
    std::vector<HistoryEntry> entries;
    std::int64_t next = 0;  // list(..., next, ...) goes on; 0 = there are no more
  };
  // Newest first, ids below `before` (0 = from the newest on), whose name or summary holds the
  // text. A page ends early when its texts get large.
  Page list(const std::string& owner, const std::string& text, std::int64_t before, int limit);
  std::optional<HistoryEntry> find(const std::string& owner, std::int64_t id);
  std::optional<HistoryPicture> picture(const std::string& owner, std::int64_t id);
  HistoryUsage usage(const std::string& owner);

  // What is deleted leaves no trace in the file, and the file gives its space back. Both work on a
  // full disk.
  bool remove(const std::string& owner, std::int64_t id);
  void clear(const std::string& owner);

  const HistoryLimits& limits() const { return limits_; }

 private:
  class Statement;
  class Transaction;
  void open();
  void migrate();
  void give_space_back_from_now_on();
  bool execute(const std::string& sql);  // false: the disk is full
  void check(int code, const char* what);
  [[noreturn]] void fail(const std::string& what);
  bool disk_is_full(int code) const;
  std::optional<HistoryEntry> read(const std::string& owner, std::int64_t id);
  std::int64_t make_room(const std::string& owner, std::int64_t bytes, std::int64_t changed_id);
  std::int64_t erase(const std::string& owner, std::int64_t id);
  void give_space_back();

  const std::string path_;
  const HistoryLimits limits_;
  std::mutex mutex_;
  HistoryReserve reserve_;
  sqlite3* database_ = nullptr;
  std::string secret_;  // of owner_of
};

}  // namespace blip::server
