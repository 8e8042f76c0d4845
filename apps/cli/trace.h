// --trace FILE: the zones of a run, as chrome://tracing and Perfetto show them.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "base/file.h"
#include "blip/profile.h"
#include "cli/options.h"

namespace blip::cli {

CLI::Option* add_trace_option(CLI::App& command, OutputOptions& options);
// The command, with a trace of it where one is asked for.
Run traced(const OutputOptions& options, Run command);

// Writes every zone of the process beside `path` as it ends; finish() gives the file its name, and
// without it nothing is left. path "": does nothing.
class Trace {
 public:
  // Throws Exit, before any work, where the file cannot be written or is one that is no trace.
  explicit Trace(const std::string& path);
  ~Trace();
  Trace(const Trace&) = delete;
  Trace& operator=(const Trace&) = delete;

  // Throws Exit(1) where it could not be written.
  void finish();

 private:
  void add(const Zone& zone);
  void flush(std::size_t above);

  std::mutex mutex_;  // of what follows: zones come from several threads
  std::optional<AtomicFile> file_;
  std::string buffer_, failure_;
  double first_us_ = 0;
  int threads_ = 0;  // that have a name in the file
  std::unique_ptr<Profile> profile_;
};

}  // namespace blip::cli
