#include "jobs/sidecar.h"

#include <sys/stat.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/file.h"
#include "blip/error.h"

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
  return is_there(path) ? read_text(path, kLargestSidecar) : "";
}

std::string without_line_ends(std::string text) {
  while (text.ends_with('\n') || text.ends_with('\r')) text.pop_back();
  return text;
}

std::string sidecar_text(const std::string& extension, const std::string& caption) {
  if (extension != ".json") return caption;
  return nlohmann::ordered_json{{"caption", caption}}.dump();
}

std::string sidecar_content(std::string before, const std::string& text, Existing existing) {
  before = without_line_ends(std::move(before));
  if (!adds(existing) || before.empty()) return text + '\n';
  return (existing == Existing::kAppend ? before + kBetween + text : text + kBetween + before) +
         '\n';
}

}  // namespace blip::jobs
