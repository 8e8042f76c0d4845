#include "image/resize.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "blip/error.h"

// Coefficients are equal to Pillow's only if no multiplication and addition are fused into one
// rounding.
#if defined(__clang__)
#pragma clang fp contract(off)
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif

namespace blip::image {
namespace {

// Coefficients are made for so many columns at a time that they take at most this many weights.
constexpr int kMaxTileWeights = 1 << 20;

// Twice the filter's support, up to 6 x this, still fits an int.
constexpr int kMaxSide = 1 << 28;

// Cubic convolution with a = -0.5.
double bicubic(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

double sinc(double x) {
  if (x == 0.0) return 1.0;
  x *= std::numbers::pi;
  return std::sin(x) / x;
}

// The sinc under the middle lobe of one that is three times as wide.
double lanczos(double x) { return -3.0 <= x && x < 3.0 ? sinc(x) * sinc(x / 3) : 0.0; }

double weight_at(Resampling resampling, double x) {
  return resampling == Resampling::kBicubic ? bicubic(x) : lanczos(x);
}

// How far the filter reaches, in output pixels.
double support_of(Resampling resampling) { return resampling == Resampling::kBicubic ? 2.0 : 3.0; }

constexpr std::int32_t kHalf = 1 << (kPrecisionBits - 1);  // rounds to nearest

std::uint8_t clip8(std::int32_t sum) {
  return static_cast<std::uint8_t>(std::clamp(sum >> kPrecisionBits, 0, 255));
}

// When a picture shrinks, the filter widens with it: that is the antialiasing.
double filter_scale(int in, int out) { return std::max(1.0, static_cast<double>(in) / out); }

// The input positions that output position i is made of.
struct Window {
  double center;
  int start, end;
};

Window window(Resampling resampling, int in, int out, int i) {
  const double center = (i + 0.5) * (static_cast<double>(in) / out),
               support = support_of(resampling) * filter_scale(in, out);
  return {center, std::max(0, static_cast<int>(center - support + 0.5)),
          std::min(in, static_cast<int>(center + support + 0.5))};
}

// At least the weights that any output position has.
int filter_taps(Resampling resampling, int in, int out) {
  const double support = support_of(resampling) * filter_scale(in, out);
  return std::min(in, static_cast<int>(std::ceil(support)) * 2 + 1);
}

void horizontal_scalar(const Rows& in, const Filter& filter, int first, int last, Rgb& out) {
  const std::size_t out_stride = static_cast<std::size_t>(out.width) * 3;
  for (int y = 0; y < in.height; ++y) {
    std::uint8_t* to = out.pixels.data() + out_stride * static_cast<std::size_t>(y) +
                       std::size_t{3} * static_cast<std::size_t>(first);
    for (std::size_t i = 0; i < static_cast<std::size_t>(last - first); ++i, to += 3) {
      const std::int32_t* weights =
          filter.weights.data() + i * static_cast<std::size_t>(filter.taps);
      const std::uint8_t* pixel =
          in.row(y) + std::size_t{3} * static_cast<std::size_t>(filter.start[i]);
      std::int32_t sums[3] = {kHalf, kHalf, kHalf};
      for (int j = 0; j < filter.count[i]; ++j, pixel += 3) {
        for (int c = 0; c < 3; ++c) sums[c] += pixel[c] * weights[j];
      }
      for (int c = 0; c < 3; ++c) to[c] = clip8(sums[c]);
    }
  }
}

void vertical_scalar(const Rows& in, const Filter& filter, int first, int last, Rgb& out) {
  const std::size_t stride = in.stride();
  for (std::size_t i = 0; i < static_cast<std::size_t>(last - first); ++i) {
    const std::int32_t* weights = filter.weights.data() + i * static_cast<std::size_t>(filter.taps);
    const std::uint8_t* rows = in.row(filter.start[i]);
    std::uint8_t* to = out.pixels.data() + stride * (static_cast<std::size_t>(first) + i);
    for (std::size_t x = 0; x < stride; ++x) {
      std::int32_t sum = kHalf;
      for (int j = 0; j < filter.count[i]; ++j)
        sum += rows[stride * static_cast<std::size_t>(j) + x] * weights[j];
      to[x] = clip8(sum);
    }
  }
}

Rgb allocate(int width, int height) {
  Rgb rgb{width, height, {}};
  rgb.pixels.resize(static_cast<std::size_t>(width) * static_cast<std::size_t>(height) * 3);
  return rgb;
}

Rows all_rows(const Rgb& rgb) { return {rgb.pixels.data(), rgb.width, rgb.height}; }

// Calls run(filter, first, last) for stretches of the output positions that keep the filter small.
template <class Run>
void for_each_tile(Resampling resampling, int in, int out, const Run& run) {
  const int tile = std::max(1, kMaxTileWeights / filter_taps(resampling, in, out));
  for (int first = 0, last; first < out; first = last) {
    last = first + std::min(tile, out - first);
    run(make_filter(resampling, in, out, first, last), first, last);
  }
}

Rgb resize_width(const Rows& in, int width, const ResizeKernels& kernels, Resampling resampling) {
  Rgb out = allocate(width, in.height);
  for_each_tile(resampling, in.width, width, [&](const Filter& filter, int first, int last) {
    kernels.horizontal(in, filter, first, last, out);
  });
  return out;
}

// `in` holds `rows` rows of the picture from first_row on: all that the filter reads.
Rgb resize_height(const Rows& in, int first_row, int rows, int height, const ResizeKernels& kernels,
                  Resampling resampling) {
  Rgb out = allocate(in.width, height);
  for_each_tile(resampling, rows, height, [&](Filter filter, int first, int last) {
    for (int& start : filter.start) start -= first_row;
    kernels.vertical(in, filter, first, last, out);
  });
  return out;
}

// Pillow starts with the pass that saves more work later. Which comes first shows in the result:
// the picture between the passes is rounded to 8 bits. (Rule of Pillow 13; before it, the width
// always came first.)
bool height_goes_first(const Rgb& source, int width, int height) {
  const std::int64_t fewer_rows = std::int64_t{source.height} - height,
                     fewer_columns = std::int64_t{source.width} - width;
  return fewer_rows > 0 && fewer_rows > 2 * fewer_columns;
}

}  // namespace

Filter make_filter(Resampling resampling, int in, int out, int first, int last) {
  const double inverse = 1.0 / filter_scale(in, out);
  Filter filter;
  filter.taps = filter_taps(resampling, in, out);
  filter.start.reserve(static_cast<std::size_t>(last - first));
  filter.count.reserve(static_cast<std::size_t>(last - first));
  filter.weights.resize(static_cast<std::size_t>(last - first) *
                        static_cast<std::size_t>(filter.taps));
  std::vector<double> exact(static_cast<std::size_t>(filter.taps));
  std::int32_t* weights = filter.weights.data();
  for (int i = first; i < last; ++i, weights += filter.taps) {
    const auto [center, start, end] = window(resampling, in, out, i);
    double total = 0.0;
    for (int j = 0; j < end - start; ++j) {
      exact[static_cast<std::size_t>(j)] =
          weight_at(resampling, (j + start - center + 0.5) * inverse);
      total += exact[static_cast<std::size_t>(j)];
    }
    for (int j = 0; j < end - start; ++j) {
      const double weight = exact[static_cast<std::size_t>(j)] / (total != 0.0 ? total : 1.0);
      weights[j] =
          static_cast<std::int32_t>(weight * (1 << kPrecisionBits) + (weight < 0 ? -0.5 : 0.5));
    }
    filter.start.push_back(start);
    filter.count.push_back(end - start);
  }
  return filter;
}

ResizeKernels scalar_kernels() { return {horizontal_scalar, vertical_scalar}; }

Rgb resize(const Rgb& source, int width, int height, const ResizeKernels& kernels,
           Resampling resampling) {
  if (width <= 0 || height <= 0 || source.width <= 0 || source.height <= 0) {
    throw Error(ErrorCode::kUsage, "resize: " + std::to_string(source.width) + " x " +
                                       std::to_string(source.height) + " to " +
                                       std::to_string(width) + " x " + std::to_string(height) +
                                       " pixels; every side must be at least 1");
  }
  if (std::max(source.width, source.height) > kMaxSide) {
    throw Error(ErrorCode::kImage,
                "resize: " + std::to_string(source.width) + " x " + std::to_string(source.height) +
                    " pixels; a side may have at most " + std::to_string(kMaxSide));
  }
  if (width == source.width && height == source.height) return source;
  if (height == source.height) return resize_width(all_rows(source), width, kernels, resampling);
  if (width == source.width)
    return resize_height(all_rows(source), 0, source.height, height, kernels, resampling);
  if (height_goes_first(source, width, height)) {
    return resize_width(
        all_rows(resize_height(all_rows(source), 0, source.height, height, kernels, resampling)),
        width, kernels, resampling);
  }
  // Rows that no output row needs are left out.
  const int first = window(resampling, source.height, height, 0).start,
            last = window(resampling, source.height, height, height - 1).end;
  const Rows needed{all_rows(source).row(first), source.width, last - first};
  return resize_height(all_rows(resize_width(needed, width, kernels, resampling)), first,
                       source.height, height, kernels, resampling);
}

Rgb resize_bicubic(const Rgb& source, int width, int height, const ResizeKernels& kernels) {
  return resize(source, width, height, kernels, Resampling::kBicubic);
}

}  // namespace blip::image
