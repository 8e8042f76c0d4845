#include "jobs/journal.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <utility>

#include "base/file.h"
#include "base/json.h"
#include "blip/error.h"
#include "jobs/rows.h"

namespace blip::jobs {
namespace {

constexpr const char* kMagic = "blip_job";
constexpr int kVersion = 1;
constexpr std::size_t kLongestHeader = std::size_t{1} << 20;
// Rows that are compared with their digests when a job goes on. Only what was written since the
// last sync can be damaged, which is less.
constexpr std::size_t kVerified = 4096;
constexpr auto kSyncInterval = std::chrono::seconds(2);

enum class Kind : std::uint8_t {
  kBegin = 1,  // a worker took a slot: what was claimed under it is free
  kClaim,      // value: the slot
  kIntend,     // value: the digest of what a file becomes
  kDone,       // value: the end of the row in the output
  kFailed,     // value: the end of the row in the file of errors
  kForget,     // failures are forgotten
};

constexpr std::uint64_t kValueBits = 56, kValueMask = (std::uint64_t{1} << kValueBits) - 1;

std::string file_name(const std::string& path) {
  return std::filesystem::path(path).filename().string();
}

[[noreturn]] void refuse(const std::string& message) { throw Error(ErrorCode::kUsage, message); }

}  // namespace

// As it lies in the file; a job goes on on machines of the same byte order.
struct Journal::Record {
  Key key;
  std::uint64_t kind_and_value = 0;
  std::uint32_t content = 0;  // of the row: half its digest
  std::uint32_t check = 0;

