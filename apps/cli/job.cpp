#include "cli/job.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <limits>

#include "base/file.h"
#include "base/json.h"
#include "blip/blip.h"
#include "cli/archive_reader.h"
#include "cli/exit.h"
#include "cli/files.h"
#include "cli/interrupt.h"
#include "cli/list_reader.h"
#include "cli/pair_reader.h"
#include "cli/parquet_reader.h"
#include "cli/picture_description.h"
#include "cli/shard_writer.h"

namespace blip::cli {
namespace {

namespace fs = std::filesystem;

// Batches that may wait for the writer.
constexpr std::size_t kHandedOver = 4;

// Until a job without --output is complete: in the folder of its pictures or of their list, hidden,
// so that it is no input.
std::string implied_journal(const std::vector<std::string>& arguments, const std::string& sidecar,
                            const Shard& shard) {
  const std::string& first = arguments.front();
  std::error_code ignored;
  fs::path folder = first;
  if (!fs::is_directory(folder, ignored)) {
    const bool list = first.starts_with('@') && !fs::exists(folder, ignored);
    folder = fs::path(list ? first.substr(1) : first).parent_path();
    // The part of a pattern that is no pattern.
    while (folder.string().find_first_of("*?[") != std::string::npos &&
           !fs::exists(folder, ignored))
      folder = folder.parent_path();
  }
  std::string all;
  for (const std::string& argument : arguments) all += argument + '\0';
  // Other pictures are another job.
  if (shard.count > 1) all += std::to_string(shard.index) + '/' + std::to_string(shard.count);
  char number[17];
  std::snprintf(number, sizeof number, "%016llx",
                static_cast<unsigned long long>(jobs::digest(all)));
  return (folder / (std::string(kOwnFiles) + "caption" + sidecar + "." + number + ".job")).string();
}

constexpr const char* kErrors = ".errors.jsonl";
constexpr const char* kOutput = "--output";  // its role among the files made of rows

// captions.errors.jsonl of captions.jsonl; where that is the file of captions.csv already,
// captions.jsonl.errors.jsonl.
std::vector<std::string> errors_paths(const std::string& output) {
  return {fs::path(output).replace_extension(kErrors).string(), output + kErrors};
}

// Whether the first of errors_paths() may be that of a job whose output has another ending.
bool errors_are_taken(const std::string& output) {
  const auto taken = [&](const char* ending) {
    const std::string other = fs::path(output).replace_extension(ending).string();
    return other != output && is_there(journal_of(other));
  };
  return std::any_of(jobs::kEndings.begin(), jobs::kEndings.end(), taken);
}

// A line of the file of errors.
std::string error_row(const jobs::Json& object, const std::string& why) {
  return jobs::json_line(joined(object, {{"error", why}}));
}

std::string dotted(const std::string& extension) {
  return extension.empty() || extension.front() == '.' ? extension : "." + extension;
}

// Whether it names a tar: lists and patterns may, of which nothing is known yet.
bool may_be_tar(const std::string& argument) {
  std::error_code ignored;
  if (!fs::exists(argument, ignored))
    return argument.starts_with('@') || argument.find_first_of("*?[") != std::string::npos;
  return is_archive(argument) && !is_zip(argument);
}

// Whether its copy would lie in its own place.
bool is_own_copy(const std::string& archive, const std::string& copy) {
  std::error_code ignored;
  return fs::equivalent(archive, copy, ignored);
}

// Captions of shards are taken from the rows.
void check_shards(const JobFlags& flags, const std::vector<std::string>& arguments) {
  if (flags.output.empty() || jobs::format_of(flags.output, *flags.table) != jobs::Format::kJsonl)
    throw Exit(kExitUsage, "--write-shards needs --output FILE.jsonl: captions are taken from it");
  std::error_code ignored;
  if (!fs::is_directory(flags.shards_to, ignored))
    throw Exit(kExitSomeFailed, "--write-shards: there is no folder " + flags.shards_to);
  if (std::none_of(arguments.begin(), arguments.end(), may_be_tar))
    throw Exit(kExitUsage, "--write-shards copies tar archives, and none is among the inputs");
  for (const std::string& argument : arguments)
    if (is_archive(argument) && is_own_copy(argument, shard_path({flags.shards_to}, argument)))
      throw Exit(kExitUsage, "--write-shards: " + argument + " lies in " + flags.shards_to +
                                 " itself; name another folder for its copy");
}

Shard read_shard(const std::string& text) {
  Shard shard;
  if (text.empty()) return shard;
  const char *begin = text.data(), *end = begin + text.size();
  const auto [slash, bad] = std::from_chars(begin, end, shard.index);
  if (bad == std::errc() && slash != end && *slash == '/') {
    const auto [rest, wrong] = std::from_chars(slash + 1, end, shard.count);
    if (wrong == std::errc() && rest == end && shard.index >= 1 && shard.index <= shard.count)
      return shard;
  }
  throw Exit(kExitUsage,
             "--shard: \"" + text + "\" is no I/N such as 1/4: the first of four parts");
}

void check_metadata(const JobFlags& flags) {
  if (!flags.metadata) return;
  if (!can_describe())
    throw Exit(kExitUsage, "--write-metadata: this build lacks exiv2 (-DBLIP_METADATA=ON)");
  if (jobs::adds(jobs::parse_existing(flags.existing)))
    throw Exit(kExitUsage, "--existing " + flags.existing + " adds to sidecars, not to metadata");
}

}  // namespace

void check_rows_file(const std::string& path, const jobs::Table& table) {
  if (jobs::format_of(path, table) == jobs::Format::kParquet)
    if (const std::string missing = missing_for_parquet(); !missing.empty())
      throw Exit(kExitModel, missing);
  check_destination(path);
}

std::string journal_of(const std::string& output) { return output + ".job"; }

void add_job_options(CLI::App& command, JobFlags& flags) {
  const std::string group = "Job";
  const auto add = [&](CLI::Option* option) { flags.all.push_back(option->group(group)); };
  command
      .add_option("-o,--output", flags.output,
                  std::string("Write ") + flags.table->noun +
                      " to this file and go on where it ends when started again: " +
                      jobs::endings(*flags.table))
      ->type_name("FILE")
      ->check(not_empty())
      ->group(group);
  add(command
          .add_option("--shard", flags.shard,
                      "Do the I-th of N parts of the pictures, which is told by their names")
          ->type_name("I/N")
          ->check(not_empty()));
  add(command.add_flag("--retry-errors", flags.retry_errors,
                       "Do the pictures again that failed before"));
}

void add_sidecar_options(CLI::App& command, JobFlags& flags) {
  const std::string group = "Job";
  command
      .add_option("--sidecar", flags.sidecar,
                  "Write each caption to a file beside its picture, of this ending: .txt, .caption")
      ->type_name("ENDING")
      ->check(not_empty())
      ->group(group);
  flags.existing_option =
      add_choice(command, "--existing", flags.existing, {"skip", "overwrite", "append", "prepend"},
                 "What becomes of sidecars and descriptions that exist")
          ->capture_default_str()
          ->group(group);
  flags.shards_option =
      command
          .add_option("--write-shards", flags.shards_to,
                      "When all is done, copy the tar archives among the inputs to this folder "
                      "with captions in them, in members of the ending of --sidecar (else .txt)")
          ->type_name("FOLDER")
          ->check(not_empty())
          ->group(group);
  command
      .add_flag("--write-metadata", flags.metadata,
                "Write each caption into its picture's own file, as its description in XMP and "
                "EXIF")
      ->group(group);
  flags.all.push_back(flags.existing_option);
  flags.all.push_back(flags.shards_option);
}

void check_job(const JobFlags& flags, const OutputOptions& output,
               const std::vector<std::string>& arguments) {
  const std::string given =
      flags.existing_option ? "--output, --sidecar or --write-metadata" : "--output";
  if (!flags.is_job()) return refuse_given(flags.all, "without " + given);
  if (output.json) throw Exit(kExitUsage, "--json has no effect with " + given);
  if (std::find(arguments.begin(), arguments.end(), "-") != arguments.end())
    throw Exit(kExitUsage,
               "a picture on standard input has no name to remember: it cannot be part of a job");
  read_shard(flags.shard);
  if (flags.existing_option && !flags.writes_beside() && flags.shards_to.empty())
    refuse_given({flags.existing_option}, "without --sidecar or --write-metadata");
  check_metadata(flags);
  if (flags.output.empty() && flags.retry_errors)
    throw Exit(kExitUsage,
               "--retry-errors has no effect without --output: pictures without a "
               "sidecar are done again anyway");
  const std::string sidecar = dotted(flags.sidecar);
  if (sidecar.find('/') != std::string::npos || sidecar == ".")
    throw Exit(kExitUsage, "--sidecar: \"" + flags.sidecar + "\" is no ending such as .txt");
  if (!sidecar.empty() && has_image_ending(sidecar))
    throw Exit(kExitUsage, "--sidecar: " + sidecar + " is the ending of pictures");
  if (jobs::adds(jobs::parse_existing(flags.existing)) && sidecar == ".json")
    throw Exit(kExitUsage, "--existing " + flags.existing + " adds to texts, not to .json files");
  if (!flags.shards_to.empty()) check_shards(flags, arguments);
  if (flags.output.empty()) return;
  check_rows_file(flags.output, *flags.table);
}

Job::Job(const JobFlags& flags, jobs::Json identity, const std::vector<std::string>& arguments,
         std::size_t group, Console& console)
    : table_(*flags.table),
      existing_(jobs::parse_existing(flags.existing)),
      adds_(adds(existing_)),
      metadata_(flags.metadata),
      shard_(read_shard(flags.shard)),
      output_(flags.output),
      sidecar_(dotted(flags.sidecar)),
      shards_to_(flags.shards_to),
      group_(group),
      console_(console),
      things_(names_pair_file(arguments) ? "rows" : "pictures") {
  jobs::JournalOptions options;
  options.stop = [] { return interrupted() != 0; };
  options.notice = [&console](const std::string& message) { console.note(message); };
  if (!sidecar_.empty()) {
    identity["--sidecar"] = sidecar_;
    identity["--existing"] = flags.existing;
  }
  if (metadata_) {
    identity["--write-metadata"] = true;
    identity["--existing"] = flags.existing;
  }
  options.identity = std::move(identity);
  if (output_.empty()) {
    journal_path_ = implied_journal(arguments, sidecar_ + (metadata_ ? ".metadata" : ""), shard_);
  } else {
    format_ = jobs::format_of(output_, table_);
    journal_path_ = journal_of(output_);
    options.output = jobs::rows_path(*format_, output_);
    options.preamble = jobs::preamble(*format_, table_);
    options.errors = errors_paths(output_);
    options.first_is_taken = errors_are_taken(output_);
  }
  options.journal = journal_path_;
  journal_ = std::make_unique<jobs::Journal>(std::move(options));
  try {
    if (has_end()) check_derived(kOutput, output_);
  } catch (...) {
    journal_->remove_unused();
    throw;
  }
  if (flags.retry_errors) journal_->forget_failures();
  writer_ = std::thread([this] { write_all(); });
}

Job::~Job() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  writer_.join();
  if (!finished_) journal_->remove_unused();
  if (!finished_ && journal_->done() > 0 && !failure_)
    console_.note("stopped with " + std::to_string(journal_->done()) + " " + things_ +
                  " done; the same command goes on from there");
}

