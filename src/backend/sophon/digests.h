// Whether the files of a compiled folder are those that were compiled: a bmodel with other weights
// of the same length would be loaded as if nothing were wrong.
#pragma once

#include <atomic>
#include <future>
#include <string>
#include <vector>

#include "backend/sophon/manifest.h"
#include "blip/blip.h"

namespace blip::backend::sophon {

// Every file that the manifest names, read whole. Throws Error(kIo).
std::vector<FileCheck> check_files(const Manifest& manifest);

// The part of a bmodel before the weights, which the vendor's loader trusts. Throws Error(kIo |
// kModel). Where the manifest is of an older build and has no digest, nothing is checked.
void check_head(const Manifest& manifest, const std::string& file);

// Reads all files beside whoever made it: reading them takes as long as loading them, so a model is
// loaded meanwhile, and its first result waits.
class DigestCheck {
 public:
  explicit DigestCheck(const Manifest& manifest);
  ~DigestCheck();  // ends it
  DigestCheck(const DigestCheck&) = delete;
  DigestCheck& operator=(const DigestCheck&) = delete;
  // Throws Error(kIo | kModel) for a file that is not what was compiled. Any number of threads and
  // times.
  void wait() const;

 private:
  std::atomic<bool> stop_ = false;
  mutable std::atomic<bool> good_ = false;
  std::shared_future<std::string> bad_;  // what is wrong, "" where all is well
};

}  // namespace blip::backend::sophon
