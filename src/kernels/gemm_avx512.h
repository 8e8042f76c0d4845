// Our own AVX-512 matrix product over PackedWeights' blocks. Where it beats
// oneDNN on the same layout: see docs/PERFORMANCE.md.
#pragma once

#include "kernels/gemm.h"

namespace blip::kernels {

// Whether this machine (and BLIP_FORCE_ISA) has the instructions for the type.
bool has_avx512_gemm(NumberType type);

// tile.w must be blocked, and a row of tile.x a whole number of 4-byte units long.
void gemm_avx512(const GemmTile& tile);

}  // namespace blip::kernels