bool Job::counts(const Input& input) const { return shard_.has(jobs::key_of(input.name)); }

std::optional<Input> Job::next(Source& source, const Stop& stop) {
  for (;;) {
    if (!ready_.empty()) {
      Input input = std::move(ready_.front());
      ready_.pop_front();
      paused_ = false;
      return input;
    }
    if (!source_ended_) {
      fill(source, stop);
    } else if (elsewhere_.empty()) {
      return std::nullopt;
    } else if (!std::exchange(paused_, true)) {
      // What this worker holds is to be finished before it waits: the others may wait for that.
      Input pause;
      pause.pause = true;
      return pause;
    } else {
      std::vector<Input> inputs(std::make_move_iterator(elsewhere_.begin()),
                                std::make_move_iterator(elsewhere_.end()));
      elsewhere_.clear();
      claim(std::move(inputs));
      if (!ready_.empty() || elsewhere_.empty()) continue;
      stop_if_interrupted();
      if (stop()) throw Exit(kExitSomeFailed, "");
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
  }
}

void Job::fill(Source& source, const Stop& stop) {
  std::vector<Input> group;
  while (group.size() < group_) {
    std::optional<Input> input =
        source.next(stop, [this](const std::string& name) { return may_be_wanted(name); });
    if (!input) {
      source_ended_ = true;
      break;
    }
    if (is_wanted(*input)) group.push_back(std::move(*input));
    if (stop()) throw Exit(kExitSomeFailed, "");
  }
  claim(std::move(group));
}

// Gives the input its key. False for one that is done already, or another shard's.
bool Job::is_wanted(Input& input) {
  const jobs::Key identity = jobs::key_of(input.identity());
  const bool again = !seen_.insert(identity);
  input.key = again ? jobs::key_of(input.identity(), ++repeats_[identity]) : identity;
  if (input.archive > 0 && (archives_.empty() || !input.name.starts_with(archives_.back() + "/")))
    archives_.push_back(input.name.substr(0, input.archive));
  const bool ours = counts(input);
  const bool skip = (!sidecar_.empty() || metadata_) && beside_decides(input, ours);
  if (!ours) return false;
  if (!skip && journal_->state(input.key) == jobs::State::kFree) return true;
  ++passed_;
  return false;
}

// What is_wanted() will say of the next input of this name, if that is no: pictures in archives are
// not read for nothing.
bool Job::may_be_wanted(const std::string& name) const {
  const jobs::Key key = jobs::key_of(name);
  if (!shard_.has(key)) return false;
  if (!seen_.contains(key)) return journal_->state(key) == jobs::State::kFree;
  const auto repeated = repeats_.find(key);
  const std::uint64_t occurrence = repeated == repeats_.end() ? 1 : repeated->second + 1;
  return journal_->state(jobs::key_of(name, occurrence)) == jobs::State::kFree;
}

// Whether the sidecar and the metadata say that there is nothing to do. A picture whose sidecar is
// another's fails. ours: it falls to this shard; of the others only the names are remembered.
bool Job::beside_decides(Input& input, bool ours) {
  if (!input.error.empty()) return false;
  if (input.archive > 0) {
    if (shards_to_.empty())
      input.error = input.name + " lies in an archive, which has no files beside; use --output, " +
                    "or --write-shards";
    return false;
  }
  const bool first = input.key == jobs::key_of(input.name);
  const std::string path = jobs::sidecar_path(input.name, sidecar_);
  if (first && !sidecar_.empty()) claim_sidecar(input, path);
  // Where rows are written too, the picture's row may be missing.
  if (!ours || !input.error.empty() || !output_.empty()) return false;
  if (!first) return true;
  return existing_ == jobs::Existing::kSkip && (sidecar_.empty() || jobs::has_content(path)) &&
         (!metadata_ || !description_of(input.name).empty());
}

void Job::claim_sidecar(Input& input, const std::string& path) {
  // However the picture's name is spelled.
  std::error_code ignored;
  const std::string place = fs::absolute(path, ignored).lexically_normal().string();
  if (!sidecars_.insert(jobs::key_of(place)))
    input.error = "its sidecar " + path + " is another picture's; rename one of the two";
}

void Job::claim(std::vector<Input> inputs) {
  if (inputs.empty()) return;
  std::vector<jobs::Key> keys;
  for (const Input& input : inputs) keys.push_back(input.key);
  const std::vector<jobs::State> states = journal_->claim(keys);
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (states[i] == jobs::State::kFree) {
      ready_.push_back(std::move(inputs[i]));
    } else if (states[i] == jobs::State::kElsewhere) {
      elsewhere_.push_back(std::move(inputs[i]));
    } else {
      ++passed_;
    }
  }
}

