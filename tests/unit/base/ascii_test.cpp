#include "base/ascii.h"

#include <gtest/gtest.h>

namespace blip {
namespace {

TEST(Ascii, TrimsSpacesAndTabsAlone) {
  EXPECT_EQ(trimmed(" \ta b\t "), "a b");
  EXPECT_EQ(trimmed("a\n"), "a\n");
  EXPECT_EQ(trimmed(" \t"), "");
  EXPECT_EQ(trimmed(""), "");
}

TEST(Ascii, BlankIsWhiteSpaceOfAllKinds) {
  EXPECT_TRUE(is_blank(""));
  EXPECT_TRUE(is_blank(" \t\r\n\v\f"));
  EXPECT_FALSE(is_blank(" ."));
  EXPECT_FALSE(is_blank("\xC2\xA0"));  // a no-break space is no ASCII
}

TEST(Ascii, LowersAsciiAlone) {
  EXPECT_EQ(lower("A\xC3\x89z@[`{"), "a\xC3\x89z@[`{");
  EXPECT_EQ(hex_value('f'), 15);
  EXPECT_EQ(hex_value('F'), 15);
  EXPECT_EQ(hex_value('0'), 0);
  EXPECT_EQ(hex_value('g'), -1);
}

}  // namespace
}  // namespace blip
