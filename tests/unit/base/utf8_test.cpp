#include "base/utf8.h"

#include <gtest/gtest.h>

#include <string>

namespace blip {
namespace {

TEST(DecodeUtf8, ReplacesEachMaximalInvalidPart) {
  struct Case {
    std::string bytes;
    std::u32string expected;
  };
  // Python: bytes.decode(errors="replace").
  const Case cases[] = {
      {"a\xC3\xA9\xE4\xBD\xA0\xF0\x9F\x98\x80", U"a\u00e9\u4f60\U0001f600"},
      {"\xFF", U"\ufffd"},
      {"\x80\xBF", U"\ufffd\ufffd"},
      {"\xC0\x80", U"\ufffd\ufffd"},                      // overlong
      {"\xE0\x80\x80", U"\ufffd\ufffd\ufffd"},            // overlong
      {"\xED\xA0\x80", U"\ufffd\ufffd\ufffd"},            // surrogate
      {"\xF4\x90\x80\x80", U"\ufffd\ufffd\ufffd\ufffd"},  // over U+10FFFF
      {"\xF0\x9F\x98"
       "a",
       U"\ufffd"
       U"a"},                   // cut short: one part
      {"\xE4\xBD", U"\ufffd"},  // cut short at the end
      {"\xE4[", U"\ufffd["},
      {"\xF0\x9F\xF0\x9F\x98\x80", U"\ufffd\U0001f600"},
      {std::string("\0b", 2), std::u32string(U"\0b", 2)},
  };
  for (const Case& c : cases)
    EXPECT_EQ(decode_utf8(c.bytes), c.expected) << testing::PrintToString(c.bytes);
}

// What is kept whole and what is not UTF-8 are two questions to one reader.
TEST(FirstCodePoint, IsWholeOrNothing) {
  struct Case {
    std::string bytes;
    CodePoint expected;
  };
  const Case cases[] = {
      {"ab", {1, U'a'}},
      {std::string("\0", 1), {1, 0}},
      {"\xC3\xA9x", {2, U'\u00e9'}},
      {"\xE2\x82\xAC", {3, U'\u20ac'}},
      {"\xF4\x8F\xBF\xBF", {4, U'\U0010ffff'}},
      {"\xC3", {}},
      {"\xE2\x82", {}},
      {"\xED\xA0\x80", {}},
      {"\xF4\x90\x80\x80", {}},
      {"\x80", {}},
  };
  for (const Case& c : cases) {
    const CodePoint got = first_code_point(c.bytes);
    EXPECT_EQ(got.bytes, c.expected.bytes) << testing::PrintToString(c.bytes);
    EXPECT_EQ(got.value, c.expected.value) << testing::PrintToString(c.bytes);
    EXPECT_EQ(is_valid_utf8(c.bytes), c.expected.bytes != 0) << testing::PrintToString(c.bytes);
  }
  EXPECT_TRUE(is_valid_utf8(""));
  EXPECT_TRUE(is_valid_utf8("\xEF\xBF\xBD"));  // U+FFFD itself
}

}  // namespace
}  // namespace blip