  static Record make(Kind kind, Key key, std::uint64_t value, std::string_view row = {}) {
    Record record{key, static_cast<std::uint64_t>(kind) << kValueBits | (value & kValueMask),
                  static_cast<std::uint32_t>(digest(row)), 0};
    record.check = record.sum();
    return record;
  }
  Kind kind() const { return static_cast<Kind>(kind_and_value >> kValueBits); }
  std::uint64_t value() const { return kind_and_value & kValueMask; }
  std::uint32_t sum() const {
    constexpr std::size_t kChecked = offsetof(Record, check);
    return static_cast<std::uint32_t>(digest({reinterpret_cast<const char*>(this), kChecked}));
  }
  // A record of zeros, which a loss of power leaves, is none.
  bool good() const { return kind_and_value != 0 && check == sum(); }
};

Journal::Journal(JournalOptions options) : options_(std::move(options)) {
  static_assert(sizeof(Record) == 32);
  // As it is read back: bytes that are not UTF-8 become U+FFFD.
  options_.identity = Json::parse(json_line(options_.identity));
  open();
}

void Journal::open() {
  // Another worker may complete the job and remove the journal between opening and locking it.
  while (!open_once()) {
  }
}

bool Journal::open_once() {
  lock_.reset();
  file_ = std::make_unique<AppendFile>(options_.journal);
  lock_ = std::make_unique<WorkerLock>(file_->descriptor(), options_.journal, options_.stop);
  const WorkerLock::Guard guard(*lock_);
  if (!file_->is_named()) return false;
  const bool alone = lock_->is_alone();
  lock_->take_slot();
  read_header();
  const auto open = [this](const std::string& path, std::unique_ptr<AppendFile>& file) {
    if (path.empty() || file) return;
    if (!is_there(path)) made_.push_back(path);
    file = std::make_unique<AppendFile>(path);
  };
  open(options_.output, output_);
  open(errors_path_, errors_);
  if (alone) tail_.emplace();
  load();
  if (alone) verify_tail();
  tail_.reset();
  append(std::vector{Record::make(Kind::kBegin, {}, static_cast<std::uint64_t>(lock_->slot()))});
  synced_ = std::chrono::steady_clock::now();
  return true;
}

// Reads the first line or, where there is none yet, writes it.
void Journal::read_header() {
  const std::string start = file_->read(0, kLongestHeader);
  const std::size_t end = start.find('\n');
  // A header torn by the end of a worker has no line end and nothing behind it.
  const bool torn = end == std::string::npos && start.find('\0') == std::string::npos &&
                    start.size() < kLongestHeader && (start.empty() || start.front() == '{');
  if (!torn) {
    Json header;
    try {
      header = read_json<Json>(std::string_view(start).substr(0, end));
    } catch (const JsonError&) {
    }
    if (!header.is_object() || header.value(kMagic, Json()) != kVersion)
      refuse(options_.journal + " is not the journal of a job of this program; remove it or give " +
             "another output");
    begin_ = end + 1;
    for (const std::string& errors : options_.errors)
      if (errors_path_.empty() || Json(file_name(errors)) == header.value("errors", Json()))
        errors_path_ = errors;
    return check_identity(header.value("options", Json::object()));
  }
  write_header();
}

void Journal::write_header() {
  const bool begun = file_->size() > 0;
  struct stat status {};
  const bool exists = !options_.output.empty() && ::stat(options_.output.c_str(), &status) == 0 &&
                      status.st_size > 0;
  if (exists) {
    if (!begun) ::unlink(options_.journal.c_str());
    refuse(options_.output + " exists, and " + options_.journal + ", which would say how far its " +
           "job was, does not; remove the former or give another name");
  }
  try {
    choose_errors();
  } catch (const Error&) {
    if (!begun) ::unlink(options_.journal.c_str());
    throw;
  }
  Json header{{kMagic, kVersion}, {"options", options_.identity}};
  if (!errors_path_.empty()) header["errors"] = file_name(errors_path_);
  const std::string line = json_line(header);
  file_->cut(0);
  file_->write_at(0, line);
  file_->sync();
  begin_ = line.size();
}

// Failures that another job wrote, perhaps one whose journal is gone, are kept.
void Journal::choose_errors() {
  if (options_.errors.empty()) return;
  for (std::size_t i = 0; i < options_.errors.size() && errors_path_.empty(); ++i) {
    struct stat status {};
    const bool written = ::stat(options_.errors[i].c_str(), &status) == 0 && status.st_size > 0;
    if (!written && !(i == 0 && options_.first_is_taken)) errors_path_ = options_.errors[i];
  }
  const std::string& first = options_.errors.front();
  if (errors_path_.empty())
    refuse(first +
           " exists, and no journal of this job does, which would say how far it was; "
           "remove the former or give another name");
  if (errors_path_ != first && options_.notice)
    options_.notice("failures go to " + errors_path_ + ", as " + first + " is another job's");
}

void Journal::check_identity(const Json& begun) const {
  const auto find = [](const Json& options, const std::string& name) {
    return options.contains(name) ? options[name] : Json();
  };
  for (const Json* options : {&options_.identity, &begun}) {
    for (const auto& [name, value] : options->items()) {
      const Json before = find(begun, name), now = find(options_.identity, name);
      if (before != now)
        refuse("the job of " + options_.journal + " was begun with " + name + " " + shown(before) +
               ", not " + shown(now) +
               "; give what it was begun with, or another output for another job");
    }
  }
}

void Journal::load() {
  done_.clear();
  failed_.clear();
  claims_.clear();
  intents_.clear();
  if (tail_) tail_->clear();
  read_to_ = begin_;
  output_end_ = options_.preamble.size();
  errors_end_ = 0;
  read_records();
}

void Journal::verify_tail() {
  if (tail_->empty() || !output_) return;
  const std::uint64_t begin = tail_->front().begin;
  const std::string rows = output_->read(begin, tail_->back().end - begin);
  for (const Tail& row : *tail_) {
    const std::string_view bytes =
        std::string_view(rows).substr(row.begin - begin, row.end - row.begin);
    if (static_cast<std::uint32_t>(digest(bytes)) == row.content) continue;
    // What a loss of power leaves of a row that had not reached the disk is zeros.
    if (bytes.find('\0') == std::string_view::npos)
      refuse(options_.output + " was changed since its job wrote it, at byte " +
             std::to_string(row.begin) + "; to keep both, move it away with " + options_.journal +
             ", or give another output");
    file_->cut(row.record);
    return load();
  }
}

// Takes up what other workers appended, and mends what one that ended left unfinished. With the
// lock.
void Journal::read_records() {
  if (file_->size() < read_to_)
    throw Error(ErrorCode::kIo, options_.journal + " was cut by something else while its job ran");
  std::uint64_t records = (file_->size() - read_to_) / sizeof(Record);
  const std::uint64_t output_size = output_ ? output_->size() : 0;
  const std::uint64_t errors_size = errors_ ? errors_->size() : 0;
  const auto record_at = [&](std::uint64_t i) {
    Record record;
    const std::string bytes = file_->read(read_to_ + i * sizeof(Record), sizeof(Record));
    if (bytes.size() == sizeof(Record)) std::memcpy(&record, bytes.data(), sizeof(Record));
    return record;
  };
  // Failures stand last in what is written at once.
  for (; records > 0; --records) {
    const Record last = record_at(records - 1);
    const bool unfinished = last.kind() == Kind::kFailed && last.value() > errors_size;
    if (last.good() && !unfinished) break;
  }
  bool torn = false, damaged = false;  // the row of a record; a record with good ones behind it
  while (records > 0 && !torn && !damaged) {
    const std::vector<Record> block = read_block(read_to_, records);
    const std::lock_guard known(memory_);
    for (const Record& record : block) {
      damaged = !record.good();
      torn = !damaged && output_ && record.kind() == Kind::kDone && record.value() > output_size;
      if (torn || damaged) break;
      apply(record, read_to_);
      read_to_ += sizeof(Record);
    }
    records -= block.size();
  }
  if (damaged && options_.notice)
    options_.notice(options_.journal + " is damaged at byte " + std::to_string(read_to_) +
                    "; what it says from there on is done again");
  if (file_->size() > read_to_) file_->cut(read_to_);
  if (output_) mend_output(torn);
  if (errors_) mend_errors();
}

// So many of the records at an offset, or as many as are read at once.
std::vector<Journal::Record> Journal::read_block(std::uint64_t at, std::uint64_t records) const {
  constexpr std::uint64_t kAtOnce = 1 << 15;
  std::vector<Record> block(std::min(records, kAtOnce));
  const std::string bytes = file_->read(at, block.size() * sizeof(Record));
  std::memcpy(block.data(), bytes.data(), bytes.size());
  return block;
}

void Journal::mend_output(bool torn) {
  const std::uint64_t size = output_->size();
  if (size < options_.preamble.size()) {
    output_->write_at(0, options_.preamble);
  } else if (size > output_end_) {
    // The beginning of a row whose record is cut off goes. Anything else is not ours to drop.
    const std::string rest = torn ? "" : output_->read(output_end_, size - output_end_);
    if (!torn) {
      AppendFile kept(options_.output + ".cut");
      kept.write_at(kept.size(), rest);
      kept.sync();
      if (options_.notice)
        options_.notice("the end of " + options_.output +
                        " is not in its journal; it was moved to " + kept.path());
    }
    output_->cut(output_end_);
  }
}

// Cuts off what no record speaks of. A file that somebody shortened or removed goes on at its end.
void Journal::mend_errors() {
  if (errors_->size() > errors_end_) errors_->cut(errors_end_);
}

// With the lock of memory_.
void Journal::apply(const Record& record, std::uint64_t offset) {
  switch (record.kind()) {
    case Kind::kBegin:
      std::erase_if(claims_, [&](const auto& claim) {
        return claim.second == static_cast<int>(record.value());
      });
      break;
    case Kind::kClaim:
      claims_[record.key] = static_cast<int>(record.value());
      break;
    case Kind::kIntend:
      intents_[record.key] = record.value();
      break;
    case Kind::kDone:
      done_.insert(record.key);
      claims_.erase(record.key);
      intents_.erase(record.key);
      if (tail_) {
        tail_->push_back({offset, output_end_, record.value(), record.content});
        if (tail_->size() > kVerified) tail_->pop_front();
      }
      if (output_) output_end_ = record.value();
      break;
    case Kind::kFailed:
      failed_.insert(record.key);
      claims_.erase(record.key);
      errors_end_ = record.value();
      break;
    case Kind::kForget:
      failed_.clear();
      errors_end_ = 0;
      break;
  }
}

// With the lock, after read_records(). The records, then the rows of which they speak; on failure
// neither.
void Journal::append(std::span<const Record> records, AppendFile* rows, std::uint64_t at,
                     std::string_view text) {
  if (records.empty()) return;
  file_->write_at(read_to_, {reinterpret_cast<const char*>(records.data()), records.size_bytes()});
  try {
    if (rows) rows->write_at(at, text);
  } catch (const Error&) {
    file_->cut(read_to_);
    throw;
  }
  const std::lock_guard known(memory_);
  for (const Record& record : records) {
    apply(record, read_to_);
    read_to_ += sizeof(Record);
  }
}

State Journal::known_state(Key key) const {
  return done_.contains(key) ? State::kDone : failed_.contains(key) ? State::kFailed : State::kFree;
}

State Journal::state(Key key) const {
  const std::lock_guard known(memory_);
  return known_state(key);
}

std::uint64_t Journal::done() const {
  const std::lock_guard known(memory_);
  return done_.size();
}

std::uint64_t Journal::failed() const {
  const std::lock_guard known(memory_);
  return failed_.size();
}

std::vector<State> Journal::claim(std::span<const Key> keys) {
  const WorkerLock::Guard guard(*lock_);
  read_records();
  std::vector<State> states;
  std::vector<Record> records;
  for (const Key& key : keys) {
    State state = known_state(key);  // this thread alone changes it, under the lock
    const auto claimed = claims_.find(key);
    if (state == State::kFree && claimed != claims_.end() && lock_->is_held(claimed->second))
      state = State::kElsewhere;
    if (state == State::kFree)
      records.push_back(Record::make(Kind::kClaim, key, static_cast<std::uint64_t>(lock_->slot())));
    states.push_back(state);
  }
  append(records);
  return states;
}

void Journal::intend(const std::vector<Intent>& intents) {
  if (intents.empty()) return;
  std::vector<Record> records;
  for (const Intent& intent : intents)
    records.push_back(Record::make(Kind::kIntend, intent.key, intent.content));
  {
    const WorkerLock::Guard guard(*lock_);
    read_records();
    append(records);
  }
  file_->sync();
}

bool Journal::was_intended(Key key, std::uint64_t content) const {
  const std::lock_guard known(memory_);
  const auto found = intents_.find(key);
  return found != intents_.end() && found->second == (content & kValueMask);
}

void Journal::refresh() {
  const WorkerLock::Guard guard(*lock_);
  read_records();
}

void Journal::commit(std::vector<Row> rows) {
  {
    const WorkerLock::Guard guard(*lock_);
    read_records();
    std::vector<const Row*> done, failed;
    for (const Row& row : rows)
      if (known_state(row.key) == State::kFree) (row.failed ? failed : done).push_back(&row);
    commit_done(done);
    commit_failed(failed);
  }
  if (std::chrono::steady_clock::now() - synced_ >= kSyncInterval) sync();
}

void Journal::commit_done(const std::vector<const Row*>& rows) {
  std::vector<Record> records;
  std::string text;
  for (const Row* row : rows) {
    if (output_) text += row->text;
    records.push_back(Record::make(Kind::kDone, row->key, output_end_ + text.size(), row->text));
  }
  append(records, output_.get(), output_end_, text);
}

void Journal::commit_failed(const std::vector<const Row*>& rows) {
  if (rows.empty()) return;
  std::vector<Record> records;
  std::string text;
  const std::uint64_t end = errors_ ? errors_->size() : 0;
  for (const Row* row : rows) {
    if (errors_) text += row->text;
    records.push_back(Record::make(Kind::kFailed, row->key, end + text.size(), row->text));
  }
  append(records, errors_.get(), end, text);
}

void Journal::forget_failures() {
  const WorkerLock::Guard guard(*lock_);
  read_records();
  if (failed_.size() == 0) return;
  append(std::vector{Record::make(Kind::kForget, {}, 0)});
  if (errors_) errors_->cut(0);
}

Journal::Rows::Rows(Journal& journal) : output_(*journal.output_) {
  const WorkerLock::Guard guard(*journal.lock_);
  journal.read_records();
  std::uint64_t begin = journal.options_.preamble.size();
  for (std::uint64_t at = journal.begin_; at < journal.read_to_;) {
    const std::vector<Record> block =
        journal.read_block(at, (journal.read_to_ - at) / sizeof(Record));
    at += block.size() * sizeof(Record);
    for (const Record& record : block) {
      if (record.kind() != Kind::kDone) continue;
      places_.push_back({record.key, begin, record.value()});
      begin = record.value();
    }
  }
  std::sort(places_.begin(), places_.end(),
            [](const Place& a, const Place& b) { return a.key < b.key; });
}

const Journal::Rows::Place* Journal::Rows::place_of(Key key) const {
  const auto found =
      std::lower_bound(places_.begin(), places_.end(), key,
                       [](const Place& place, const Key& wanted) { return place.key < wanted; });
  return found == places_.end() || found->key != key ? nullptr : &*found;
}

bool Journal::Rows::contains(Key key) const { return place_of(key) != nullptr; }

std::optional<std::string> Journal::Rows::find(Key key) const {
  const Place* place = place_of(key);
  if (place == nullptr) return std::nullopt;
  return output_.read(place->begin, place->end - place->begin);
}

void Journal::sync() {
  // The rows before the records that speak of them.
  if (output_) output_->sync();
  if (errors_) errors_->sync();
  file_->sync();
  synced_ = std::chrono::steady_clock::now();
}

void Journal::remove() {
  const WorkerLock::Guard guard(*lock_);
  if (file_->is_named()) ::unlink(options_.journal.c_str());
}

void Journal::remove_unused() {
  const WorkerLock::Guard guard(*lock_);
  read_records();
  if (done_.size() > 0 || failed_.size() > 0 || !lock_->is_alone() || !file_->is_named()) return;
  for (const std::string& path : made_) ::unlink(path.c_str());
  ::unlink(options_.journal.c_str());
}

}  // namespace blip::jobs
