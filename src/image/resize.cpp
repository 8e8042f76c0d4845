#include "image/resize.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "blip/error.h"

// Coefficients are equal to Pillow's only if no multiplication and addition are fused into one rounding.
#if defined(__clang__)
#pragma clang fp contract(off)
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif

namespace blip::image {
namespace {

// Coefficients are made for so many columns at a time that they take at most this many weights.
constexpr int kMaxTileWeights = 1 << 20;

constexpr double kSupport = 2.0;  // of the bicubic, in output pixels

// Cubic convolution with a = -0.5.
double bicubic(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

std::uint8_t clip8(std::int32_t sum) { return static_cast<std::uint8_t>(std::clamp(sum >> kPrecisionBits, 0, 255)); }

// When a picture shrinks, the filter widens with it: that is the antialiasing.
double filter_scale(int in, int out) { return std::max(1.0, static_cast<double>(in) / out); }

int filter_taps(int in, int out) { return static_cast<int>(std::ceil(kSupport * filter_scale(in, out))) * 2 + 1; }

void horizontal_scalar(const Rgb& source, int row0, const Filter& filter, int first, int last, Plane& out) {
  const std::size_t stride = static_cast<std::size_t>(source.width) * 3;
  for (int y = 0; y < out.height; ++y) {
    const std::uint8_t* in = source.pixels.data() + stride * static_cast<std::size_t>(row0 + y);
    std::uint8_t* to = out.row(y) + std::size_t{3} * static_cast<std::size_t>(first);
    for (std::size_t i = 0; i < static_cast<std::size_t>(last - first); ++i, to += 3) {
      const std::int32_t* weights = filter.weights.data() + i * static_cast<std::size_t>(filter.taps);
      std::int32_t sums[3] = {1 << (kPrecisionBits - 1), 1 << (kPrecisionBits - 1), 1 << (kPrecisionBits - 1)};
      const std::uint8_t* pixel = in + std::size_t{3} * static_cast<std::size_t>(filter.start[i]);
      for (int j = 0; j < filter.count[i]; ++j, pixel += 3) {
        for (int c = 0; c < 3; ++c) sums[c] += pixel[c] * weights[j];
      }
      for (int c = 0; c < 3; ++c) to[c] = clip8(sums[c]);
    }
  }
}

void vertical_scalar(const Plane& in, int row0, const Filter& filter, Rgb& out) {
  const std::size_t size = static_cast<std::size_t>(out.width) * 3;
  for (std::size_t y = 0; y < static_cast<std::size_t>(out.height); ++y) {
    const std::int32_t* weights = filter.weights.data() + y * static_cast<std::size_t>(filter.taps);
    const std::uint8_t* rows = in.row(filter.start[y] - row0);
    for (std::size_t x = 0; x < size; ++x) {
      std::int32_t sum = 1 << (kPrecisionBits - 1);
      for (int j = 0; j < filter.count[y]; ++j) sum += rows[in.stride * static_cast<std::size_t>(j) + x] * weights[j];
      out.pixels[y * size + x] = clip8(sum);
    }
  }
}

// Rows row0 to row0 + out.height of the source, resized to out.width.
void run_horizontal(const Rgb& source, int row0, const ResizeKernels& kernels, Plane& out) {
  if (out.width == source.width) {
    const std::size_t size = static_cast<std::size_t>(source.width) * 3;
    for (int y = 0; y < out.height; ++y) std::memcpy(out.row(y), source.pixels.data() + size * static_cast<std::size_t>(row0 + y), size);
    return;
  }
  const int tile = std::max(1, kMaxTileWeights / filter_taps(source.width, out.width));
  for (int first = 0; first < out.width; first += std::min(tile, out.width - first)) {
    const int last = first + std::min(tile, out.width - first);
    kernels.horizontal(source, row0, bicubic_filter(source.width, out.width, first, last), first, last, out);
  }
}

Rgb crop_rows(const Plane& plane) {
  Rgb out{plane.width, plane.height, {}};
  const std::size_t size = static_cast<std::size_t>(plane.width) * 3;
  out.pixels.resize(size * static_cast<std::size_t>(plane.height));
  for (int y = 0; y < plane.height; ++y) std::memcpy(out.pixels.data() + size * static_cast<std::size_t>(y), plane.row(y), size);
  return out;
}

}  // namespace

Filter bicubic_filter(int in, int out, int first, int last) {
  const double scale = static_cast<double>(in) / out, filter_width = filter_scale(in, out);
  const double support = kSupport * filter_width, inverse = 1.0 / filter_width;
  Filter filter;
  filter.taps = filter_taps(in, out);
  filter.start.reserve(static_cast<std::size_t>(last - first));
  filter.count.reserve(static_cast<std::size_t>(last - first));
  filter.weights.resize(static_cast<std::size_t>(last - first) * static_cast<std::size_t>(filter.taps));
  std::vector<double> exact(static_cast<std::size_t>(filter.taps));
  std::int32_t* weights = filter.weights.data();
  for (int i = first; i < last; ++i, weights += filter.taps) {
    const double center = (i + 0.5) * scale;
    const int start = std::max(0, static_cast<int>(center - support + 0.5));
    const int end = std::min(in, static_cast<int>(center + support + 0.5));
    double total = 0.0;
    for (int j = 0; j < end - start; ++j) {
      exact[static_cast<std::size_t>(j)] = bicubic((j + start - center + 0.5) * inverse);
      total += exact[static_cast<std::size_t>(j)];
    }
    for (int j = 0; j < end - start; ++j) {
      const double weight = exact[static_cast<std::size_t>(j)] / (total != 0.0 ? total : 1.0);
      weights[j] = static_cast<std::int32_t>(weight * (1 << kPrecisionBits) + (weight < 0 ? -0.5 : 0.5));
    }
    filter.start.push_back(start);
    filter.count.push_back(end - start);
  }
  return filter;
}

ResizeKernels scalar_kernels() { return {horizontal_scalar, vertical_scalar}; }

Rgb resize_bicubic(const Rgb& source, int width, int height, const ResizeKernels& kernels) {
  if (width <= 0 || height <= 0 || source.width <= 0 || source.height <= 0) {
    throw Error(ErrorCode::kUsage, "resize: " + std::to_string(source.width) + " x " + std::to_string(source.height) + " to " +
                                       std::to_string(width) + " x " + std::to_string(height) + " pixels; every side must be at least 1");
  }
  if (width == source.width && height == source.height) return source;
  if (height == source.height) {
    Plane resized(width, height);
    run_horizontal(source, 0, kernels, resized);
    return crop_rows(resized);
  }
  const Filter filter = bicubic_filter(source.height, height, 0, height);
  const int row0 = filter.start.front(), row1 = filter.start.back() + filter.count.back();
  Plane narrow(width, row1 - row0);
  run_horizontal(source, row0, kernels, narrow);
  Rgb out{width, height, {}};
  out.pixels.resize(static_cast<std::size_t>(width) * static_cast<std::size_t>(height) * 3);
  kernels.vertical(narrow, row0, filter, out);
  return out;
}

Rgb resize_bicubic(const Rgb& source, int width, int height) { return resize_bicubic(source, width, height, vector_kernels()); }

}  // namespace blip::image
