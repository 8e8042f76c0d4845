// A word's attention over its picture.
#include "server/heat_map.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

namespace blip::server {
namespace {

Image gray(int width, int height) {
  const std::vector<std::uint8_t> rgb(
      static_cast<std::size_t>(width) * static_cast<std::size_t>(height) * 3, 100);
  return Image::from_rgb(rgb.data(), width, height);
}

Image decoded(const std::string& png) { return Image::from_memory(std::as_bytes(std::span(png))); }

std::vector<int> pixel(const Image& image, int x, int y) {
  const std::uint8_t* p =
      image.data() + (static_cast<std::size_t>(y) * static_cast<std::size_t>(image.width()) +
                      static_cast<std::size_t>(x)) *
                         3;
  return {p[0], p[1], p[2]};
}

TEST(HeatMap, ColoursWhereTheWeightIsAndNothingElse) {
  const std::vector<float> weights = {0, 0, 0, 0.6f, 0, 0, 0, 0, 0};
  const Image map = decoded(heat_map_png(gray(90, 63), weights, 3));
  ASSERT_EQ(std::pair(map.width(), map.height()), std::pair(90, 63));
  EXPECT_EQ(pixel(map, 89, 0), (std::vector<int>{100, 100, 100}));
  EXPECT_EQ(pixel(map, 89, 30), (std::vector<int>{100, 100, 100}));
  // The left patch of the middle row: three quarters yellow, 255 230 30.
  EXPECT_EQ(pixel(map, 5, 31), (std::vector<int>{216, 198, 48}));
}

TEST(HeatMap, LargePicturesAreShrunkSmallOnesKept) {
  const std::vector<float> even(4, 0.25f);
  const Image large = decoded(heat_map_png(gray(3000, 1500), even, 2));
  EXPECT_EQ(std::pair(large.width(), large.height()), std::pair(1024, 512));
  const Image tiny = decoded(heat_map_png(gray(1, 5000), even, 2));
  EXPECT_EQ(std::pair(tiny.width(), tiny.height()), std::pair(1, 1024));
  const Image one = decoded(heat_map_png(gray(1, 1), std::vector<float>{1}, 1));
  EXPECT_EQ(pixel(one, 0, 0), (std::vector<int>{216, 198, 48}));
}

TEST(HeatMap, NoWeightAtAllLeavesThePicture) {
  const Image map = decoded(heat_map_png(gray(8, 8), std::vector<float>(9), 3));
  EXPECT_EQ(pixel(map, 4, 4), (std::vector<int>{100, 100, 100}));
}

}  // namespace
}  // namespace blip::server