void Job::failed(const Input& input, const std::string& why) {
  batch_.push_back(
      {{input.key, true, error_row(input.object(), why)}, input.name, "", false, false});
}

void Job::add(const Input& input, const std::vector<jobs::Json>& rows, const std::string& text) {
  std::string all;
  for (const jobs::Json& object : rows)
    if (format_) all += jobs::row(*format_, output_, table_, object);
  const bool beside = input.archive == 0 && input.key == jobs::key_of(input.name);
  batch_.push_back({{input.key, false, std::move(all)},
                    input.name,
                    text,
                    beside && !sidecar_.empty(),
                    beside && metadata_});
}

void Job::end_batch() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return failure_ || handed_over_.size() < kHandedOver; });
  if (failure_) std::rethrow_exception(failure_);
  handed_over_.push_back(std::exchange(batch_, {}));
  lock.unlock();
  changed_.notify_all();
  report_unwritten();
}

// The console is the main thread's.
void Job::report_unwritten() {
  std::unique_lock lock(mutex_);
  const auto unwritten = std::exchange(unwritten_, {});
  lock.unlock();
  for (const auto& [name, why] : unwritten) console_.input_failed(name, why);
}

void Job::write_all() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stop_ || !handed_over_.empty(); });
    if (handed_over_.empty()) return;
    std::vector<Result> batch = std::move(handed_over_.front());
    handed_over_.pop_front();
    writing_ = true;
    lock.unlock();
    try {
      write(std::move(batch));
    } catch (...) {
      lock.lock();
      failure_ = std::current_exception();
      writing_ = false;
      handed_over_.clear();
      changed_.notify_all();
      return;
    }
    lock.lock();
    writing_ = false;
    changed_.notify_all();
  }
}

