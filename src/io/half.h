// f16 and bf16 as bits, converted without branches so that loops over them vectorise. Exact; to 16
// bits rounds to nearest even.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace blip::io {

// IEEE binary16: 1 sign, 5 exponent (bias 15), 10 mantissa bits. Independent of the flush-denormals
// mode, which other libraries may set on a thread.
inline float f16_to_f32(std::uint16_t half) {
  const std::uint32_t magnitude = half & 0x7fffu;
  const std::uint32_t normal = (magnitude << 13) + (112u << 23);  // rebias 15 -> 127
  const std::uint32_t subnormal =
      std::bit_cast<std::uint32_t>(static_cast<float>(magnitude) * 0x1p-24f);
  const std::uint32_t special = (magnitude << 13) | 0x7f800000u;  // infinity, NaN
  const std::uint32_t bits = magnitude < 0x0400u    ? subnormal
                             : magnitude >= 0x7c00u ? special
                                                    : normal;
  return std::bit_cast<float>(bits | (half & 0x8000u) << 16);
}

// The same for n values of any alignment.
void f16_row_to_f32(const std::byte* from, std::size_t n, float* to);

inline std::uint16_t f32_to_f16(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  // Below 2^-14 the result is subnormal, a multiple of 2^-24: just the spacing of floats in [0.5,
  // 1), so adding 0.5 rounds.
  const std::uint32_t subnormal =
      std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - 0x3f000000u;
  const std::uint32_t normal = (magnitude - (112u << 23) + 0x0fffu + (magnitude >> 13 & 1u)) >> 13;
  const std::uint32_t nan = 0x7e00u | (magnitude >> 13 & 0x03ffu);
  const std::uint32_t half = magnitude > 0x7f800000u ? nan
                             : magnitude >= 0x477ff000u
                                 ? 0x7c00u  // 65520 and above round to infinity
                             : magnitude < 0x38800000u ? subnormal
                                                       : normal;
  return static_cast<std::uint16_t>(half | (bits >> 16 & 0x8000u));
}

// bfloat16: the upper half of an f32.
inline float bf16_to_f32(std::uint16_t value) {
  return std::bit_cast<float>(std::uint32_t{value} << 16);
}

inline std::uint16_t f32_to_bf16(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;  // rounding could carry a NaN into infinity
  return static_cast<std::uint16_t>(
      (nan ? bits | 0x00400000u : bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

}  // namespace blip::io
