// Texts as characters: UTF-8 read, checked and written.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace blip {

struct CodePoint {
  std::size_t bytes = 0;  // 0: what is there is not UTF-8
  char32_t value = 0;
};

// The character at the front of a text that is not empty: the shortest form, no surrogates, up to
// U+10FFFF.
CodePoint first_code_point(std::string_view utf8);

// Each maximal invalid part becomes one U+FFFD, as Python's bytes.decode(errors="replace") does.
std::u32string decode_utf8(std::string_view utf8);
// A surrogate is written in three bytes, which is not UTF-8.
void append_utf8(std::string& out, char32_t c);
bool is_valid_utf8(std::string_view text);

// The bytes of the code point that begins at `at`, and where the one that ends at `at` begins. For
// valid UTF-8; elsewhere at least one byte, never beyond the text.
std::size_t code_point_length(std::string_view utf8, std::size_t at);
std::size_t code_point_before(std::string_view utf8, std::size_t at);

}  // namespace blip
