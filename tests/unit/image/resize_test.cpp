// The bicubic resize against Pillow, for every instruction set of this machine, and the
// normalisation.
#include "image/resize.h"

#include <gtest/gtest.h>

#include <bit>
#include <limits>

#include "blip/error.h"
#include "support.h"

// The choice of targets comes before Highway.
// clang-format off
#include "core/vector_targets.h"
#include <hwy/targets.h>
// clang-format on

namespace blip::image {
namespace {

struct Case {
  std::uint32_t seed = 0;
  int width = 0, height = 0, new_width = 0, new_height = 0;
  std::uint64_t hash = 0;
};

std::vector<Case> cases() {
  std::vector<Case> all;
  std::ifstream list(case_file("resizes.txt"));
  for (Case c; list >> c.seed >> c.width >> c.height >> c.new_width >> c.new_height >> std::hex >>
               c.hash >> std::dec;)
    all.push_back(c);
  return all;
}

void expect_equal_pillow(const ResizeKernels& kernels) {
  const std::vector<Case> all = cases();
  ASSERT_GE(all.size(), 400u);
  for (const Case& c : all) {
    const Rgb resized =
        resize_bicubic(noise(c.width, c.height, c.seed), c.new_width, c.new_height, kernels);
    ASSERT_EQ(resized.width, c.new_width);
    ASSERT_EQ(resized.height, c.new_height);
    ASSERT_EQ(resized.pixels.size(),
              static_cast<std::size_t>(c.new_width) * static_cast<std::size_t>(c.new_height) * 3);
    EXPECT_EQ(hash(resized.pixels), c.hash)
        << "seed " << c.seed << ": " << c.width << " x " << c.height << " to " << c.new_width
        << " x " << c.new_height;
  }
}

TEST(Golden, PlainResizeEqualsPillows) { expect_equal_pillow(scalar_kernels()); }

TEST(Golden, VectorResizeEqualsPillowsOnEveryInstructionSet) {
  int tested = 0;
  for (const auto target : hwy::SupportedAndGeneratedTargets()) {
    SCOPED_TRACE(hwy::TargetName(target));
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    expect_equal_pillow(vector_kernels());
    ++tested;
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  EXPECT_GT(tested, 0);
}

TEST(Resize, FlatColourStaysFlat) {
  Rgb flat{37, 23, {}};
  for (int i = 0; i < 37 * 23; ++i) flat.pixels.insert(flat.pixels.end(), {0, 128, 255});
  for (const auto& [width, height] : {std::pair{5, 90}, {90, 5}, {384, 384}, {1, 1}}) {
    const Rgb resized = resize_bicubic(flat, width, height);
    for (std::size_t i = 0; i < resized.pixels.size(); ++i) {
      const int expected = i % 3 == 0 ? 0 : i % 3 == 1 ? 128 : 255;
      ASSERT_EQ(resized.pixels[i], expected);
    }
  }
}

TEST(Resize, SameSizeIsACopy) {
  const Rgb picture = noise(19, 13, 5);
  EXPECT_EQ(resize_bicubic(picture, 19, 13).pixels, picture.pixels);
}

// A filter of millions of weights is made piece by piece; the plain and the vector passes still
// agree.
TEST(Resize, ExtremeSides) {
  const Rgb wide = noise(700'000, 2, 6);
  EXPECT_EQ(resize_bicubic(wide, 40, 40, scalar_kernels()).pixels,
            resize_bicubic(wide, 40, 40, vector_kernels()).pixels);
  Rgb tall = noise(2, 700'000, 6);
  EXPECT_EQ(resize_bicubic(tall, 40, 40, scalar_kernels()).pixels,
            resize_bicubic(tall, 40, 40, vector_kernels()).pixels);
}

TEST(Resize, SidesBelowOneAreErrors) {
  for (const auto& [width, height] : {std::pair{0, 5}, {5, 0}, {-1, 5}}) {
    try {
      resize_bicubic(noise(4, 4, 1), width, height);
      FAIL();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kUsage);
      EXPECT_NE(std::string(error.what()).find("every side must be at least 1"), std::string::npos)
          << error.what();
    }
  }
}

TEST(Golden, NormalizationEqualsTheReferenceBitForBit) {
  std::ifstream list(case_file("normalized.txt"));
  Rgb ramp{256, 1, {}};
  for (int v = 0; v < 256; ++v)
    ramp.pixels.insert(ramp.pixels.end(), 3, static_cast<std::uint8_t>(v));
  std::vector<float> out(256 * 3);
  normalize(ramp, {}, out);
  for (std::size_t i = 0; i < out.size(); ++i) {
    std::uint32_t bits = 0;
    ASSERT_TRUE(list >> std::hex >> bits);
    EXPECT_EQ(std::bit_cast<std::uint32_t>(out[i]), bits)
        << "channel " << i / 256 << ", value " << i % 256;
  }
}

TEST(Normalize, WritesPlanes) {
  const Rgb picture{2, 1, {0, 51, 102, 153, 204, 255}};
  std::vector<float> out(6);
  normalize(picture, {.mean = {0, 0, 0}, .std = {1, 0.5f, 0.25f}}, out);
  EXPECT_EQ(out, (std::vector<float>{0.0f, 153 / 255.0f, 51 / 255.0f / 0.5f, 204 / 255.0f / 0.5f,
                                     102 / 255.0f / 0.25f, 4.0f}));
}

TEST(Normalize, OutputOfAnotherSizeIsAnError) {
  std::vector<float> out(5);
  EXPECT_THROW(normalize(noise(2, 1, 0), {}, out), Error);
}

}  // namespace
}  // namespace blip::image
