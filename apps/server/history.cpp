#include "server/history.h"

#include <sqlite3.h>
#include <sys/stat.h>

#include <filesystem>

#include "blip/error.h"
#include "server/log.h"

namespace blip::server {
namespace {

constexpr const char* kSchema = R"(
  PRAGMA journal_mode = WAL;
  PRAGMA synchronous = FULL;
  PRAGMA secure_delete = ON;
  CREATE TABLE IF NOT EXISTS entries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    created TEXT NOT NULL,
    task TEXT NOT NULL,
    name TEXT NOT NULL,
    summary TEXT NOT NULL,
    result TEXT NOT NULL,
    picture_type TEXT NOT NULL,
    picture BLOB NOT NULL);
  PRAGMA user_version = 1;
)";
constexpr int kBusyMs = 5000;

}  // namespace

// A prepared statement; values are bound from left to right.
class History::Statement {
 public:
  Statement(History& history, const char* sql) : history_(history) {
    if (sqlite3_prepare_v2(history.database_, sql, -1, &statement_, nullptr) != SQLITE_OK) history.fail("cannot read");
  }
  ~Statement() { sqlite3_finalize(statement_); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  Statement& bind(std::int64_t value) {
    sqlite3_bind_int64(statement_, ++bound_, value);
    return *this;
  }
  Statement& bind(const std::string& text) {
    sqlite3_bind_text64(statement_, ++bound_, text.data(), text.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
    return *this;
  }
  Statement& bind_blob(const std::string& bytes) {
    sqlite3_bind_blob64(statement_, ++bound_, bytes.data(), bytes.size(), SQLITE_STATIC);
    return *this;
  }
  // Is there a row?
  bool step() {
    const int code = sqlite3_step(statement_);
    if (code != SQLITE_ROW && code != SQLITE_DONE) history_.fail("cannot use");
    return code == SQLITE_ROW;
  }
  std::int64_t whole(int column) { return sqlite3_column_int64(statement_, column); }
  std::string bytes(int column) {
    const auto* data = static_cast<const char*>(sqlite3_column_blob(statement_, column));
    const int size = sqlite3_column_bytes(statement_, column);
    return data == nullptr ? "" : std::string(data, static_cast<std::size_t>(size));
  }
  HistoryEntry entry() { return {whole(0), bytes(1), bytes(2), bytes(3), bytes(4), bytes(5)}; }

 private:
  History& history_;
  sqlite3_stmt* statement_ = nullptr;
  int bound_ = 0;
};

History::History(const std::string& path) : path_(path) {
  std::error_code ignored;
  const auto folder = std::filesystem::path(path).parent_path();
  if (!folder.empty()) std::filesystem::create_directories(folder, ignored);
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX;
  try {
    if (sqlite3_open_v2(path.c_str(), &database_, flags, nullptr) != SQLITE_OK) fail("cannot open");
    chmod(path.c_str(), S_IRUSR | S_IWUSR);  // somebody's pictures
    sqlite3_busy_timeout(database_, kBusyMs);
    execute(kSchema);
  } catch (...) {
    sqlite3_close(database_);
    throw;
  }
}

History::~History() { sqlite3_close(database_); }

void History::fail(const std::string& what) {
  const std::string reason = database_ != nullptr ? sqlite3_errmsg(database_) : "not enough memory";
  throw Error(ErrorCode::kIo, what + " the history " + path_ + ": " + reason + "; choose another file with --history");
}

void History::execute(const char* sql) {
  if (sqlite3_exec(database_, sql, nullptr, nullptr, nullptr) != SQLITE_OK) fail("cannot use");
}

std::int64_t History::add(const HistoryEntry& entry, const HistoryPicture& picture) {
  const std::lock_guard lock(mutex_);
  Statement statement(*this, "INSERT INTO entries (created, task, name, summary, result, picture_type, picture) VALUES (?, ?, ?, ?, ?, ?, ?)");
  statement.bind(utc_now()).bind(entry.task).bind(entry.name).bind(entry.summary).bind(entry.result).bind(picture.type).bind_blob(picture.bytes).step();
  return sqlite3_last_insert_rowid(database_);
}

bool History::update(std::int64_t id, const std::string& summary, const std::string& result) {
  const std::lock_guard lock(mutex_);
  Statement(*this, "UPDATE entries SET summary = ?, result = ? WHERE id = ?").bind(summary).bind(result).bind(id).step();
  return sqlite3_changes(database_) > 0;
}

std::vector<HistoryEntry> History::list(const std::string& text, std::int64_t before, int limit) {
  const std::lock_guard lock(mutex_);
  Statement statement(*this,
                      "SELECT id, created, task, name, summary, result FROM entries WHERE (?1 = 0 OR id < ?1) AND "
                      "(?2 = '' OR instr(lower(name || ' ' || summary), lower(?2)) > 0) ORDER BY id DESC LIMIT ?3");
  statement.bind(before).bind(text).bind(std::int64_t{limit});
  std::vector<HistoryEntry> entries;
  while (statement.step()) entries.push_back(statement.entry());
  return entries;
}

std::optional<HistoryEntry> History::find(std::int64_t id) {
  const std::lock_guard lock(mutex_);
  Statement statement(*this, "SELECT id, created, task, name, summary, result FROM entries WHERE id = ?");
  if (!statement.bind(id).step()) return std::nullopt;
  return statement.entry();
}

std::optional<HistoryPicture> History::picture(std::int64_t id) {
  const std::lock_guard lock(mutex_);
  Statement statement(*this, "SELECT picture_type, picture FROM entries WHERE id = ?");
  if (!statement.bind(id).step()) return std::nullopt;
  return HistoryPicture{statement.bytes(0), statement.bytes(1)};
}

bool History::remove(std::int64_t id) {
  const std::lock_guard lock(mutex_);
  Statement(*this, "DELETE FROM entries WHERE id = ?").bind(id).step();
  return sqlite3_changes(database_) > 0;
}

void History::clear() {
  const std::lock_guard lock(mutex_);
  execute("DELETE FROM entries");
}

}  // namespace blip::server
