// The two passes of a resize: filter coefficients, a plain version and one by vector instructions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "image/image.h"

namespace blip::image {

// Coefficients are whole numbers of 1/2^22: 8 bits of pixel, 2 bits of headroom for the filter's
// negative lobes and overshoot, and 22 bits make 32.
constexpr int kPrecisionBits = 32 - 8 - 2;

// Output position i is the sum over j < count(i) of input[start[i] + j] * weights[i * taps + j].
struct Filter {
  int taps = 0;  // weights per position; those from count on are 0
  std::vector<int> start, count;
  std::vector<std::int32_t> weights;
};

// Pillow's filters of these names.
enum class Resampling { kBicubic, kLanczos };

// Positions first to last of a line of `in` pixels resized to `out` pixels.
Filter make_filter(Resampling resampling, int in, int out, int first, int last);

// The rows of a picture, or some of them.
struct Rows {
  const std::uint8_t* data = nullptr;
  int width = 0, height = 0;  // pixels

  std::size_t stride() const { return static_cast<std::size_t>(width) * 3; }
  const std::uint8_t* row(int y) const { return data + stride() * static_cast<std::size_t>(y); }
};

// One implementation of the passes. All give the same bytes.
struct ResizeKernels {
  // Columns first to last of out, of which `filter` knows just these. out has as many rows as `in`.
  void (*horizontal)(const Rows& in, const Filter& filter, int first, int last, Rgb& out);
  // Rows first to last of out, of which `filter` knows just these. out is as wide as `in`.
  void (*vertical)(const Rows& in, const Filter& filter, int first, int last, Rgb& out);
};

ResizeKernels scalar_kernels();
ResizeKernels vector_kernels();  // the best this machine has

Rgb resize(const Rgb& source, int width, int height, const ResizeKernels& kernels,
           Resampling resampling);
Rgb resize_bicubic(const Rgb& source, int width, int height, const ResizeKernels& kernels);

}  // namespace blip::image
