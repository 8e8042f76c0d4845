#include "backend/sophon/digests.h"

#include <filesystem>
#include <map>

#include "backend/sophon/bmodel_file.h"
#include "base/sha256.h"
#include "blip/error.h"

namespace blip::backend::sophon {
namespace {

std::string path_of(const Manifest& manifest, const std::string& file) {
  return (std::filesystem::path(manifest.folder) / file).string();
}

std::map<std::string, std::string> digests_of(const Manifest& manifest) {
  std::map<std::string, std::string> files;
  for (const Manifest::Entry& entry : manifest.networks) files[entry.file] = entry.digest;
  return files;
}

std::string changed(const std::string& path, const std::string& got, const std::string& expected) {
  return path + " is not what was compiled, though its length is right: its SHA-256 is " + got +
         ", expected " + expected + "; copy the folder again";
}

// What is wrong with the bmodels.
std::string fault_of(const Manifest& manifest, const std::atomic<bool>& stop) {
  for (const auto& [file, expected] : digests_of(manifest)) {
    if (expected.empty()) continue;
    const std::string path = path_of(manifest, file);
    const std::string got = sha256_of_file(path, kWholeFile, [&] { return stop.load(); });
    if (!got.empty() && got != expected) return changed(path, got, expected);
  }
  return "";
}

}  // namespace

std::vector<FileCheck> check_files(const Manifest& manifest) {
  std::vector<FileCheck> checks;
  auto files = digests_of(manifest);
  files[manifest.vocabulary_file] = manifest.vocabulary_digest;
  for (const auto& [file, expected] : files) {
    const std::string path = path_of(manifest, file);
    FileCheck check{path, expected, "", ""};
    try {
      check.got = sha256_of_file(path);
    } catch (const Error& error) {
      check.problem = error.what();
    }
    checks.push_back(std::move(check));
  }
  return checks;
}

void check_head(const Manifest& manifest, const std::string& file) {
  for (const Manifest::Entry& entry : manifest.networks) {
    if (entry.file != file || entry.head_digest.empty()) continue;
    const std::string path = path_of(manifest, file);
    const std::string got = sha256_of_file(path, read_bmodel_head(path).bytes);
    if (got == entry.head_digest) return;
    throw Error(ErrorCode::kModel, path + " is damaged: the SHA-256 of its description is " + got +
                                       ", expected " + entry.head_digest +
                                       "; copy the folder again");
  }
}

DigestCheck::DigestCheck(const Manifest& manifest)
    : bad_(std::async(std::launch::async, [this, manifest] { return fault_of(manifest, stop_); })) {
}

DigestCheck::~DigestCheck() {
  stop_ = true;
  bad_.wait();
}

void DigestCheck::wait() const {
  if (good_) return;
  if (const std::string& fault = bad_.get(); !fault.empty()) throw Error(ErrorCode::kModel, fault);
  good_ = true;
}

}  // namespace blip::backend::sophon
