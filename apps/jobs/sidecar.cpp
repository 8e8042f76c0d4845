#include "jobs/sidecar.h"

#include <sys/stat.h>

#include <filesystem>

#include "blip/error.h"
#include "io/file.h"

namespace blip::jobs {
namespace {

constexpr const char* kBetween = ", ";

}  // namespace

Existing parse_existing(const std::string& word) {
  if (word == "skip") return Existing::kSkip;
  if (word == "overwrite") return Existing::kOverwrite;
  if (word == "append") return Existing::kAppend;
  if (word == "prepend") return Existing::kPrepend;
  throw Error(ErrorCode::kUsage,
              "existing files: \"" + word + "\" is none of skip, overwrite, append and prepend");
}

std::string sidecar_path(const std::string& picture, const std::string& extension) {
  return std::filesystem::path(picture).replace_extension().string() + extension;
}

bool has_content(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 && status.st_size > 0;
}

std::string read_sidecar(const std::string& path) {
  if (!io::is_there(path)) return "";
  std::string text = io::read_text(path, kLargestSidecar);
  while (text.ends_with('\n') || text.ends_with('\r')) text.pop_back();
  return text;
}

std::string sidecar_content(const std::string& path, const std::string& text, Existing existing) {
  const bool adds = existing == Existing::kAppend || existing == Existing::kPrepend;
  const std::string before = adds ? read_sidecar(path) : "";
  if (before.empty()) return text + '\n';
  return (existing == Existing::kAppend ? before + kBetween + text : text + kBetween + before) +
         '\n';
}

}  // namespace blip::jobs
