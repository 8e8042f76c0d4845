#include "server/history.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <span>
#include <utility>

#include "base/sha256.h"
#include "blip/error.h"
#include "server/log.h"

namespace blip::server {
namespace {

constexpr int kBusyMs = 5000;
constexpr int kVersion = 2;
// of an entry without its texts and picture, against floods of empty ones
constexpr std::int64_t kEntryBytes = 1024;
constexpr std::size_t kMaxPage = std::size_t{8} << 20;
constexpr int kVacuumPages = 4096, kFewPages = 64;

// secure_delete: what is deleted is overwritten where a page is written anyway; whole free pages
// leave the file.
constexpr const char* kSettings = R"(
  PRAGMA trusted_schema = OFF;
  PRAGMA auto_vacuum = INCREMENTAL;
  PRAGMA journal_mode = WAL;
  PRAGMA synchronous = FULL;
  PRAGMA secure_delete = FAST;
  PRAGMA temp_store = MEMORY;
)";

constexpr const char* kFirstVersion = R"(
  CREATE TABLE entries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    created TEXT NOT NULL,
    task TEXT NOT NULL,
    name TEXT NOT NULL,
    summary TEXT NOT NULL,
    result TEXT NOT NULL,
    picture_type TEXT NOT NULL,
    picture BLOB NOT NULL);
)";

// A virtual column costs no space and no copy of what is there; the index makes sums of it quick.
std::string second_version() {
  std::string bytes = std::to_string(kEntryBytes);
  for (const char* column : {"name", "summary", "result", "picture"})
    bytes += std::string(" + length(CAST(") + column + " AS BLOB))";
  return "ALTER TABLE entries ADD COLUMN owner TEXT NOT NULL DEFAULT '';"
         "ALTER TABLE entries ADD COLUMN bytes INTEGER GENERATED ALWAYS AS (" +
         bytes +
         ") VIRTUAL;"
         "CREATE INDEX entries_by_owner ON entries (owner, id, bytes);"
         "CREATE TABLE secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL);"
         "INSERT INTO secrets VALUES ('owner', randomblob(32));";
}

// Columns as HistoryEntry has them, each truncated one byte over its limit; as bytes, since another
// program may have stored any type.
std::string entry_columns() {
  const auto cut = [](const char* column, std::size_t limit) {
    return std::string(", substr(CAST(") + column + " AS BLOB), 1, " + std::to_string(limit + 1) +
           ")";
  };
  return "id" + cut("created", History::kMaxWord) + cut("task", History::kMaxWord) +
         cut("name", History::kMaxName) + cut("summary", History::kMaxSummary) +
         cut("result", History::kMaxResult);
}

std::int64_t texts_size(const HistoryEntry& entry) {
  return static_cast<std::int64_t>(entry.name.size() + entry.summary.size() + entry.result.size());
}

}  // namespace

