// The perceptual hash against imagehash's (tests/reference/looks.py).
#include "image/look.h"

#include <gtest/gtest.h>

#include <bit>
#include <map>

#include "blip/error.h"
#include "support.h"

namespace blip::image {
namespace {

const std::string kFolder = BLIP_TEST_DATA "/image/";

std::uint64_t look_of(const std::string& file) {
  const std::string bytes = read_all(kFolder + file);
  const Rgb rgb = decode(bytes_of(bytes), file, {});
  return perceptual_hash(rgb.pixels.data(), rgb.width, rgb.height);
}

std::map<std::string, std::uint64_t> goldens() {
  std::map<std::string, std::uint64_t> all;
  std::ifstream list(kFolder + "looks.txt");
  std::string file;
  for (std::uint64_t look = 0; list >> file >> std::hex >> look;) all[file] = look;
  return all;
}

TEST(Look, IsThatOfImagehash) {
  const auto all = goldens();
  ASSERT_GE(all.size(), 170u);
  for (const auto& [file, look] : all) {
    try {
      EXPECT_EQ(look_of(file), look) << file;
    } catch (const Error& error) {
      // Builds without a codec.
      EXPECT_NE(std::string(error.what()).find("this build"), std::string::npos) << error.what();
    }
  }
}

TEST(Look, CopiesAreNearAndOtherPicturesAreNot) {
  const auto all = goldens();
  for (const std::string name : {"clock", "cat-bus"}) {
    const std::uint64_t original = all.at("../../../demo/scenes/" + name + ".png");
    const auto distance = [&](const std::string& file) {
      return std::popcount(all.at(file) ^ original);
    };
    for (const std::string copy : {"small.png", "wide.png", "q20.jpg", "bright.jpg"})
      EXPECT_LE(distance("looks/" + name + "-" + copy), 4) << copy;
    EXPECT_GT(distance("looks/" + name + "-mirrored.png"), 4);
  }
  for (const auto& [a, look] : all) {
    for (const auto& [b, other] : all) {
      const bool both_are_scenes = a.starts_with("../") && b.starts_with("../");
      if (a < b && both_are_scenes) {
        EXPECT_GT(std::popcount(look ^ other), 4) << a << ' ' << b;
      }
    }
  }
}

TEST(Look, OneColourHasNone) {
  for (const std::uint8_t value : {0, 1, 128, 255}) {
    const std::vector<std::uint8_t> pixels(std::size_t{3} * 50 * 40, value);
    EXPECT_EQ(perceptual_hash(pixels.data(), 50, 40), value == 0 ? 0 : std::uint64_t{1} << 63);
  }
}

}  // namespace
}  // namespace blip::image
