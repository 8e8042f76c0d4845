// What a job has done, so that it goes on where it was, whatever ended it.
//
// The journal is a file beside the job's output: one line of JSON that says what the job is, then
// records of 32 bytes with a checksum each, appended and never changed. A record that says "done"
// names the end of the picture's row in the output, and is written before the row. Where the last
// rows are missing or torn, because the process, the disk or the power ended between the two, the
// records and what there is of the rows are cut off, and those pictures are done again; so every
// picture has one row.
//
// Several workers share a journal: each claims pictures before it works on them. The claims of a
// worker that has ended are worth nothing (WorkerLock tells).
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "jobs/append_file.h"
#include "jobs/key.h"
#include "jobs/worker_lock.h"

namespace blip::jobs {

using Json = nlohmann::ordered_json;

enum class State { kFree, kDone, kFailed, kElsewhere };

// The bytes that one picture adds: to the output or, where it failed, to the file of errors.
struct Row {
  Key key;
  bool failed = false;
  std::string text;
};

struct JournalOptions {
  std::string journal;
  std::string output;    // "" = none: results go elsewhere
  std::string preamble;  // what the output begins with
  // Where failures go: the first of these that is no other job's; empty = nowhere. Which it is
  // stands in the journal.
  std::vector<std::string> errors;
  bool first_is_taken = false;  // another job may write to the first of them
  // The job's options by name: those of a job that goes on must be the same.
  Json identity = Json::object();
  std::function<bool()> stop;                      // polled while waiting for another worker
  std::function<void(const std::string&)> notice;  // what was mended
};

class Journal {
 public:
  // Opens the journal or begins one. Throws Error(kUsage) where the options differ from those it
  // was begun with, or the output is not what the job wrote; Error(kIo).
  explicit Journal(JournalOptions options);

  // As far as this worker knows. The next three may be called from any thread.
  State state(Key key) const;
  std::uint64_t done() const;
  std::uint64_t failed() const;

  // Claims those that are free. What another worker holds is kElsewhere.
  std::vector<State> claim(std::span<const Key> keys);
  // Files beside the pictures are about to become ones with these bytes (their digests): after an
  // end between that and commit(), was_intended() tells whether they did, after a loss of power
  // too.
  struct Intent {
    Key key;
    std::uint64_t content;
  };
  void intend(const std::vector<Intent>& intents);
  bool was_intended(Key key, std::uint64_t content) const;
  // Takes up what other workers wrote.
  void refresh();
  // Appends the rows; on failure none. A row of a picture that has one is dropped.
  void commit(std::vector<Row> rows);
  // Failed pictures become free, and the file of errors empty.
  void forget_failures();
  // The rows of the output by their keys: 32 bytes of memory for each.
  class Rows {
   public:
    explicit Rows(Journal& journal);
    // The row's bytes; nullopt where there is none. Throws Error(kIo).
    std::optional<std::string> find(Key key) const;
    bool contains(Key key) const;

   private:
    struct Place {
      Key key;
      std::uint64_t begin, end;
    };
    const Place* place_of(Key key) const;

    const AppendFile& output_;
    std::vector<Place> places_;  // by their keys
  };

  // What was committed survives the loss of power.
  void sync();
  // Removes the file, for a job that is complete and has no output.
  void remove();
  // Removes it and what else was made when it was begun, if nothing was done or failed and no other
  // worker is there: a command that was refused leaves nothing.
  void remove_unused();

 private:
  struct Record;
  // A row of the output: offsets of its record in the journal and of itself.
  struct Tail {
    std::uint64_t record, begin, end;
    std::uint32_t content;
  };
  void open();
  bool open_once();
  void read_header();
  void write_header();
  void choose_errors();
  std::vector<Record> read_block(std::uint64_t at, std::uint64_t records) const;
  void check_identity(const Json& begun) const;
  void load();
  void verify_tail();
  void read_records();
  void mend_output(bool torn);
  void mend_errors();
  void apply(const Record& record, std::uint64_t offset);
  void append(std::span<const Record> records, AppendFile* rows = nullptr, std::uint64_t at = 0,
              std::string_view text = {});
  void commit_done(const std::vector<const Row*>& rows);
  void commit_failed(const std::vector<const Row*>& rows);
  State known_state(Key key) const;

  JournalOptions options_;
  std::string errors_path_;  // "" = none
  std::unique_ptr<AppendFile> file_, output_, errors_;
  std::vector<std::string> made_;  // of the latter two, those that were not there
  std::unique_ptr<WorkerLock> lock_;
  std::uint64_t begin_ = 0, read_to_ = 0;  // of the records; what this worker has read
  std::uint64_t output_end_ = 0, errors_end_ = 0;
  KeySet done_, failed_;
  std::unordered_map<Key, int, KeyHash> claims_;  // by the slots of workers
  std::unordered_map<Key, std::uint64_t, KeyHash> intents_;
  std::optional<std::deque<Tail>> tail_;  // the last rows, while the journal is opened
  std::chrono::steady_clock::time_point synced_;
  mutable std::mutex memory_;  // of what is known
};

}  // namespace blip::jobs