// A prepared statement; values are bound from left to right.
class History::Statement {
 public:
  Statement(History& history, const std::string& sql) : history_(history) {
    history.check(sqlite3_prepare_v2(history.database_, sql.c_str(), -1, &statement_, nullptr),
                  "cannot read");
  }
  ~Statement() { sqlite3_finalize(statement_); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  Statement& bind(std::int64_t value) {
    history_.check(sqlite3_bind_int64(statement_, ++bound_, value), "cannot use");
    return *this;
  }
  Statement& bind(const std::string& text) {
    history_.check(sqlite3_bind_text64(statement_, ++bound_, text.data(), text.size(),
                                       SQLITE_TRANSIENT, SQLITE_UTF8),
                   "cannot use");
    return *this;
  }
  Statement& bind_blob(const std::string& bytes) {
    history_.check(
        sqlite3_bind_blob64(statement_, ++bound_, bytes.data(), bytes.size(), SQLITE_STATIC),
        "cannot use");
    return *this;
  }
  // Is there a row?
  bool step() {
    const int code = sqlite3_step(statement_);
    if (code != SQLITE_ROW && code != SQLITE_DONE) history_.check(code, "cannot use");
    return code == SQLITE_ROW;
  }
  // The first column of the first row, after which the statement is over: one with rows left would
  // keep the log in use.
  std::optional<std::int64_t> only() {
    std::optional<std::int64_t> value;
    if (step()) value = whole(0);
    sqlite3_reset(statement_);
    return value;
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

class History::Transaction {
 public:
  explicit Transaction(History& history) : history_(history) {
    Statement(history, "BEGIN IMMEDIATE").step();
  }
  ~Transaction() {
    if (sqlite3_get_autocommit(history_.database_) == 0)
      sqlite3_exec(history_.database_, "ROLLBACK", nullptr, nullptr, nullptr);
  }
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;

  void commit() { Statement(history_, "COMMIT").step(); }

 private:
  History& history_;
};

History::History(const std::string& path, const HistoryLimits& limits)
    : path_(path), limits_(limits), reserve_(path == ":memory:" ? "" : path + "-reserve") {
  try {
    try {
      open();
    } catch (const Problem& problem) {  // without room for its own working files
      if (&problem.kind() != &kStorageFull || !reserve_.release()) fail("cannot open");
      sqlite3_close(std::exchange(database_, nullptr));
      open();
    }
  } catch (const Problem& problem) {
    sqlite3_close(database_);
    throw Error(ErrorCode::kIo, "cannot open the history " + path_ + ": " + problem.what());
  } catch (...) {
    sqlite3_close(database_);
    throw;
  }
  reserve_.take();
}

void History::open() {
  if (path_ != ":memory:") {
    std::error_code ignored;  // SQLite says it better
    const auto folder = std::filesystem::path(path_).parent_path();
    if (!folder.empty()) std::filesystem::create_directories(folder, ignored);
    // Somebody's pictures: nobody else may read them, not for a moment.
    const int fd = ::open(path_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, S_IRUSR | S_IWUSR);
    if (fd >= 0) close(fd);
    if (std::filesystem::exists(path_, ignored) &&
        !std::filesystem::is_regular_file(path_, ignored))
      throw Error(ErrorCode::kIo, path_ + " is no file; choose another with --history");
  }
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX;
  check(sqlite3_open_v2(path_.c_str(), &database_, flags, nullptr), "cannot open");
  check(sqlite3_extended_result_codes(database_, 1), "cannot open");
  sqlite3_busy_timeout(database_, kBusyMs);
  migrate();
  if (path_ != ":memory:") chmod(path_.c_str(), S_IRUSR | S_IWUSR);
  give_space_back_from_now_on();
  Statement secret(*this, "SELECT value FROM secrets WHERE name = 'owner'");
  if (secret.step()) secret_ = secret.bytes(0);
  // Reads the table and the index, pictures apart: a damaged file is better found now.
  Statement(*this, "SELECT count(created) FROM entries NOT INDEXED").step();
  Statement(*this, "SELECT count(bytes) FROM entries INDEXED BY entries_by_owner").step();
}

void History::migrate() {
  const auto number = [this](const char* sql) { return Statement(*this, sql).only().value_or(0); };
  // Nothing is written into a file before it is known to be ours.
  const auto version = number("PRAGMA user_version");
  const auto tables = number(
      "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'");
  const auto known = number(
      "SELECT count(*) FROM pragma_table_xinfo('entries') WHERE name IN "
      "('id', 'created', 'task', 'name', 'summary', 'result', 'picture_type', 'picture')");
  if (version > kVersion) {
    throw Error(ErrorCode::kIo, "the history " + path_ +
                                    " is of a newer version of blip; use that, or choose another "
                                    "file with --history");
  }
  if ((tables > 0 && known != 8) || (tables == 0 && version != 0)) {
    throw Error(ErrorCode::kIo,
                path_ +
                    " is a database of another program, not a history of blip; choose another file "
                    "with --history");
  }
  check(sqlite3_exec(database_, kSettings, nullptr, nullptr, nullptr), "cannot use");
  Transaction transaction(*this);
  const bool made = number("SELECT count(*) FROM pragma_table_xinfo('entries')") > 0;
  const bool owned =
      number("SELECT count(*) FROM pragma_table_xinfo('entries') WHERE name = 'owner'") > 0;
  std::string sql = made ? "" : kFirstVersion;
  if (!owned) sql += second_version();
  sql += "PRAGMA user_version = " + std::to_string(kVersion);
  check(sqlite3_exec(database_, sql.c_str(), nullptr, nullptr, nullptr), "cannot use");
  transaction.commit();
}

// Files of the first version keep their free pages until they are written anew, once. Where the
// disk has no room for that they stay as they are until the next start, and what is deleted is
// overwritten instead.
void History::give_space_back_from_now_on() {
  const auto mode = [this] { return Statement(*this, "PRAGMA auto_vacuum").only().value_or(0); };
  if (mode() == 0) execute("VACUUM");
  if (mode() == 0) execute("PRAGMA secure_delete = ON");
}

History::~History() { sqlite3_close(database_); }

bool History::disk_is_full(int code) const {
  // A quota and ulimit -f come as errors of writing; which error it was, SQLite often no longer
  // knows.
  if ((code & 0xff) == SQLITE_FULL || code == SQLITE_IOERR_WRITE || code == SQLITE_IOERR_SHMSIZE)
    return true;
  if ((code & 0xff) != SQLITE_IOERR || database_ == nullptr) return false;
  const int error = sqlite3_system_errno(database_);
  return error == ENOSPC || error == EDQUOT || error == EFBIG;
}

void History::check(int code, const char* what) {
  if (code == SQLITE_OK) return;
  if (disk_is_full(code)) {
    throw Problem(
        kStorageFull,
        "the server cannot write its history: its disk is full, or a quota is used up, or it "
        "fails. Nothing was changed; delete entries, or make room on the server");
  }
  if ((code & 0xff) == SQLITE_BUSY || (code & 0xff) == SQLITE_LOCKED)
    throw Problem(kUnavailable, "another program is using the server's history; try again soon");
  fail(what);
}

void History::fail(const std::string& what) {
  const std::string reason = database_ != nullptr ? sqlite3_errmsg(database_) : "not enough memory";
  throw Error(ErrorCode::kIo,
              what + " the history " + path_ + ": " + reason +
                  "; choose another file with --history, or keep none with --no-history");
}

bool History::execute(const std::string& sql) {
  const int code = sqlite3_exec(database_, sql.c_str(), nullptr, nullptr, nullptr);
  if (code != SQLITE_OK && disk_is_full(code)) return false;
  check(code, "cannot use");
  return true;
}

std::string History::owner_of(const std::string& key) const {
  if (key.empty()) return "";
  const std::string both = secret_ + key;
  return sha256(std::as_bytes(std::span(both)));
}

// Within a transaction: drops the owner's oldest entries until so many bytes more fit. changed_id:
// the entry that grows, or 0 for a new one. Returns how many went.
std::int64_t History::make_room(const std::string& owner, std::int64_t bytes,
                                std::int64_t changed_id) {
  Statement sum(
      *this, "SELECT count(*), coalesce(sum(bytes), 0) FROM entries WHERE owner = ?1 AND id <> ?2");
  sum.bind(owner).bind(changed_id).step();
  std::int64_t entries = sum.whole(0) + 1, total = sum.whole(1);
  if (bytes > limits_.max_bytes) {
    throw Problem(kTooLarge, "the entry takes " + std::to_string(bytes) +
                                 " bytes; the history keeps at most " +
                                 std::to_string(limits_.max_bytes) +
                                 " of one user (--history-max-bytes)");
  }
  std::int64_t dropped = 0;
  while (entries > limits_.max_entries || total + bytes > limits_.max_bytes) {
    Statement oldest(
        *this, "SELECT id, bytes FROM entries WHERE owner = ?1 AND id <> ?2 ORDER BY id LIMIT 1");
    if (!oldest.bind(owner).bind(changed_id).step()) break;
    Statement(*this, "DELETE FROM entries WHERE id = ?").bind(oldest.whole(0)).step();
    --entries;
    total -= oldest.whole(1);
    ++dropped;
  }
  return dropped;
}

History::Change History::add(const std::string& owner, HistoryEntry entry,
                             const HistoryPicture& picture) {
  const std::lock_guard lock(mutex_);
  if (picture.bytes.size() > kMaxPicture)
    throw Problem(kTooLarge, "the picture has more than " + std::to_string(kMaxPicture) + " bytes");
  Transaction transaction(*this);
  const auto bytes =
      kEntryBytes + texts_size(entry) + static_cast<std::int64_t>(picture.bytes.size());
  const std::int64_t dropped = make_room(owner, bytes, 0);
  entry.created = utc_now();
  Statement statement(
      *this,
      "INSERT INTO entries (owner, created, task, name, summary, result, picture_type, picture) "
      "VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
  statement.bind(owner)
      .bind(entry.created)
      .bind(entry.task)
      .bind(entry.name)
      .bind(entry.summary)
      .bind(entry.result);
  statement.bind(picture.type).bind_blob(picture.bytes).step();
  entry.id = sqlite3_last_insert_rowid(database_);
  transaction.commit();
  if (dropped > 0) give_space_back();
  // Into the file itself, at once: the log's room is then free for deletions, on a disk that is
  // full by then, too.
  else if (!execute("PRAGMA wal_checkpoint(PASSIVE)")) {
    reserve_.release();
    erase(owner, entry.id);
    give_space_back();
    reserve_.take();
    check(SQLITE_FULL, "");
  }
  return {std::move(entry), dropped};
}

std::optional<History::Change> History::update(const std::string& owner, std::int64_t id,
                                               const std::string& summary,
                                               const std::string& result) {
  const std::lock_guard lock(mutex_);
  Transaction transaction(*this);
  auto entry = read(owner, id);
  const auto old_bytes = Statement(*this, "SELECT bytes FROM entries WHERE owner = ? AND id = ?")
                             .bind(owner)
                             .bind(id)
                             .only();
  if (!entry || !old_bytes) return std::nullopt;
  const std::int64_t old_texts = texts_size(*entry);
  entry->summary = summary;
  entry->result = result;
  const std::int64_t dropped = make_room(owner, *old_bytes - old_texts + texts_size(*entry), id);
  Statement(*this, "UPDATE entries SET summary = ?, result = ? WHERE id = ?")
      .bind(summary)
      .bind(result)
      .bind(id)
      .step();
  transaction.commit();
  if (dropped > 0)
    give_space_back();
  else
    execute("PRAGMA wal_checkpoint(PASSIVE)");
  return Change{std::move(*entry), dropped};
}

History::Page History::list(const std::string& owner, const std::string& text, std::int64_t before,
                            int limit) {
  const std::lock_guard lock(mutex_);
  Statement statement(
      *this,
      "SELECT " + entry_columns() +
          " FROM entries WHERE owner = ?1 AND id > 0 AND (?2 = 0 OR id < ?2) AND "
          "(?3 = '' OR instr(lower(name || ' ' || summary), lower(?3)) > 0) ORDER BY id DESC");
  statement.bind(owner).bind(before).bind(text);
  Page page;
  std::size_t size = 0;
  while (statement.step()) {
    if (page.entries.size() == static_cast<std::size_t>(std::max(limit, 1)) || size > kMaxPage) {
      page.next = page.entries.back().id;
      break;
    }
    page.entries.push_back(statement.entry());
    size += static_cast<std::size_t>(texts_size(page.entries.back()));
  }
  return page;
}

std::optional<HistoryEntry> History::find(const std::string& owner, std::int64_t id) {
  const std::lock_guard lock(mutex_);
  return read(owner, id);
}

std::optional<HistoryEntry> History::read(const std::string& owner, std::int64_t id) {
  Statement statement(*this,
                      "SELECT " + entry_columns() + " FROM entries WHERE owner = ? AND id = ?");
  if (!statement.bind(owner).bind(id).step()) return std::nullopt;
  return statement.entry();
}

std::optional<HistoryPicture> History::picture(const std::string& owner, std::int64_t id) {
  const std::lock_guard lock(mutex_);
  Statement statement(
      *this,
      "SELECT picture_type, CASE WHEN length(picture) <= ?1 THEN picture END FROM entries "
      "WHERE owner = ?2 AND id = ?3");
  if (!statement.bind(static_cast<std::int64_t>(kMaxPicture)).bind(owner).bind(id).step())
    return std::nullopt;
  return HistoryPicture{statement.bytes(0), statement.bytes(1)};
}

HistoryUsage History::usage(const std::string& owner) {
  const std::lock_guard lock(mutex_);
  Statement statement(*this,
                      "SELECT count(*), coalesce(sum(bytes), 0) FROM entries WHERE owner = ?");
  statement.bind(owner).step();
  return {statement.whole(0), statement.whole(1)};
}

// One entry, or with id 0 all of the owner's. Returns how many went.
std::int64_t History::erase(const std::string& owner, std::int64_t id) {
  Statement(*this, "DELETE FROM entries WHERE owner = ?1 AND (?2 = 0 OR id = ?2)")
      .bind(owner)
      .bind(id)
      .step();
  return sqlite3_changes(database_);
}

bool History::remove(const std::string& owner, std::int64_t id) {
  const std::lock_guard lock(mutex_);
  bool removed = false;
  try {
    removed = erase(owner, id) > 0;
  } catch (const Problem& problem) {
    if (&problem.kind() != &kStorageFull || !reserve_.release()) throw;
    removed = erase(owner, id) > 0;
  }
  give_space_back();
  reserve_.take();
  return removed;
}

void History::clear(const std::string& owner) {
  const std::lock_guard lock(mutex_);
  try {
    erase(owner, 0);
  } catch (const Problem& problem) {
    if (&problem.kind() != &kStorageFull) throw;
    // All at once needs more than there is: one after the other, each in the space that the one
    // before gave back.
    reserve_.release();
    while (true) {
      const auto id = Statement(*this, "SELECT id FROM entries WHERE owner = ? ORDER BY id LIMIT 1")
                          .bind(owner)
                          .only();
      if (!id) break;
      Statement(*this, "DELETE FROM entries WHERE id = ?").bind(*id).step();
      give_space_back();
    }
  }
  give_space_back();
  reserve_.take();
}

// Moves pages from the end of the file into the free ones and cuts it off, and empties the log,
// which still holds what was deleted. In small steps where the disk is full. What fails here is
// tried again after the next deletion.
void History::give_space_back() {
  const auto free_pages = [this] {
    return Statement(*this, "PRAGMA freelist_count").only().value_or(0);
  };
  // With the reserve where there is no other room.
  const auto run = [this](const std::string& sql) {
    return execute(sql) || (reserve_.release() && execute(sql));
  };
  constexpr const char* kEmptyLog = "PRAGMA wal_checkpoint(TRUNCATE)";
  try {
    run(kEmptyLog);
    for (const int pages : {kVacuumPages, kFewPages}) {
      for (std::int64_t left = free_pages(), before = left + 1; left > 0 && left < before;
           left = free_pages()) {
        before = left;
        if (!run("PRAGMA incremental_vacuum(" + std::to_string(pages) + ")")) break;
        run(kEmptyLog);
      }
    }
  } catch (const Problem&) {  // the file is in use by another program
  }
}

}  // namespace blip::server
