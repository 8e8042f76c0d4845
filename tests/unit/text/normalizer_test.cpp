#include "text/normalizer.h"

#include <cstdint>
#include <cstdio>

#include "base/utf8.h"
#include "goldens.h"

namespace blip::text {
namespace {

std::string to_utf8(std::u32string_view text) {
  std::string out;
  for (char32_t c : text) append_utf8(out, c);
  return out;
}

std::string normalized(std::string_view text, bool lowercase = true) {
  return to_utf8(normalize(decode_utf8(text), {lowercase, lowercase, true}));
}

TEST(Normalizer, CleansSpacesLowersAndStripsAccents) {
  EXPECT_EQ(normalized("H\xC3\xA9llo\tW\xC3\x96RLD"), "hello world");
  EXPECT_EQ(normalized("\xC4\xB0\xCE\xA3"), "i\xCF\x83");  // I with dot, no final sigma
  EXPECT_EQ(normalized("a\xE4\xBD\xA0"
                       "b"),
            "a \xE4\xBD\xA0 b");
  EXPECT_EQ(normalized("a\xE2\x80\x8B\xEF\xBF\xBD\x01z"), "az");
  // Hangul to its letters
  EXPECT_EQ(normalized("\xEA\xB0\x81"), "\xE1\x84\x80\xE1\x85\xA1\xE1\x86\xA8");
}

TEST(Normalizer, KeepsCaseAndAccentsWhenCased) {
  EXPECT_EQ(normalized("H\xC3\xA9llo\t\xE4\xBD\xA0", false), "H\xC3\xA9llo  \xE4\xBD\xA0 ");
}

TEST(Normalizer, SwitchesAreIndependent) {
  const auto with = [](const char* text, NormalizerOptions options) {
    return to_utf8(normalize(decode_utf8(text), options));
  };
  // lower case alone: one character becomes two
  EXPECT_EQ(with("\u00c9\u0130", {true, false, true}), "\u00e9i\u0307");
  EXPECT_EQ(with("\u00c9\u0130", {false, true, true}), "EI");
  EXPECT_EQ(with("a\u4f60", {true, true, false}), "a\u4f60");
}

TEST(Normalizer, OrdersMarksThatStay) {
  // U+302E (class 224, spacing) comes before U+1D16D (226, spacing), whatever their order in the
  // text; U+0301 goes.
  EXPECT_EQ(normalize(U"a\U0001d16d\u0301\u302e"), U"a\u302e\U0001d16d");
  EXPECT_EQ(normalize(U"a\u302e\U0001d16d"), U"a\u302e\U0001d16d");
}

TEST(Normalizer, EqualsTheReferenceForEveryCodePoint) {
  const nlohmann::json blocks = json_golden("code_points.json");
  ASSERT_EQ(blocks.size(), 0x110u);
  for (std::size_t block = 0; block < blocks.size(); ++block) {
    std::uint64_t hash = 0xCBF29CE484222325;
    for (std::size_t i = 0; i < 0x1000; ++i) {
      const auto c = static_cast<char32_t>(block * 0x1000 + i);
      if (c >= 0xD800 && c < 0xE000) continue;
      const char32_t text[] = {U'a', c, U'b'};
      for (char byte : to_utf8(normalize({text, 3})) + "\n") {
        hash = (hash ^ static_cast<std::uint8_t>(byte)) * 0x100000001B3;
      }
    }
    char hex[17];
    std::snprintf(hex, sizeof hex, "%016llx", static_cast<unsigned long long>(hash));
    EXPECT_EQ(blocks[block].get<std::string>(), hex) << "code points from " << block * 0x1000;
  }
}

}  // namespace
}  // namespace blip::text
