#include "server/heat_map.h"

#include <png.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "blip/error.h"

namespace blip::server {
namespace {

using Rgb = std::array<double, 3>;

constexpr double kOpacity = 0.75;  // of the largest weight
constexpr Rgb kWeak{128, 0, 160}, kMiddle{235, 40, 20}, kStrong{255, 230, 30};

// strength: 0 to 1.
Rgb colour_of(double strength) {
  const bool upper = strength > 0.5;
  const Rgb &from = upper ? kMiddle : kWeak, &to = upper ? kStrong : kMiddle;
  const double share = upper ? 2 * strength - 1 : 2 * strength;
  Rgb colour;
  for (std::size_t c = 0; c < 3; ++c) colour[c] = from[c] + share * (to[c] - from[c]);
  return colour;
}

// Where a pixel of `size` lies between the centres of `side` patches.
struct Between {
  int before, after;
  double share;  // of `after`
};

Between between(int pixel, int size, int side) {
  const double at = std::clamp((pixel + 0.5) * side / size - 0.5, 0.0, side - 1.0);
  const int before = static_cast<int>(at);
  return {before, std::min(before + 1, side - 1), at - before};
}

// The mean of the picture's pixels that one pixel of a smaller one covers.
Rgb mean_pixel(const Image& picture, int x, int y, int width, int height) {
  const auto first = [](int i, int to, int from) {
    return static_cast<int>(std::int64_t{i} * from / to);
  };
  const int x0 = first(x, width, picture.width()),
            x1 = std::max(x0 + 1, first(x + 1, width, picture.width()));
  const int y0 = first(y, height, picture.height()),
            y1 = std::max(y0 + 1, first(y + 1, height, picture.height()));
  Rgb sum{};
  for (int row = y0; row < y1; ++row) {
    const std::uint8_t* pixel = picture.data() + (static_cast<std::size_t>(row) *
                                                      static_cast<std::size_t>(picture.width()) +
                                                  static_cast<std::size_t>(x0)) *
                                                     3;
    for (int i = 0; i < (x1 - x0) * 3; ++i) sum[static_cast<std::size_t>(i % 3)] += pixel[i];
  }
  for (double& value : sum) value /= static_cast<double>(x1 - x0) * (y1 - y0);
  return sum;
}

std::string png_of(const std::vector<std::uint8_t>& rgb, int width, int height) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = static_cast<png_uint_32>(width);
  image.height = static_cast<png_uint_32>(height);
  image.format = PNG_FORMAT_RGB;
  png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(image);
  std::string bytes(size, '\0');
  if (png_image_write_to_memory(&image, bytes.data(), &size, 0, rgb.data(), 0, nullptr) == 0)
    throw Error(ErrorCode::kIo, std::string("cannot write a PNG: ") + image.message);
  bytes.resize(size);
  return bytes;
}

}  // namespace

std::string heat_map_png(const Image& picture, std::span<const float> weights, int side) {
  const double shrink = std::min(
      1.0, static_cast<double>(kHeatMapSide) / std::max(picture.width(), picture.height()));
  const int width = std::max(1, static_cast<int>(std::lround(picture.width() * shrink)));
  const int height = std::max(1, static_cast<int>(std::lround(picture.height() * shrink)));
  const double largest =
      std::max(1e-12, static_cast<double>(*std::max_element(weights.begin(), weights.end())));
  std::vector<std::uint8_t> rgb;
  rgb.reserve(static_cast<std::size_t>(width) * static_cast<std::size_t>(height) * 3);
  for (int y = 0; y < height; ++y) {
    const Between down = between(y, height, side);
    for (int x = 0; x < width; ++x) {
      const Between across = between(x, width, side);
      const auto along = [&](int row) {
        const float* line = weights.data() + static_cast<std::ptrdiff_t>(row) * side;
        return line[across.before] * (1 - across.share) + line[across.after] * across.share;
      };
      const double strength =
          (along(down.before) * (1 - down.share) + along(down.after) * down.share) / largest;
      const Rgb pixel = mean_pixel(picture, x, y, width, height), colour = colour_of(strength);
      const double opacity = kOpacity * strength;
      for (std::size_t c = 0; c < 3; ++c)
        rgb.push_back(
            static_cast<std::uint8_t>(std::lround(pixel[c] + opacity * (colour[c] - pixel[c]))));
    }
  }
  return png_of(rgb, width, height);
}

}  // namespace blip::server