void Job::write(std::vector<Result> batch) {
  std::vector<Sidecar> sidecars;
  for (Result& result : batch)
    if (result.has_sidecar)
      if (std::optional<Sidecar> sidecar = plan_sidecar(result))
        sidecars.push_back(std::move(*sidecar));
  // Added to twice, a file would hold its caption twice: what it is to hold is known before.
  std::vector<jobs::Journal::Intent> intents;
  for (const Sidecar& sidecar : sidecars)
    if (adds_) intents.push_back({sidecar.result.row.key, jobs::digest(sidecar.content)});
  journal_->intend(intents);
  for (const Sidecar& sidecar : sidecars) write_sidecar(sidecar);
  for (Result& result : batch)
    if (result.has_metadata && !result.row.failed) write_metadata(result);
  std::vector<jobs::Row> rows;
  for (Result& result : batch) rows.push_back(std::move(result.row));
  journal_->commit(std::move(rows));
}

// nullopt: there is nothing to write, or it failed.
std::optional<Job::Sidecar> Job::plan_sidecar(Result& result) {
  const std::string path = jobs::sidecar_path(result.name, sidecar_);
  if (existing_ == jobs::Existing::kSkip && jobs::has_content(path)) return std::nullopt;
  try {
    const std::string before = adds_ ? jobs::read_sidecar(path) : "";
    // An earlier worker may have ended between the file and the journal.
    if (!before.empty() && journal_->was_intended(result.row.key, jobs::digest(before)))
      return std::nullopt;
    return Sidecar{
        result, path,
        jobs::sidecar_content(before, jobs::sidecar_text(sidecar_, result.text), existing_)};
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kCancelled) throw;
    fail_unwritten(result, error);
    return std::nullopt;
  }
}

