// Rows of f16 as f32, compiled for every instruction set; one is picked at run time.
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "core/vector_targets.h"  // before Highway
#include "io/half.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "io/half_simd.cpp"
#include <hwy/foreach_target.h>  // must come before highway.h
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace blip::io {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// f16_to_f32() of half.h, step by step, for a vector.
void f16_row_to_f32(const std::byte* from, std::size_t n, float* to) {
  const hn::ScalableTag<float> d;
  const hn::RebindToUnsigned<decltype(d)> d32;
  const hn::RebindToSigned<decltype(d)> di32;
  const hn::Rebind<std::uint16_t, decltype(d)> d16;
  const std::size_t lanes = hn::Lanes(d);
  const auto infinity = hn::Set(d32, 0x7f800000u);
  std::size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const auto half =
        hn::PromoteTo(d32, hn::LoadU(d16, reinterpret_cast<const std::uint16_t*>(from) + i));
    const auto magnitude = hn::And(half, hn::Set(d32, 0x7fffu)),
               shifted = hn::ShiftLeft<13>(magnitude);
    const auto normal = hn::Add(shifted, hn::Set(d32, 112u << 23));
    const auto subnormal = hn::BitCast(
        d32, hn::Mul(hn::ConvertTo(d, hn::BitCast(di32, magnitude)), hn::Set(d, 0x1p-24f)));
    const auto sign = hn::ShiftLeft<16>(hn::And(half, hn::Set(d32, 0x8000u)));
    const auto below = [&](std::uint32_t limit) HWY_ATTR {
      return hn::RebindMask(d32, hn::Lt(hn::BitCast(di32, magnitude),
                                        hn::Set(di32, static_cast<std::int32_t>(limit))));
    };
    const auto bits =
        hn::IfThenElse(below(0x0400u), subnormal,
                       hn::IfThenElse(below(0x7c00u), normal, hn::Or(shifted, infinity)));
    hn::StoreU(hn::BitCast(d, hn::Or(bits, sign)), d, to + i);
  }
  for (; i < n; ++i) {
    std::uint16_t half;
    std::memcpy(&half, from + i * sizeof(half), sizeof(half));
    to[i] = f16_to_f32(half);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace blip::io
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace blip::io {

HWY_EXPORT(f16_row_to_f32);

void f16_row_to_f32(const std::byte* from, std::size_t n, float* to) {
  HWY_DYNAMIC_DISPATCH(f16_row_to_f32)(from, n, to);
}

}  // namespace blip::io
#endif
