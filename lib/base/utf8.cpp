#include "base/utf8.h"

#include <algorithm>
#include <cstdint>

namespace blip {
namespace {

constexpr char32_t kReplacement = 0xFFFD;

// What follows a lead byte: how many bytes, and which second bytes are allowed (the others
// are 80..BF).
struct Lead {
  std::size_t following = 0;
  std::uint8_t low = 0x80, high = 0xBF;
};

Lead classify(std::uint8_t byte) {
  if (byte >= 0xC2 && byte <= 0xDF) return {1};
  if (byte == 0xE0) return {2, 0xA0, 0xBF};  // no overlong forms
  if (byte == 0xED) return {2, 0x80, 0x9F};  // no surrogates
  if (byte >= 0xE1 && byte <= 0xEF) return {2};
  if (byte == 0xF0) return {3, 0x90, 0xBF};
  if (byte >= 0xF1 && byte <= 0xF3) return {3};
  if (byte == 0xF4) return {3, 0x80, 0x8F};  // nothing over U+10FFFF
  return {};
}

// How many bytes at the front belong to one character, or to as much of one as there is.
struct Front {
  std::size_t bytes = 1;
  bool whole = true;
  char32_t value = 0;
};

Front read_front(std::string_view utf8) {
  const auto first = static_cast<std::uint8_t>(utf8.front());
  if (first < 0x80) return {1, true, first};
  const Lead lead = classify(first);
  Front front{1, lead.following > 0, static_cast<char32_t>(first & (0x3F >> lead.following))};
  for (; front.bytes <= lead.following; ++front.bytes) {
    const auto next =
        front.bytes < utf8.size() ? static_cast<std::uint8_t>(utf8[front.bytes]) : std::uint8_t{0};
    if (front.bytes == 1 ? next < lead.low || next > lead.high : (next & 0xC0) != 0x80) {
      front.whole = false;
      break;
    }
    front.value = front.value << 6 | (next & 0x3F);
  }
  return front;
}

}  // namespace

CodePoint first_code_point(std::string_view utf8) {
  const Front front = read_front(utf8);
  return front.whole ? CodePoint{front.bytes, front.value} : CodePoint{};
}

std::u32string decode_utf8(std::string_view utf8) {
  std::u32string out;
  out.reserve(utf8.size());
  while (!utf8.empty()) {
    const Front front = read_front(utf8);
    out.push_back(front.whole ? front.value : kReplacement);
    utf8.remove_prefix(front.bytes);
  }
  return out;
}

void append_utf8(std::string& out, char32_t c) {
  const auto put = [&out](char32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (c < 0x80) return put(c);
  if (c < 0x800) {
    put(0xC0 | c >> 6);
  } else {
    if (c < 0x10000) {
      put(0xE0 | c >> 12);
    } else {
      put(0xF0 | c >> 18);
      put(0x80 | (c >> 12 & 0x3F));
    }
    put(0x80 | (c >> 6 & 0x3F));
  }
  put(0x80 | (c & 0x3F));
}

bool is_valid_utf8(std::string_view text) {
  while (!text.empty()) {
    const CodePoint first = first_code_point(text);
    if (first.bytes == 0) return false;
    text.remove_prefix(first.bytes);
  }
  return true;
}

std::size_t code_point_length(std::string_view utf8, std::size_t at) {
  const std::size_t length = 1 + classify(static_cast<std::uint8_t>(utf8[at])).following;
  return std::min(length, utf8.size() - at);
}

std::size_t code_point_before(std::string_view utf8, std::size_t at) {
  constexpr std::size_t kLongest = 4;
  const std::size_t lowest = at > kLongest ? at - kLongest : 0;
  std::size_t before = at - 1;
  while (before > lowest && (static_cast<std::uint8_t>(utf8[before]) & 0xC0) == 0x80) --before;
  return before;
}

}  // namespace blip