void Job::write_sidecar(const Sidecar& sidecar) {
  std::unique_ptr<AtomicFile> file;
  try {
    file = std::make_unique<AtomicFile>(sidecar.path);
  } catch (const Error& error) {
    return fail_unwritten(sidecar.result, error);
  }
  // A full disk ends the job: the next pictures would fail as well.
  file->write(sidecar.content);
  file->commit();
}

void Job::write_metadata(Result& result) {
  if (existing_ == jobs::Existing::kSkip && !description_of(result.name).empty()) return;
  std::optional<Described> described;
  try {
    described.emplace(result.name, result.text);
  } catch (const Error& error) {
    return fail_unwritten(result, error);
  }
  described->write();
}

void Job::fail_unwritten(Result& result, const Error& error) {
  result.row.failed = true;
  result.row.text = error_row(named("image", result.name), error.what());
  const std::lock_guard lock(mutex_);
  unwritten_.emplace_back(result.name, error.what());
}

void Job::write_shards() {
  const jobs::Journal::Rows rows(*journal_);
  const Captions captions{
      [&](const std::string& name) { return rows.contains(jobs::key_of(name)); },
      [&](const std::string& name) {
        const std::optional<std::string> row = rows.find(jobs::key_of(name));
        return row ? read_json<jobs::Json>(*row).value("caption", "") : "";
      }};
  const ShardOptions options{shards_to_, sidecar_.empty() ? ".txt" : sidecar_, existing_};
  std::unordered_map<std::string, std::string> written;
  std::size_t copies = 0, tars = 0;
  for (const std::string& archive : archives_) {
    const std::string path = shard_path(options, archive);
    const auto [other, first] = written.emplace(path, archive);
    if (!first && other->second != archive) {
      console_.input_failed(archive, "its copy " + path + " is that of " + other->second);
    } else if (is_parquet(archive)) {
      console_.input_failed(archive, "Parquet files are not copied, tar archives are");
    } else if (is_zip(archive)) {
      console_.input_failed(archive, "zip archives are not copied, tar archives are");
    } else if (++tars; is_own_copy(archive, path)) {
      console_.input_failed(archive, "its copy would lie in its own place; name another folder");
    } else if (first && !is_there(path)) {
      try {
        const std::size_t unwritten = write_shard(options, archive, captions);
        ++copies;
        if (unwritten > 0)
          console_.warning(path + " lacks " + std::to_string(unwritten) +
                           " captions of pictures that share a name with others");
      } catch (const Error& error) {
        if (error.code() == ErrorCode::kCancelled) throw;
        console_.input_failed(archive, error.what());
      }
    }
  }
  if (tars == 0)
    console_.warning("--write-shards: no tar archive with pictures was among the inputs");
  console_.note(std::to_string(copies) + (copies == 1 ? " shard" : " shards") + " written to " +
                shards_to_);
}

