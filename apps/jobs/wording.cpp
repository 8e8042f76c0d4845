#include "jobs/wording.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <utility>

#include "blip/error.h"
#include "jobs/sidecar.h"

namespace blip::jobs {
namespace {

namespace fs = std::filesystem;

// The name of the folder that the picture lies in.
std::string folder_name(const std::string& picture) {
  std::error_code error;
  return fs::absolute(picture, error).lexically_normal().parent_path().filename().string();
}

}  // namespace

Wording::Wording(WordingOptions options, std::string prompt)
    : options_(std::move(options)), prompt_(std::move(prompt)) {
  constexpr std::array<std::pair<std::string_view, Field>, 4> kFields = {
      {{"caption", Field::kCaption},
       {"name", Field::kName},
       {"folder", Field::kFolder},
       {"tags", Field::kTags}}};
  const std::string& pattern = options_.pattern;
  const auto refuse = [&](const std::string& why) {
    throw Error(ErrorCode::kUsage, "template \"" + pattern + "\": " + why +
                                       "; fields are {caption}, {name}, {folder} and {tags}, and "
                                       "braces are {{ and }}");
  };
  std::string text;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c != '{' && c != '}') {
      text += c;
    } else if (i + 1 < pattern.size() && pattern[i + 1] == c) {
      text += pattern[i++];
    } else {
      const std::size_t end = pattern.find('}', i);
      if (c == '}' || end == std::string::npos) refuse("a brace stands alone");
      const std::string name = pattern.substr(i + 1, end - i - 1);
      const auto field = std::find_if(kFields.begin(), kFields.end(),
                                      [&](const auto& one) { return one.first == name; });
      if (field == kFields.end()) refuse("{" + name + "} is no field");
      parts_.push_back({Field::kText, std::exchange(text, "")});
      parts_.push_back({field->second, ""});
      i = end;
    }
  }
  parts_.push_back({Field::kText, text});
}

bool Wording::is_plain() const {
  return options_.prefix.empty() && options_.suffix.empty() && options_.trigger.empty() &&
         options_.pattern == WordingOptions().pattern && !options_.include_prompt;
}

std::string Wording::tags_of(const std::string& picture) const {
  std::string tags =
      without_line_ends(read_sidecar(sidecar_path(picture, options_.tags_extension)));
  std::replace(tags.begin(), tags.end(), '\n', ' ');
  return tags;
}

std::string Wording::apply(const std::string& picture, const std::string& caption) const {
  std::string text;
  for (const Part& part : parts_) {
    switch (part.field) {
      case Field::kText:
        text += part.text;
        break;
      case Field::kCaption:
        if (options_.include_prompt && !prompt_.empty())
          text += prompt_ + (prompt_.ends_with(' ') ? "" : " ");
        text += caption;
        break;
      case Field::kName:
        text += fs::path(picture).stem().string();
        break;
      case Field::kFolder:
        text += folder_name(picture);
        break;
      case Field::kTags:
        text += tags_of(picture);
        break;
    }
  }
  if (!options_.trigger.empty()) text = options_.trigger + (text.empty() ? "" : ", ") + text;
  return options_.prefix + text + options_.suffix;
}

}  // namespace blip::jobs
