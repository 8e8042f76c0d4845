#include "kernels/gemm_amx.h"

#include "kernels/gemm_avx512.h"
#include "kernels/isa.h"

#if defined(__x86_64__)
#include "kernels/gemm_amx-inl.h"
#endif

namespace blip::kernels {

#if defined(__x86_64__)

bool has_tile_order(NumberType type, int k) {
  return type != NumberType::kF32 &&
         static_cast<std::size_t>(k) * size_of(type) % kTileBytes == 0 && has_isa(Isa::kAmx);
}

// A few rows wait for their weights, and the AVX-512 product streams them better; measured: up to 2
// rows in bfloat16, whose vector product takes its products one by one here, and up to 8 in 8 bits.
bool has_amx_gemm(NumberType type, int rows, int k) {
  return rows > (type == NumberType::kBf16 ? kTileOrderRows : 8) && has_tile_order(type, k);
}

void gemm_amx(const GemmTile& t) {
  t.w->type() == NumberType::kBf16 ? gemm_by_tiles<HardwareTiles, NumberType::kBf16>(t)
                                   : gemm_by_tiles<HardwareTiles, NumberType::kInt8>(t);
}

#else

bool has_tile_order(NumberType, int) { return false; }
bool has_amx_gemm(NumberType, int, int) { return false; }
void gemm_amx(const GemmTile&) {}

#endif

}  // namespace blip::kernels
