// attention_bf16 and pack_byte_keys (vector.h) where there are no bfloat16 products; the same bits
// as with AVX-512's.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/vector.h"

namespace blip::kernels {

void attention_by_panels(const AttentionBlock& block);
void pack_byte_keys_by_panels(const std::uint16_t* keys, std::size_t stride, int count,
                              int head_dim, std::uint32_t* out, std::size_t key_stride,
                              float* key_scales);

}  // namespace blip::kernels
