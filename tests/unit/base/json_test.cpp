// The bounded JSON reader: the values it gives are nlohmann's, and what is too deep, too broad or
// ambiguous is refused.
#include "base/json.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>

namespace blip {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

std::string reason(const std::string& text, const JsonLimits& limits = {}) {
  try {
    read_json<json>(text, limits);
  } catch (const JsonError& error) {
    return error.what();
  }
  return "";
}

std::string repeated(const std::string& text, std::size_t count) {
  std::string all;
  for (std::size_t i = 0; i < count; ++i) all += text;
  return all;
}

TEST(Json, GivesWhatTheLibraryGives) {
  for (const std::string text :
       {"null", "true", " -3 ", "18446744073709551615", "1.5e3", "\"\\u00e9\\ud83d\\ude00\"", "[]",
        "{}", "[1,[2,[]],{}]", R"({"b":{"c":[1,2,{"d":null}]},"a":"x","":0})"}) {
    EXPECT_EQ(read_json<json>(text), json::parse(text)) << text;
    EXPECT_EQ(read_json<ordered_json>(text).dump(), ordered_json::parse(text).dump()) << text;
  }
}

TEST(Json, KeepsTheOrderOfMembers) {
  EXPECT_EQ(read_json<ordered_json>(R"({"z":1,"a":{"y":2,"b":3}})").dump(),
            R"({"z":1,"a":{"y":2,"b":3}})");
}

TEST(Json, SaysWhereItIsNotJson) {
  EXPECT_EQ(reason("{\"a\": ").substr(0, 36), "parse error at line 1, column 7: syn");
  for (const std::string text :
       {"", "[1,]", "{\"a\" 1}", "\"\xff\"", "[1] 2", "1e999", "nul", "'a'", "[1"}) {
    EXPECT_NE(reason(text), "") << text;
  }
}

TEST(Json, DepthIsBounded) {
  EXPECT_EQ(reason(repeated("[", 64) + repeated("]", 64)), "");
  EXPECT_EQ(reason(repeated("[", 65) + repeated("]", 65)), "nested deeper than 64 levels");
  EXPECT_EQ(reason(repeated("{\"a\":", 65) + "1" + repeated("}", 65)),
            "nested deeper than 64 levels");
  EXPECT_EQ(reason(repeated("[", 10'000'000)), "nested deeper than 64 levels");
  EXPECT_EQ(reason("[[1]]", {.max_depth = 1}), "nested deeper than 1 levels");
}

TEST(Json, NumberOfValuesIsBounded) {
  EXPECT_EQ(reason("[1,1,1]", {.max_values = 4}), "");
  EXPECT_EQ(reason("[1,1,1,1]", {.max_values = 4}), "more than 4 values");
  EXPECT_EQ(reason("[" + repeated("1,", 2'000'000) + "1]"), "more than 1000000 values");
  EXPECT_EQ(reason(R"({"a":1,"b":{}})", {.max_values = 2}), "more than 2 values");
}

TEST(Json, SizeIsBounded) {
  EXPECT_EQ(reason("[1]  ", {.max_bytes = 4}), "5 bytes; at most 4 are read");
}

TEST(Json, AKeyThatAppearsTwiceIsAmbiguous) {
  EXPECT_EQ(reason(R"({"a":1,"b":2,"a":3})"), "the key \"a\" appears twice in one object");
  EXPECT_EQ(reason(R"({"a":{"a":1},"b":[{"a":2},{"a":3}]})"), "");
}

// The ordered kind searches all members before each insertion when it is left to itself.
TEST(Json, BroadObjectsTakeLinearTime) {
  std::string text = "{";
  for (int i = 0; i < 300'000; ++i) text += "\"k" + std::to_string(i) + "\":0,";
  text.back() = '}';
  EXPECT_EQ(read_json<ordered_json>(text).size(), 300'000u);
}

TEST(Json, ShownIsShort) {
  EXPECT_EQ(shown(json(3)), "3");
  EXPECT_EQ(shown(json("\xff\xc3\xa9")), "\"\\ufffd\\u00e9\"");
  EXPECT_EQ(shown(json(std::string(1'000'000, 'x'))), '"' + std::string(56, 'x').append("..."));
  EXPECT_EQ(shown(json::parse("[" + repeated("1,", 100) + "1]")).size(), 60u);
}

TEST(JsonText, IsOneLineAndAlwaysUtf8) {
  EXPECT_EQ(json_text(ordered_json{{"b", "x\ny"}, {"a", {1, 2}}}), R"({"b":"x\ny","a":[1,2]})");
  EXPECT_EQ(json_text(json("\xC3\xA9\xFF")), "\"\xC3\xA9\xEF\xBF\xBD\"");
}

}  // namespace
}  // namespace blip
