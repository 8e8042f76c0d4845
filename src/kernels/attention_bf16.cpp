#include "kernels/isa.h"
#include "kernels/vector.h"

#if defined(__x86_64__)
#include "kernels/attention_bf16-inl.h"
#else
#include <cassert>
#endif

namespace blip::kernels {

#if defined(__x86_64__)

bool has_bf16_attention() { return has_isa(Isa::kAvx512Bf16); }
bool has_tile_attention() { return has_isa(Isa::kAmx); }

void attention_bf16(const AttentionBlock& block) {
  using namespace attention_detail;
  // Whole tiles of head dimensions. However few queries there are: matrix units add up in another order than vectors do, and a query's result must not
  // depend on those beside it.
  if (has_tile_attention() && !block.key_scales && block.head_dim % (2 * kTileRowsMax) == 0) return attend<TileProduct<HardwareTiles>>(block);
  attend<VectorProduct>(block);
}

void pack_byte_keys(const std::uint16_t* keys, std::size_t stride, int count, int head_dim, std::uint32_t* out, std::size_t key_stride, float* key_scales) {
  attention_detail::pack_keys(keys, stride, count, head_dim, out, key_stride, key_scales);
}

#else

bool has_bf16_attention() { return false; }
bool has_tile_attention() { return false; }
void attention_bf16(const AttentionBlock&) { assert(false); }
void pack_byte_keys(const std::uint16_t*, std::size_t, int, int, std::uint32_t*, std::size_t, float*) { assert(false); }

#endif

}  // namespace blip::kernels
