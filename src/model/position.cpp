#include "model/position.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>

namespace blip::model {
namespace {

// Four source rows (or columns) and their weights.
struct Taps {
  std::array<int, 4> index{};
  std::array<double, 4> weight{};
};

// Keys' cubic convolution with a = -0.75 at distance x (torch; Pillow and Catmull-Rom use -0.5).
double cubic(double x) {
  constexpr double a = -0.75;
  x = std::abs(x);
  if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
  return 0;
}

// torch does not widen the filter when shrinking (no antialiasing); taps beyond the edge repeat it.
std::vector<Taps> make_taps(int from, int to) {
  std::vector<Taps> taps(static_cast<std::size_t>(to));
  const double scale = static_cast<double>(from) / to;
  for (int i = 0; i < to; ++i) {
    const double source = scale * (i + 0.5) - 0.5;
    const double base = std::floor(source);
    for (int k = 0; k < 4; ++k) {
      const double at = base + k - 1;
      taps[static_cast<std::size_t>(i)].index[static_cast<std::size_t>(k)] = static_cast<int>(std::clamp(at, 0.0, from - 1.0));
      taps[static_cast<std::size_t>(i)].weight[static_cast<std::size_t>(k)] = cubic(source - at);
    }
  }
  return taps;
}

}  // namespace

std::vector<float> interpolate_positions(std::span<const float> table, int from, int to, int width) {
  const auto w = static_cast<std::size_t>(width), source_side = static_cast<std::size_t>(from), side = static_cast<std::size_t>(to);
  assert(table.size() == (1 + source_side * source_side) * w);
  std::vector<float> out((1 + side * side) * w);
  std::copy_n(table.begin(), w, out.begin());
  const std::vector<Taps> taps = make_taps(from, to);
  std::vector<double> sum(w);
  for (std::size_t y = 0; y < side; ++y) {
    for (std::size_t x = 0; x < side; ++x) {
      std::fill(sum.begin(), sum.end(), 0.0);
      for (std::size_t j = 0; j < 4; ++j) {
        for (std::size_t i = 0; i < 4; ++i) {
          const auto row = static_cast<std::size_t>(taps[y].index[j]) * source_side + static_cast<std::size_t>(taps[x].index[i]);
          const double weight = taps[y].weight[j] * taps[x].weight[i];
          const float* source = table.data() + (1 + row) * w;
          for (std::size_t c = 0; c < w; ++c) sum[c] += weight * static_cast<double>(source[c]);
        }
      }
      float* target = out.data() + (1 + y * side + x) * w;
      for (std::size_t c = 0; c < w; ++c) target[c] = static_cast<float>(sum[c]);
    }
  }
  return out;
}

}  // namespace blip::model
