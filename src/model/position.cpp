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
  std::array<float, 4> weight{};
};

// Keys' cubic convolution with a = -0.75 (torch; Pillow and Catmull-Rom use -0.5) at distance x: up
// to 1, and from 1 to 2. Fused multiply-adds throughout, as in torch's builds: near whole positions
// single precision shows in the 6th digit.
constexpr float kA = -0.75f;
float cubic_near(float x) { return std::fma(std::fma(kA + 2, x, -(kA + 3)) * x, x, 1.f); }
float cubic_far(float x) {
  return std::fma(std::fma(std::fma(kA, x, -5 * kA), x, 8 * kA), x, -4 * kA);
}

// torch does not widen the filter when shrinking (no antialiasing); taps beyond the edge repeat it.
// Source positions are single precision there, so they are here.
std::vector<Taps> make_taps(int from, int to) {
  std::vector<Taps> taps(static_cast<std::size_t>(to));
  const float scale = static_cast<float>(from) / static_cast<float>(to);
  for (int i = 0; i < to; ++i) {
    const float source = std::fma(scale, static_cast<float>(i) + 0.5f, -0.5f);
    const float base = std::floor(source), t = source - base;
    Taps& tap = taps[static_cast<std::size_t>(i)];
    tap.weight = {cubic_far(t + 1), cubic_near(t), cubic_near(1 - t), cubic_far(2 - t)};
    for (int k = 0; k < 4; ++k)
      tap.index[static_cast<std::size_t>(k)] =
          std::clamp(static_cast<int>(base) + k - 1, 0, from - 1);
  }
  return taps;
}

}  // namespace

std::vector<float> interpolate_positions(std::span<const float> table, int from, int to,
                                         int width) {
  const auto w = static_cast<std::size_t>(width), source_side = static_cast<std::size_t>(from),
             side = static_cast<std::size_t>(to);
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
          const auto row = static_cast<std::size_t>(taps[y].index[j]) * source_side +
                           static_cast<std::size_t>(taps[x].index[i]);
          const double weight =
              static_cast<double>(taps[y].weight[j]) * static_cast<double>(taps[x].weight[i]);
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
