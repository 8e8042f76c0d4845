#include "io/bytes.h"

namespace blip::io {

std::string quote(std::string_view text) {
  constexpr std::size_t kLongest = 100;
  constexpr char kHex[] = "0123456789abcdef";
  std::string result = "\"";
  for (const char c : text.substr(0, kLongest)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte >= 0x7f || c == '"' || c == '\\') {
      result += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
    } else {
      result += c;
    }
  }
  return result + (text.size() > kLongest ? "...\"" : "\"");
}

std::string hint_for(std::span<const std::byte> bytes) {
  const std::string_view text = as_text(bytes.first(bytes.size() < 64 ? bytes.size() : 64));
  if (text.empty()) return "the file is empty";
  if (text.starts_with("version https://git-lfs"))
    return "this is a Git LFS pointer, not the file itself: run `git lfs pull`";
  if (text.starts_with("<!DOCTYPE") || text.starts_with("<!doctype") || text.starts_with("<html")) {
    return "this is a web page, not the file itself: download it again";
  }
  return "";
}

void ByteReader::fail(const std::string& message) const {
  throw Error(ErrorCode::kModel, file_ + ": byte " + std::to_string(position_) + ": " + message);
}

void ByteReader::fail_short(std::uint64_t count, const char* what) const {
  fail("the file ends inside " + std::string(what) + ": it takes " + std::to_string(count) +
       " bytes, " + std::to_string(remaining()) + " are left; the file is truncated or damaged");
}

}  // namespace blip::io
