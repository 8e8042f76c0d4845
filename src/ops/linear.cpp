#include "ops/linear.h"

#include <algorithm>
#include <cassert>

namespace blip::ops {
namespace {

// Transposing in blocks keeps both sides' cache lines in L1: 2 x 32 x 32 floats = 8 KB.
void transpose(const float* source, int rows, int cols, float* out) {
  constexpr int kBlock = 32;
  for (int r0 = 0; r0 < rows; r0 += kBlock)
    for (int c0 = 0; c0 < cols; c0 += kBlock)
      for (int c = c0; c < std::min(c0 + kBlock, cols); ++c)
        for (int r = r0; r < std::min(r0 + kBlock, rows); ++r)
          out[static_cast<std::size_t>(c) * rows + r] = source[static_cast<std::size_t>(r) * cols + c];
}

// First of piece `index` when `total` is cut into `pieces`, on multiples of `unit` where that leaves no piece empty.
int cut(int total, int pieces, int index, int unit) {
  const int units = (total + unit - 1) / unit;
  return std::min(total, static_cast<int>(static_cast<std::int64_t>(units) * index / pieces) * unit);
}

constexpr int kRowUnit = 8;    // the GEMM's register tiles are 8 to 48 rows high and
constexpr int kColUnit = 64;   // 16 to 64 columns wide: no tile should be cut

}  // namespace

Linear::Linear(std::span<const float> weight, std::span<const float> bias, int in, int out)
    : in_(in), out_(out), weight_(weight.size()), bias_(bias.size()) {
  assert(weight.size() == static_cast<std::size_t>(in) * static_cast<std::size_t>(out));
  assert(bias.empty() || bias.size() == static_cast<std::size_t>(out));
  transpose(weight.data(), out, in, weight_.data());
  std::copy(bias.begin(), bias.end(), bias_.data());
}

Grid tile_grid(int m, int n, int threads) {
  const int row_units = (m + kRowUnit - 1) / kRowUnit, col_units = (n + kColUnit - 1) / kColUnit;
  Grid best{1, 1};
  std::int64_t best_cost = -1;
  for (int rows = 1; rows <= std::min(threads, row_units); ++rows) {
    const int cols = std::min(threads / rows, col_units);
    // The largest piece decides when all are done; between equals, the one that reads the least of x and W.
    const std::int64_t height = (row_units + rows - 1) / rows, width = (col_units + cols - 1) / cols;
    const std::int64_t cost = height * width * 1'000'000 + height * kRowUnit + width * kColUnit;
    if (best_cost < 0 || cost < best_cost) {
      best_cost = cost;
      best = {rows, cols};
    }
  }
  return best;
}

void linear(ThreadPool& pool, ConstMatrix x, const Linear& layer, Matrix out, Epilogue epilogue) {
  assert(x.cols == layer.in() && out.cols == layer.out() && x.rows == out.rows);
  const int m = x.rows, n = layer.out();
  if (m == 0) return;
  const Grid grid = tile_grid(m, n, pool.size());
  pool.parallel_for(grid.rows * grid.cols, [&](int task, int) {
    const int r = task / grid.cols, c = task % grid.cols;
    const int r0 = cut(m, grid.rows, r, kRowUnit), r1 = cut(m, grid.rows, r + 1, kRowUnit);
    const int c0 = cut(n, grid.cols, c, kColUnit), c1 = cut(n, grid.cols, c + 1, kColUnit);
    if (r0 == r1 || c0 == c1) return;
    kernels::gemm({.m = r1 - r0, .n = c1 - c0, .k = layer.in(),
                   .x = x.row(r0), .ldx = x.stride,
                   .w = layer.weight() + c0, .ldw = static_cast<std::size_t>(n),
                   .bias = layer.bias() ? layer.bias() + c0 : nullptr,
                   .out = out.row(r0) + c0, .ldo = out.stride, .epilogue = epilogue});
  });
}

}  // namespace blip::ops
