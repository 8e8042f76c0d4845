// A file that a job makes of its rows whenever it is complete: an array, pairs, a summary.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/file.h"
#include "jobs/journal.h"
#include "jobs/key.h"

namespace blip::jobs {

// It replaces nothing but what the job wrote there: what it is about to become stands in the
// journal before it does.
class DerivedFile {
 public:
  // role: which of the job's files it is. Throws as check() does.
  DerivedFile(Journal& journal, std::string role, const std::string& path);

  void write(std::string_view text);
  void commit();

  // Throws Error(kUsage) where the path holds a file that the job did not write, or that was
  // changed since; Error(kIo).
  static void check(Journal& journal, const std::string& role, const std::string& path);

 private:
  Journal* journal_;
  std::string role_;
  std::unique_ptr<AtomicFile> file_;
  Digest digest_;
};

}  // namespace blip::jobs
