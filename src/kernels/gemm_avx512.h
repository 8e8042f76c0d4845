// Our own AVX-512 matrix product over PackedWeights' blocks. Where it beats
// oneDNN on the same layout: see docs/dev/performance.md.
#pragma once

#include "kernels/gemm.h"

namespace blip::kernels {

// Whether this machine (and BLIP_FORCE_ISA) has the instructions for the type.
bool has_avx512_gemm(NumberType type);

// In which order a bfloat16 product adds up, which the last bits of a sum depend on; sums of other
// types are the same in both.
// - kUnits: pair after pair, its odd product before its even one, as AVX-512's instruction does
//   (VDPBF16PS).
// - kTiles: of 16 pairs the even and the odd products each by themselves, then the two together,
//   then that to what was there, as AMX tiles do (TDPBF16PS). For a few rows, where many go to
//   tiles: k in whole tiles, and at most kTileOrderRows rows.
enum class SumOrder { kUnits, kTiles };
inline constexpr int kTileOrderRows = 2;

// tile.w must be blocked. Rows of tile.x are whole units of 4 bytes apart, where one ends within a
// unit with zeros behind it.
void gemm_avx512(const GemmTile& tile, SumOrder order = SumOrder::kUnits);

}  // namespace blip::kernels
