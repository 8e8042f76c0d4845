// The bytes of a job's files.
#include <gtest/gtest.h>

#include "blip/error.h"
#include "jobs/key.h"
#include "jobs/rows.h"
#include "jobs/sidecar.h"
#include "jobs/wording.h"
#include "temporary_folder.h"

namespace blip::jobs {
namespace {

TEST(Keys, SetsHoldWhatWasPutIn) {
  KeySet set;
  EXPECT_FALSE(set.contains(key_of("a")));
  for (int i = 0; i < 5000; ++i) EXPECT_TRUE(set.insert(key_of(std::to_string(i))));
  for (int i = 0; i < 5000; ++i) EXPECT_FALSE(set.insert(key_of(std::to_string(i))));
  for (int i = 0; i < 10000; ++i) EXPECT_EQ(set.contains(key_of(std::to_string(i))), i < 5000);
  EXPECT_EQ(set.size(), 5000u);
  EXPECT_NE(key_of("a", 1), key_of("a"));
  EXPECT_NE(key_of("a", 1), key_of("a", 2));
}

TEST(Rows, FormatsAreToldByNames) {
  EXPECT_EQ(format_of("a/captions.jsonl", kCaptions), Format::kJsonl);
  EXPECT_EQ(format_of("metadata.jsonl", kCaptions), Format::kMetadata);
  EXPECT_EQ(format_of("metadata.jsonl", kMatches), Format::kJsonl);
  EXPECT_EQ(format_of("x.csv", kMatches), Format::kCsv);
  EXPECT_EQ(format_of("x.json", kCaptions), Format::kArray);
  EXPECT_EQ(message_of([&] { format_of("x.json", kMatches); }),
            "cannot tell the format of \"x.json\" by its name; scores go to files that end with "
            ".jsonl, .csv or .parquet");
  for (const char* bad : {"x", "x.txt", "x.jsonl/", "jsonl", ".csv", ".parquet"})
    EXPECT_NE(
        message_of([&] {
          format_of(bad, kAnswers);
        }).find("answers go to files that end with .jsonl, .csv, .json (VQA results) or .parquet"),
        std::string::npos)
        << bad;
}

std::string csv(const std::string& name, const std::string& text) {
  return row(Format::kCsv, "x.csv", kCaptions, {{"image", name}, {"caption", text}});
}

TEST(Rows, CsvQuotesWhatItMust) {
  EXPECT_EQ(preamble(Format::kCsv, kCaptions), "image,caption\n");
  EXPECT_EQ(csv("a.png", "a cat"), "a.png,a cat\n");
  EXPECT_EQ(csv("a,b.png", "a \"cat\""), "\"a,b.png\",\"a \"\"cat\"\"\"\n");
  EXPECT_EQ(csv("a\nb", "\r"), "\"a\nb\",\"\r\"\n");
  EXPECT_EQ(csv(" a", "b "), "\" a\",\"b \"\n");
  EXPECT_EQ(csv("", "\xc3\xa4"), ",\xc3\xa4\n");
  const Json bytes{{"image", "\xff.png"}, {"image_bytes", "/y5wbmc="}, {"caption", "x"}};
  EXPECT_NE(
      message_of([&] { row(Format::kCsv, "", kCaptions, bytes); }).find("CSV cannot hold its name"),
      std::string::npos);
  const Json scores{{"image", "a"}, {"id", 7}, {"cosine", nullptr}, {"match_probability", 0.25}};
  EXPECT_EQ(row(Format::kCsv, "", kMatches, scores), "a,,0.25,\n");
}

TEST(Rows, MetadataNamesPicturesFromItsFolder) {
  const auto name = [](const std::string& picture) {
    return Json::parse(row(Format::kMetadata, "data/train/metadata.jsonl", kCaptions,
                           {{"image", picture}, {"caption", "t"}}));
  };
  EXPECT_EQ(name("data/train/a.png"), (Json{{"file_name", "a.png"}, {"text", "t"}}));
  EXPECT_EQ(name("./data/train/sub/b.png")["file_name"], "sub/b.png");
  EXPECT_EQ(name("data/c.png")["file_name"], "../c.png");
}

TEST(Rows, CocoNumbersComeFromNames) {
  EXPECT_EQ(coco_id("val/COCO_val2014_000000391895.jpg"), 391895);
  EXPECT_EQ(coco_id("12.png"), 12);
  EXPECT_EQ(coco_id("a.png"), "a");
  EXPECT_EQ(coco_id("99999999999999999999.png"), "99999999999999999999");
}

TEST(Rows, ArraysHoldWhatOtherProgramsRead) {
  const Json answer{{"image", "a.png"}, {"question_id", 3}, {"answer", "yes"}, {"score", 1}};
  EXPECT_EQ(row(Format::kArray, "", kAnswers, answer), "{\"question_id\":3,\"answer\":\"yes\"}\n");
  for (const Json& without :
       {Json{{"answer", "yes"}}, Json{{"answer", "yes"}, {"question_id", nullptr}}})
    EXPECT_NE(message_of([&] {
                row(Format::kArray, "", kAnswers, without);
              }).find("VQA results need the \"question_id\""),
              std::string::npos);
  EXPECT_EQ(row(Format::kArray, "", kPairs, {{"image", "a.png"}, {"text", "b"}}),
            "{\"image\":\"a.png\",\"caption\":\"b\"}\n");
}

class Files : public InFolder {};

TEST_F(Files, CocoResultsAreWrittenFromRows) {
  const std::string rows = rows_path(Format::kArray, path("r.json"));
  EXPECT_EQ(rows, path("r.json.rows"));
  std::string array;
  const auto take = [&array](std::string_view text) { array += text; };
  write("r.json.rows", "");
  write_array(rows, take);
  EXPECT_EQ(Json::parse(array), Json::array());
  array.clear();
  write("r.json.rows",
        row(Format::kArray, rows, kCaptions, {{"image", "1.png"}, {"caption", "a"}}) +
            row(Format::kArray, rows, kCaptions, {{"image", "2.png"}, {"caption", "b"}}));
  EXPECT_EQ(write_array(rows, take), 0u);
  EXPECT_EQ(array,
            "[\n{\"image_id\":1,\"caption\":\"a\"},\n{\"image_id\":2,\"caption\":\"b\"}\n]\n");
}

TEST_F(Files, IdsThatComeAgainAreCounted) {
  const std::string rows = write("rows",
                                 "{\"image_id\":\"a,\\\"b\",\"caption\":\"1\"}\n"
                                 "{\"image_id\":\"a,\\\"c\",\"caption\":\"2\"}\n"
                                 "{\"image_id\":7,\"caption\":\"3\"}\n"
                                 "{\"image_id\":\"a,\\\"b\",\"caption\":\"4\"}\n"
                                 "{\"image_id\":7,\"caption\":\"5\"}\n");
  EXPECT_EQ(write_array(rows, [](std::string_view) {}), 2u);
}

TEST_F(Files, JsonSidecarsHoldObjects) {
  EXPECT_EQ(sidecar_text(".txt", "a \"cat\""), "a \"cat\"");
  EXPECT_EQ(sidecar_text(".json", "a \"cat\""), "{\"caption\":\"a \\\"cat\\\"\"}");
}

TEST_F(Files, SidecarsLieBesidePictures) {
  EXPECT_EQ(sidecar_path("a/b.c.jpg", ".txt"), "a/b.c.txt");
  EXPECT_EQ(sidecar_path("a.b/c", ".txt"), "a.b/c.txt");
  EXPECT_EQ(sidecar_path("a/.png", ".txt"), "a/.png.txt");
}

TEST_F(Files, SidecarsThatExistAreAddedTo) {
  const std::string there = write("a.txt", "old words\r\n\n"), none = path("b.txt"),
                    empty = write("c.txt", "");
  EXPECT_TRUE(has_content(there));
  EXPECT_FALSE(has_content(none));
  EXPECT_FALSE(has_content(empty));
  EXPECT_EQ(sidecar_content(read_sidecar(there), "new", Existing::kOverwrite), "new\n");
  EXPECT_EQ(sidecar_content(read_sidecar(there), "new", Existing::kAppend), "old words, new\n");
  EXPECT_EQ(sidecar_content(read_sidecar(there), "new", Existing::kPrepend), "new, old words\n");
  for (const std::string& path : {none, empty}) {
    EXPECT_EQ(sidecar_content(read_sidecar(path), "new", Existing::kAppend), "new\n");
    EXPECT_EQ(sidecar_content(read_sidecar(path), "new", Existing::kPrepend), "new\n");
  }
  EXPECT_NE(message_of([] { parse_existing("replace"); }).find("none of skip, overwrite"),
            std::string::npos);
}

TEST_F(Files, WordsAroundACaption) {
  const std::string picture = write("cats/tom.jpg", "");
  write("cats/tom.txt", "grey, sitting\n");
  const auto text = [&](const WordingOptions& options) {
    return Wording(options, "a picture of").apply(picture, "a cat");
  };
  EXPECT_EQ(text({}), "a cat");
  EXPECT_TRUE(Wording({}, "").is_plain());
  WordingOptions options;
  options.prefix = "<";
  options.suffix = ">";
  options.trigger = "sks";
  EXPECT_EQ(text(options), "<sks, a cat>");
  EXPECT_FALSE(Wording(options, "").is_plain());
  options.include_prompt = true;
  EXPECT_EQ(text(options), "<sks, a picture of a cat>");
  options = {};
  options.pattern = "{{{caption}}} of {name} in {folder}: {tags}{tags}";
  EXPECT_EQ(text(options), "{a cat} of tom in cats: grey, sittinggrey, sitting");
  options.tags_extension = ".tags";
  EXPECT_EQ(text(options), "{a cat} of tom in cats: ");
}

TEST(Templates, WhatIsNoFieldIsRefused) {
  const auto message = [](const std::string& pattern) {
    WordingOptions options;
    options.pattern = pattern;
    return message_of([&] { Wording(options, ""); });
  };
  EXPECT_NE(message("{captions}").find("{captions} is no field"), std::string::npos);
  EXPECT_NE(message("{}").find("{} is no field"), std::string::npos);
  for (const char* bad : {"{", "}", "a {caption", "caption}", "{{}"})
    EXPECT_NE(message(bad).find("a brace stands alone"), std::string::npos) << bad;
  EXPECT_EQ(message("{{}}"), "none");
}

}  // namespace
}  // namespace blip::jobs
