// From a tile's sums to its place in the output: what the products that keep sums in 64 columns
// share.
#pragma once

#include <algorithm>

#include "kernels/gemm.h"
#include "kernels/vector.h"

namespace blip::kernels {

// sums: [rows, 64] of float or int32; the tile's rows from `row` and columns from `column` on.
inline void finish_tile(const GemmTile& t, const char* sums, int row, int rows, int column) {
  const int n = std::min(kColumnBlock, t.n - column);
  const std::size_t at = static_cast<std::size_t>(row) * t.ldo + static_cast<std::size_t>(column);
  finish({.sums = sums,
          .lds = kColumnBlock,
          .rows = rows,
          .n = n,
          .x_scales = t.x_scales ? t.x_scales + row : nullptr,
          .x_offsets = t.x_offsets ? t.x_offsets + row : nullptr,
          .w_scales = t.w_scales ? t.w_scales + column : nullptr,
          .w_sums = t.w_sums ? t.w_sums + column : nullptr,
          .bias = t.bias ? t.bias + column : nullptr,
          .epilogue = t.epilogue,
          .out = static_cast<char*>(t.out) + at * (t.out_bf16 ? 2 : 4),
          .ldo = t.ldo,
          .out_bf16 = t.out_bf16});
}

// Fetches what finish_tile will need: the tile's place in the output, which is in another core's or
// the L3 cache from the layer before, and scales, sums and bias of its columns, which come from
// memory like the weights.
inline void fetch_for_finish(const GemmTile& t, int row, int rows, int column) {
  constexpr std::size_t kLine = 64;
  const auto columns = static_cast<std::size_t>(std::min(kColumnBlock, t.n - column));
  const std::size_t element = t.out_bf16 ? 2 : 4, bytes = columns * element;
  for (int r = row; r < row + rows; ++r) {
    const char* to =
        static_cast<const char*>(t.out) +
        (static_cast<std::size_t>(r) * t.ldo + static_cast<std::size_t>(column)) * element;
    for (std::size_t at = 0; at < bytes; at += kLine) __builtin_prefetch(to + at, 1, 2);
  }
  if (row > 0) return;
  for (const float* values : {t.w_scales, t.w_sums, t.bias})
    for (std::size_t at = 0; values && at < columns; at += kLine / sizeof(float))
      __builtin_prefetch(values + column + at, 0, 2);
}

}  // namespace blip::kernels
