#include "kernels/attention_panels.h"
#include "kernels/isa.h"
#include "kernels/vector.h"

#if defined(__x86_64__)
#include "kernels/attention_bf16-inl.h"
#endif

namespace blip::kernels {

#if defined(__x86_64__)

bool has_tile_attention() { return has_isa(Isa::kAmx); }

void attention_bf16(const AttentionBlock& block) {
  using namespace attention_detail;
  if (!has_isa(Isa::kAvx512Bf16)) return attention_by_panels(block);
  // Whole tiles of head dimensions. However few queries there are: AMX tiles add up in another
  // order than vectors do, and a query's result must not depend on those beside it.
  if (has_tile_attention() && !block.key_scales && block.head_dim % (2 * kTileRowsMax) == 0)
    return attend<TileProduct<HardwareTiles>>(block);
  attend<VectorProduct>(block);
}

void pack_byte_keys(const std::uint16_t* keys, std::size_t stride, int count, int head_dim,
                    std::uint32_t* out, std::size_t key_stride, float* key_scales) {
  const auto pack =
      has_isa(Isa::kAvx512Bf16) ? attention_detail::pack_keys : pack_byte_keys_by_panels;
  pack(keys, stride, count, head_dim, out, key_stride, key_scales);
}

#else

bool has_tile_attention() { return false; }
void attention_bf16(const AttentionBlock& block) { attention_by_panels(block); }
void pack_byte_keys(const std::uint16_t* keys, std::size_t stride, int count, int head_dim,
                    std::uint32_t* out, std::size_t key_stride, float* key_scales) {
  pack_byte_keys_by_panels(keys, stride, count, head_dim, out, key_stride, key_scales);
}

#endif

}  // namespace blip::kernels