void Job::finish() {
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return failure_ || (handed_over_.empty() && !writing_); });
    if (failure_) std::rethrow_exception(failure_);
  }
  report_unwritten();
  journal_->sync();
  if (has_end()) complete(kOutput, *format_, output_);
  if (!shards_to_.empty()) write_shards();
  if (output_.empty()) journal_->remove();
  finished_ = true;
  const std::string beside = sidecar_.empty() ? "metadata" : "sidecars " + sidecar_;
  const std::string where = output_.empty() ? beside : output_;
  console_.note(where + ": " + std::to_string(journal_->done()) + " " + things_ + " done, " +
                std::to_string(journal_->failed()) + " failed");
}

bool Job::has_end() const { return format_ && jobs::rows_path(*format_, output_) != output_; }

jobs::DerivedFile Job::derive(const std::string& role, const std::string& path) {
  return {*journal_, role, path};
}

void Job::check_derived(const std::string& role, const std::string& path) {
  jobs::DerivedFile::check(*journal_, role, path);
}

void Job::complete(const std::string& role, jobs::Format format, const std::string& path) {
  jobs::DerivedFile file = derive(role, path);
  const auto write = [&file](std::string_view bytes) { file.write(bytes); };
  const std::string rows = jobs::rows_path(format, path);
  if (format == jobs::Format::kParquet)
    write_parquet(rows, path, write);
  else if (const std::size_t repeated = jobs::write_array(rows, write);
           repeated > 0 && table_.array == jobs::Array::kCocoCaptions && role == kOutput)
    console_.note(path + ": " + std::to_string(repeated) +
                  (repeated == 1 ? " row has" : " rows have") +
                  " the image_id of another, which is the number at the end of a picture's name");
  file.commit();
}

void Job::for_each_row(const std::function<void(const jobs::Json& object)>& take) const {
  ListReader lines(jobs::rows_path(*format_, output_), '\n',
                   std::numeric_limits<std::size_t>::max());
  while (const std::optional<std::string> line = lines.next([] { return false; }))
    take(read_json<jobs::Json>(*line));
}

std::unique_ptr<Job> make_job(const JobFlags& flags, jobs::Json identity,
                              const PictureOptions& pictures, Console& console) {
  if (!flags.is_job()) return nullptr;
  return std::make_unique<Job>(flags, std::move(identity), pictures.images,
                               static_cast<std::size_t>(pictures.batch), console);
}

int exit_code(const Console& console, const Job* job) {
  return job != nullptr && job->failures() > 0 ? kExitSomeFailed : exit_code(console);
}

}  // namespace blip::cli
