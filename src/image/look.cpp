// The perceptual hash that the package imagehash calls phash, bit for bit. It is written here
// because Debian 12 has no library that computes a perceptual hash, and because hashes equal to
// those of the package can be compared with ones that people have.
#include "image/look.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <numbers>
#include <vector>

#include "image/image.h"
#include "image/resize.h"

namespace blip::image {
namespace {

constexpr std::size_t kSide = 32, kLow = 8;

// Sums of pixels are whole numbers times cosines: what is smaller than this is a zero that was
// rounded. Without it the bits of a flat or mirrored picture would be those of the rounding.
constexpr double kNothing = 1e-6;

using Block = std::array<double, kLow * kLow>;

// Pillow's convert("L"): the luma of ITU-R 601-2 in 16 bits, rounded.
std::uint8_t luma(const std::uint8_t* pixel) {
  return static_cast<std::uint8_t>(
      (pixel[0] * 19595u + pixel[1] * 38470u + pixel[2] * 7471u + 0x8000u) >> 16);
}

// Grey in all three colours, as the resize has three.
Rgb grey_of(const std::uint8_t* rgb, int width, int height) {
  Rgb grey{width, height, {}};
  grey.pixels.resize(static_cast<std::size_t>(width) * static_cast<std::size_t>(height) * 3);
  for (std::size_t i = 0; i < grey.pixels.size(); i += 3)
    grey.pixels[i] = grey.pixels[i + 1] = grey.pixels[i + 2] = luma(rgb + i);
  return grey;
}

// cosines[k * kSide + i] of the DCT-II: 2 cos(pi k (2 i + 1) / (2 kSide)).
std::array<double, kLow * kSide> make_cosines() {
  std::array<double, kLow * kSide> cosines{};
  for (std::size_t k = 0; k < kLow; ++k)
    for (std::size_t i = 0; i < kSide; ++i)
      cosines[k * kSide + i] =
          2 * std::cos(std::numbers::pi * static_cast<double>(k * (2 * i + 1)) /
                       static_cast<double>(2 * kSide));
  return cosines;
}

// The lowest frequencies of a grey picture of kSide x kSide pixels.
Block low_frequencies(const Rgb& grey) {
  static const std::array<double, kLow* kSide> cosines = make_cosines();
  std::array<double, kLow * kSide> columns{};
  for (std::size_t k = 0; k < kLow; ++k)
    for (std::size_t y = 0; y < kSide; ++y)
      for (std::size_t x = 0; x < kSide; ++x)
        columns[k * kSide + x] += cosines[k * kSide + y] * grey.pixels[(y * kSide + x) * 3];
  Block block{};
  for (std::size_t k = 0; k < kLow; ++k)
    for (std::size_t l = 0; l < kLow; ++l) {
      double& sum = block[k * kLow + l];
      for (std::size_t x = 0; x < kSide; ++x)
        sum += cosines[l * kSide + x] * columns[k * kSide + x];
      if (std::abs(sum) < kNothing) sum = 0;
    }
  return block;
}

// The mean of the two in the middle.
double median(Block block) {
  std::sort(block.begin(), block.end());
  return (block[block.size() / 2 - 1] + block[block.size() / 2]) / 2;
}

}  // namespace

std::uint64_t perceptual_hash(const std::uint8_t* rgb, int width, int height) {
  const Block block = low_frequencies(
      resize(grey_of(rgb, width, height), kSide, kSide, vector_kernels(), Resampling::kLanczos));
  const double middle = median(block);
  std::uint64_t hash = 0;
  for (const double value : block) hash = hash << 1 | (value - middle > kNothing ? 1u : 0u);
  return hash;
}

}  // namespace blip::image
