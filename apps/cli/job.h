// A job of the command line: pictures whose results go to files, which goes on where it was when it
// is started again. Several processes with the same command share the work.
#pragma once

#include <CLI/CLI.hpp>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "cli/pictures.h"
#include "jobs/derived_file.h"
#include "jobs/journal.h"
#include "jobs/rows.h"
#include "jobs/sidecar.h"

namespace blip::cli {

// --shard: the pictures whose names fall to one of so many parts.
struct Shard {
  std::uint64_t index = 1, count = 1;

  // name: the key of a picture's name.
  bool has(const jobs::Key& name) const { return name.high % count == index - 1; }
};

struct JobFlags {
  // table: what its rows are.
  JobFlags(const jobs::Table& rows = jobs::kCaptions) : table(&rows) {}

  const jobs::Table* table;
  std::string output, sidecar;  // "" = not given
  std::string existing = "skip", shard, shards_to;
  bool retry_errors = false, metadata = false;
  CLI::Option *existing_option = nullptr, *shards_option = nullptr;
  std::vector<CLI::Option*> all;

  bool is_job() const { return !output.empty() || writes_beside(); }
  // To or into the pictures.
  bool writes_beside() const { return !sidecar.empty() || metadata; }
};

// Whether the table can be written to a file of this name and place. Throws Exit, Error(kUsage).
void check_rows_file(const std::string& path, const jobs::Table& table);

// Where the journal of a job with --output is.
std::string journal_of(const std::string& output);
void add_job_options(CLI::App& command, JobFlags& flags);
// --sidecar and what else captions alone have.
void add_sidecar_options(CLI::App& command, JobFlags& flags);
// What can be told of the options before a model is loaded. Throws Exit(2).
void check_job(const JobFlags& flags, const OutputOptions& output,
               const std::vector<std::string>& arguments);

class Job : public Keeper {
 public:
  // identity: the options that results depend on. arguments: where the pictures come from; the
  // journal of a job without --output lies there until it is complete. group: how many pictures are
  // claimed at once. Throws Exit, Error.
  Job(const JobFlags& flags, jobs::Json identity, const std::vector<std::string>& arguments,
      std::size_t group, Console& console);
  // Writes what was handed over.
  ~Job() override;

  std::optional<Input> next(Source& source, const Stop& stop) override;
  bool counts(const Input& input) const override;
  void failed(const Input& input, const std::string& why) override;
  void end_batch() override;
  std::size_t passed() const override { return passed_; }

  // The rows of an input; text: of its sidecar. Throws Error(kImage) where a file cannot hold them.
  void add(const Input& input, const std::vector<jobs::Json>& rows, const std::string& text = "");
  // After the last picture: waits for the writer and completes the files. Throws Error.
  void finish();
  // After finish(), of a job with --output FILE.jsonl or FILE.parquet: its objects, one after the
  // other.
  void for_each_row(const std::function<void(const jobs::Json& object)>& take) const;
  // A file made of those. role: which of the job's. Throws Error(kUsage) where another file is
  // there; check_derived() does so before the work.
  jobs::DerivedFile derive(const std::string& role, const std::string& path);
  void check_derived(const std::string& role, const std::string& path);
  // Makes the file of a format that has an end from its rows in rows_path().
  void complete(const std::string& role, jobs::Format format, const std::string& path);
  // Pictures that failed, now or before.
  std::uint64_t failures() const { return journal_->failed(); }

 private:
  struct Result {
    jobs::Row row;
    std::string name, text;
    // Of pictures that are named again the first alone is written beside.
    bool has_sidecar, has_metadata;
  };
  // On the thread of the source.
  void fill(Source& source, const Stop& stop);
  bool is_wanted(Input& input);
  bool may_be_wanted(const std::string& name) const;
  bool beside_decides(Input& input, bool ours);
  void claim_sidecar(Input& input, const std::string& path);
  void claim(std::vector<Input> inputs);
  // On the thread of the writer.
  void write_all();
  void write(std::vector<Result> batch);
  // A sidecar that is to be written.
  struct Sidecar {
    Result& result;
    std::string path, content;
  };
  std::optional<Sidecar> plan_sidecar(Result& result);
  void write_sidecar(const Sidecar& sidecar);
  void write_metadata(Result& result);
  void fail_unwritten(Result& result, const Error& error);
  void report_unwritten();
  void write_shards();
  bool has_end() const;

  const jobs::Table& table_;
  jobs::Existing existing_;
  bool adds_;  // to sidecars that exist
  bool metadata_;
  Shard shard_;
  std::string output_, sidecar_, shards_to_;
  std::vector<std::string> archives_;  // that were met
  std::optional<jobs::Format> format_;
  std::size_t group_;
  Console& console_;
  std::string journal_path_;
  std::string things_;  // what it goes over, for notes
  std::unique_ptr<jobs::Journal> journal_;

  jobs::KeySet seen_, sidecars_;
  std::unordered_map<jobs::Key, std::uint64_t, jobs::KeyHash> repeats_;  // of names seen before
  std::deque<Input> ready_, elsewhere_;  // claimed here; claimed by other workers
  bool source_ended_ = false, paused_ = false;
  std::atomic<std::size_t> passed_{0};

  std::vector<Result> batch_;
  std::deque<std::vector<Result>> handed_over_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool finished_ = false, writing_ = false, stop_ = false;
  std::exception_ptr failure_;
  std::vector<std::pair<std::string, std::string>> unwritten_;  // names, and why
  std::thread writer_;
};

// The job that the options ask for; nullptr where results are printed. identity: as of Job.
std::unique_ptr<Job> make_job(const JobFlags& flags, jobs::Json identity,
                              const PictureOptions& pictures, Console& console);
// The same as without a job, but what failed in the job before counts too; nullptr: there is none.
int exit_code(const Console& console, const Job* job);

}  // namespace blip::cli
