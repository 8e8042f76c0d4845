// The two passes of the bicubic resize: filter coefficients, a plain version and one by vector instructions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "image/image.h"

namespace blip::image {

// Coefficients are whole numbers of 1/2^22: 8 bits of pixel, 2 bits of headroom for the filter's negative lobes and
// overshoot, and 22 bits make 32.
constexpr int kPrecisionBits = 32 - 8 - 2;

// Output position i is the sum over j < count(i) of input[start[i] + j] * weights[i * taps + j].
struct Filter {
  int taps = 0;  // weights per position; those from count on are 0
  std::vector<int> start, count;
  std::vector<std::int32_t> weights;
};

// Positions first to last of a line of `in` pixels resized to `out` pixels.
Filter bicubic_filter(int in, int out, int first, int last);

// A picture's rows with slack behind each, so that whole vectors may be read and written at the end.
struct Plane {
  int width = 0, height = 0;  // pixels
  std::size_t stride = 0;     // bytes
  std::vector<std::uint8_t> bytes;

  static constexpr std::size_t kSlack = 64;
  Plane(int w, int h) : width(w), height(h), stride((static_cast<std::size_t>(w) * 3 + kSlack + 63) / 64 * 64), bytes(stride * static_cast<std::size_t>(h)) {}
  std::uint8_t* row(int y) { return bytes.data() + stride * static_cast<std::size_t>(y); }
  const std::uint8_t* row(int y) const { return bytes.data() + stride * static_cast<std::size_t>(y); }
};

// One implementation of the passes. All give the same bytes.
struct ResizeKernels {
  // Columns first to last of out from rows row0 on of source; filter holds these columns.
  void (*horizontal)(const Rgb& source, int row0, const Filter& filter, int first, int last, Plane& out);
  // Every row of out from the rows of in; filter counts input rows from row0.
  void (*vertical)(const Plane& in, int row0, const Filter& filter, Rgb& out);
};

ResizeKernels scalar_kernels();
ResizeKernels vector_kernels();  // the best this machine has

Rgb resize_bicubic(const Rgb& source, int width, int height, const ResizeKernels& kernels);

}  // namespace blip::image
