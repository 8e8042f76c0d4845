// Our own matrix product by AMX tiles (AMX) over PackedWeights' blocks.
#pragma once

#include "kernels/gemm.h"

namespace blip::kernels {

// Whether this machine (and BLIP_FORCE_ISA) has AMX tiles for the type, rows of k values are
// whole tiles long, and enough of them to gain.
bool has_amx_gemm(NumberType type, int rows, int k);

// Whether many rows of this type and k go to AMX tiles, so that few must be added up in their
// order.
bool has_tile_order(NumberType type, int k);

void gemm_amx(const GemmTile& tile);

}  // namespace blip::kernels
