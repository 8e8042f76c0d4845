#include "kernels/gemm_amx.h"

#include "kernels/isa.h"

#if defined(__x86_64__)
#include "kernels/gemm_amx-inl.h"
#endif

namespace blip::kernels {

#if defined(__x86_64__)

// A few rows wait for their weights, and the AVX-512 product streams them better; measured: up to 3 rows in bfloat16, whose vector products are slow on
// processors with matrix units, and up to 8 in 8 bits.
bool has_amx_gemm(NumberType type, int rows, int k) {
  const int few = type == NumberType::kBf16 ? 3 : 8;
  return type != NumberType::kF32 && rows > few && static_cast<std::size_t>(k) * size_of(type) % kTileBytes == 0 && has_isa(Isa::kAmx);
}

void gemm_amx(const GemmTile& t) {
  t.w->type() == NumberType::kBf16 ? gemm_by_tiles<HardwareTiles, NumberType::kBf16>(t) : gemm_by_tiles<HardwareTiles, NumberType::kInt8>(t);
}

#else

bool has_amx_gemm(NumberType, int, int) { return false; }
void gemm_amx(const GemmTile&) {}

#endif

}  // namespace blip::kernels
