// f32 values to stored types.
#include <algorithm>
#include <cmath>

#include "blip/error.h"
#include "io/bytes.h"
#include "io/element_type.h"
#include "io/half.h"
#include "io/tensor_file.h"

namespace blip::io {
namespace {

void encode_halves(std::span<const float> values, std::uint16_t (*convert)(float), std::byte* to) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::uint16_t half = convert(values[i]);
    std::memcpy(to + i * sizeof(half), &half, sizeof(half));
  }
}

// As ggml's reference: scale = largest magnitude / 127 (stored as f16, but divided by as f32),
// halves rounded away from zero.
void encode_q8_0_block(std::span<const float, kQ8BlockValues> values, std::byte* to) {
  float largest = 0;
  for (const float value : values) {
    // Written so that a NaN, which compares false, is caught too. 65519 is the largest value that
    // f16 does not round to infinity.
    if (!(std::fabs(value) < 127.0f * 65519.0f)) {
      throw Error(ErrorCode::kModel,
                  "the value " + std::to_string(value) + " cannot be stored as q8_0");
    }
    largest = std::max(largest, std::fabs(value));
  }
  const float scale = largest / 127.0f;
  const std::uint16_t stored_scale = f32_to_f16(scale);
  // The inverse of the smallest scales is infinite; f16 stores them as zero, so their quants do not
  // matter.
  const float inverse = scale == 0.0f || std::isinf(1.0f / scale) ? 0.0f : 1.0f / scale;
  std::memcpy(to, &stored_scale, sizeof(stored_scale));
  for (std::size_t i = 0; i < kQ8BlockValues; ++i) {
    const auto quant = static_cast<std::int8_t>(std::round(values[i] * inverse));
    std::memcpy(to + sizeof(stored_scale) + i, &quant, sizeof(quant));
  }
}

}  // namespace

void encode(std::span<const float> values, ElementType type, std::span<std::byte> out) {
  if (out.size() != byte_size(type, values.size())) {
    throw Error(ErrorCode::kUsage, std::to_string(values.size()) + " values as " + to_string(type) +
                                       " take " + std::to_string(byte_size(type, values.size())) +
                                       " bytes, got " + std::to_string(out.size()));
  }
  if (values.empty()) return;
  switch (type) {
    case ElementType::f32:
      std::memcpy(out.data(), values.data(), out.size());
      return;
    case ElementType::f16:
      return encode_halves(values, f32_to_f16, out.data());
    case ElementType::bf16:
      return encode_halves(values, f32_to_bf16, out.data());
    case ElementType::q8_0:
      for (std::size_t block = 0; block < values.size() / kQ8BlockValues; ++block) {
        encode_q8_0_block(values.subspan(block * kQ8BlockValues).first<kQ8BlockValues>(),
                          out.data() + block * kQ8BlockBytes);
      }
      return;
    default:
      throw Error(ErrorCode::kUsage,
                  std::string("f32 values cannot be encoded as ") + to_string(type));
  }
}

}  // namespace blip::io
