// Our own product of floats over panels of columns, [n / 16, k, 16]: for processors without AVX-512. A row's sums are added up in the same order whatever
// the rows beside it and the columns computed with it.
#pragma once

#include <cstddef>

#include "kernels/gemm.h"

namespace blip::kernels {

// Of n columns of k values.
std::size_t panel_bytes(int n, int k);

// rows: [count, k] as torch stores them; panels: the place of the first, which begins a panel.
void pack_panels(int count, int k, const float* rows, float* panels);

// tile.w holds panels.
void gemm_panels(const GemmTile& tile);

// How many of its rows share a panel, on any instruction set: a multiple of it.
inline constexpr int kPanelRowUnit = 12;

}  // namespace blip::kernels
