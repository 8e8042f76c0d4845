// What is written where.
#include "cli/console.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace blip::cli {
namespace {

TEST(JsonNumber, IsTheShortestThatReadsBack) {
  EXPECT_EQ(json_number(0.9871f).dump(), "0.9871");
  EXPECT_EQ(json_number(-0.1f).dump(), "-0.1");
  EXPECT_EQ(json_number(1e-20f).dump(), "1e-20");
  EXPECT_EQ(json_number(0.0f).dump(), "0.0");
  for (float value = 1e-3f; value < 1e3f; value *= 1.0137f)
    EXPECT_EQ(json_number(value).get<float>(), value);
}

TEST(JsonNumber, WhatJsonLacksIsNull) {
  EXPECT_TRUE(json_number(std::numeric_limits<float>::quiet_NaN()).is_null());
  EXPECT_TRUE(json_number(std::numeric_limits<float>::infinity()).is_null());
}

TEST(Format, Milliseconds) {
  EXPECT_EQ(json_ms(1.23456).dump(), "1.235");
  EXPECT_EQ(format_ms(1.25), "1.2 ms");
  EXPECT_EQ(format_ms(123.4), "123 ms");
}

TEST(Format, ControlCharactersCannotReachTheTerminal) {
  EXPECT_EQ(printable("a\tb\nc\r\\ \x1b[31m\x7f"), "a\\tb\\nc\\r\\\\ \\x1b[31m\\x7f");
  EXPECT_EQ(printable("\xc2\x9b"
                      "31m \xe8 \xed\xa0\x80 \xe2\x80\xae"),
            "\\xc2\\x9b31m \\xe8 \\xed\\xa0\\x80 \\xe2\\x80\\xae");
  EXPECT_EQ(printable_json("{\"a\":\"\xc2\x9b\"}"), "{\"a\":\"\\u009b\"}");
  EXPECT_EQ(printable("caf\xc3\xa9 \xf0\x9f\x90\xb1"), "caf\xc3\xa9 \xf0\x9f\x90\xb1");
}

TEST(Console, ResultsGoToStandardOutputAndTheRestToStandardError) {
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  Console console({.json = true, .quiet = false});
  console.line("text");
  console.object({{"image", "bad \xff name"}, {"n", 1}});
  console.input_failed("a.png", "no picture");
  console.note("note");
  console.warning("once");
  console.warning("once");
  EXPECT_EQ(testing::internal::GetCapturedStdout(),
            "text\n{\"image\":\"bad \xef\xbf\xbd "
            "name\",\"n\":1}\n{\"image\":\"a.png\",\"error\":\"no picture\"}\n");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "blip: note\nblip: warning: once\n");
  EXPECT_EQ(console.failures(), 1u);
}

TEST(Console, QuietKeepsErrors) {
  testing::internal::CaptureStderr();
  Console console({.json = false, .quiet = true});
  console.note("note");
  console.warning("warning");
  console.start_progress("pictures", 100);
  console.progress(50);
  console.input_failed("a.png", "no picture");
  console.input_failed("a.png", "a.png: no picture");
  console.error("error");
  EXPECT_EQ(testing::internal::GetCapturedStderr(),
            "blip: error: a.png: no picture\nblip: error: a.png: no picture\nblip: error: error\n");
}

}  // namespace
}  // namespace blip::cli
