// What a caption becomes before it is written: a template, and words around it.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace blip::jobs {

struct WordingOptions {
  std::string prefix, suffix;         // as they are
  std::string trigger;                // a word before the text, with ", " between; "" = none
  std::string pattern = "{caption}";  // {caption}, {name}, {folder}, {tags}; {{ and }} are braces
  bool include_prompt = false;        // the caption begins with the prompt that it continues
  std::string tags_extension =
      ".txt";  // {tags}: what the file of this ending beside the picture says
};

class Wording {
 public:
  // Throws Error(kUsage) for a template with a field that is none, or a brace alone.
  Wording(WordingOptions options, std::string prompt);
  // Throws Error(kIo | kImage) where the file of tags cannot be read or is not UTF-8.
  std::string apply(const std::string& picture, const std::string& caption) const;
  // Whether it changes nothing.
  bool is_plain() const;

 private:
  enum class Field { kText, kCaption, kName, kFolder, kTags };
  struct Part {
    Field field;
    std::string text;
  };
  std::string tags_of(const std::string& picture) const;

  WordingOptions options_;
  std::string prompt_;
  std::vector<Part> parts_;
};

}  // namespace blip::jobs
