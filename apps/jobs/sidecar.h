// Texts in files beside the pictures: a.txt beside a.jpg, as tools that train on folders read them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace blip::jobs {

// What becomes of a sidecar that exists. An empty file counts as none.
enum class Existing { kSkip, kOverwrite, kAppend, kPrepend };
// "skip", "overwrite", "append", "prepend"; Error(kUsage) on anything else.
Existing parse_existing(const std::string& word);
// Whether texts are added to what is there.
constexpr bool adds(Existing existing) {
  return existing == Existing::kAppend || existing == Existing::kPrepend;
}

// a.jpg and .txt: a.txt. What stands after the last point of the name goes, unless the name begins
// with it.
std::string sidecar_path(const std::string& picture, const std::string& extension);

// Whether there is a file with something in it.
bool has_content(const std::string& path);

// The largest sidecar that is read, to be added to or for its tags.
inline constexpr std::size_t kLargestSidecar = std::size_t{1} << 20;

// The text of a sidecar; "" where there is none. Throws Error(kIo).
std::string read_sidecar(const std::string& path);

// A text without the line ends behind it.
std::string without_line_ends(std::string text);

// What a file of this ending holds of a caption: .json {"caption"}, any other the caption itself.
std::string sidecar_text(const std::string& extension, const std::string& caption);

// What a file that holds `before` shall hold: `text`, or both with ", " between them, and a line
// end.
std::string sidecar_content(std::string before, const std::string& text, Existing existing);

}  // namespace blip::jobs
