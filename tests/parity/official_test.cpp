// Checkpoints of the official form with the official code's answers. They are tens of megabytes, so
// not in the repository: they lie beside the checkout, or where BLIP_OFFICIAL_CHECKPOINTS says (a
// folder with checkpoints/{caption,itm,vqa}.pth, images/ and expected.json). Skipped where they are
// not.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "golden.h"

namespace blip::parity {
namespace {

namespace fs = std::filesystem;

class Official : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (const char* given = std::getenv("BLIP_OFFICIAL_CHECKPOINTS")) {
      folder_ = given;
      return;
    }
    const fs::path archive = fs::path(BLIP_SOURCE_DIR) / "../shared/sophon/seed-form-tiny.tar.zst";
    if (!fs::exists(archive)) return;
    std::string pattern = (fs::temp_directory_path() / "blip-official-XXXXXX").string();
    if (!mkdtemp(pattern.data())) return;
    unpacked_ = pattern;
    const std::string command =
        "zstd -qdc --long=30 '" + archive.string() + "' 2>/dev/null | tar -x -C '" +
        unpacked_.string() +
        "' --wildcards '*/checkpoints' '*/images' '*/expected.json' 2>/dev/null";
    if (std::system(command.c_str()) != 0) return;
    for (const auto& entry : fs::recursive_directory_iterator(unpacked_))
      if (entry.path().filename() == "expected.json") folder_ = entry.path().parent_path();
  }
  static void TearDownTestSuite() {
    std::error_code ignored;
    if (!unpacked_.empty()) fs::remove_all(unpacked_, ignored);
  }

  void SetUp() override {
    if (folder_.empty()) GTEST_SKIP() << "no official checkpoints here";
    std::ifstream file(folder_ / "expected.json");
    expected_ = Json::parse(file);
  }

  Session session(const char* checkpoint) const {
    return Session(load((folder_ / "checkpoints" / checkpoint).string(), 2));
  }
  Image image(const Json& item) const {
    return Image::from_file((folder_ / "images" / item.at("image").get<std::string>()).string());
  }

  Json expected_;

 private:
  static inline fs::path folder_, unpacked_;
};

TEST_F(Official, Captions) {
  Session s = session("caption.pth");
  for (const Json& item : expected_.at("caption")) {
    CaptionOptions options;
    options.generate.beams = item.at("beams");
    EXPECT_EQ(s.caption(s.encode(image(item)), options).token_ids,
              item.at("ids").get<std::vector<std::int32_t>>())
        << item.at("image");
  }
}

TEST_F(Official, Matches) {
  Session s = session("itm.pth");
  for (const Json& item : expected_.at("itm")) {
    const Match match =
        s.match(s.encode(image(item)), {item.at("text").get<std::string>()}).front();
    EXPECT_NEAR(match.match_probability.value(), item.at("probability").get<double>(), 1e-4)
        << item.dump();
    EXPECT_NEAR(match.cosine.value(), item.at("cosine").get<double>(), 1e-5) << item.dump();
  }
}

TEST_F(Official, Answers) {
  Session s = session("vqa.pth");
  for (const Json& item : expected_.at("vqa")) {
    AskOptions options;
    options.generate.beams = item.at("beams");
    const Generation answer =
        s.ask(s.encode(image(item)), item.at("question").get<std::string>(), options);
    EXPECT_EQ(answer.token_ids, item.at("ids").get<std::vector<std::int32_t>>()) << item.dump();
  }
}

}  // namespace
}  // namespace blip::parity
