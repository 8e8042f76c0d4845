// Vector mathematics of our kernels: for files that Highway compiles for every instruction set.
#if defined(BLIP_KERNELS_VECTOR_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)  // once for each
#ifdef BLIP_KERNELS_VECTOR_MATH_INL_H_
#undef BLIP_KERNELS_VECTOR_MATH_INL_H_
#else
#define BLIP_KERNELS_VECTOR_MATH_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>

#include "kernels/vector.h"

HWY_BEFORE_NAMESPACE();
namespace blip::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Floats = HWY_CAPPED(float, kLanes);

// 2^x for x <= 0: 2^round(x) by its exponent bits, which n = -127 makes zero, times
// polynomial(d, f) for 2^f, |f| <= 1/2.
template <class D, class V, class Polynomial>
HWY_INLINE V exp2_by(D d, V x, const Polynomial& polynomial) {
  const hn::RebindToSigned<D> di;
  const auto t = hn::Max(x, hn::Set(d, -127.f));
  const auto n = hn::NearestInt(t);
  const auto p = polynomial(hn::Sub(t, hn::ConvertTo(d, n)));
  return hn::Mul(p, hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(n, hn::Set(di, 127)))));
}

// The minimax polynomial of 2^f; off by less than 2e-7 of the result.
template <class D, class V>
HWY_INLINE V exp2_negative(D d, V x) {
  return exp2_by(d, x, [&](V f) HWY_ATTR {
    auto p = hn::MulAdd(hn::Set(d, 1.32764444e-3f), f, hn::Set(d, 9.67553770e-3f));
    p = hn::MulAdd(p, f, hn::Set(d, 5.55071332e-2f));
    p = hn::MulAdd(p, f, hn::Set(d, 2.40221198e-1f));
    p = hn::MulAdd(p, f, hn::Set(d, 6.93146967e-1f));
    return hn::MulAdd(p, f, hn::Set(d, 1.00000007f));
  });
}

constexpr float kLog2E = 1.44269504f;

// The same for what is rounded to bfloat16.
template <class D, class V>
HWY_INLINE V exp2_rough(D d, V x) {
  return exp2_by(d, x, [&](V f) HWY_ATTR {
    auto p = hn::Set(d, kRoughExp2[0]);
    for (int i = 1; i < 5; ++i) p = hn::MulAdd(p, f, hn::Set(d, kRoughExp2[i]));
    return p;
  });
}

// As many floats as the widest vector has lanes, in as many vectors as that takes here: sums over
// them are the same on every instruction set.
constexpr int kWideVectors = kLanes / static_cast<int>(hn::MaxLanes(Floats()));
using Wide = hn::Vec<Floats>[kWideVectors];

// body(vector, its first lane)
template <class Body>
HWY_INLINE void for_wide(const Body& body) {
  for (int j = 0; j < kWideVectors; ++j) body(j, j * (kLanes / kWideVectors));
}

HWY_INLINE void set_zero(Wide& sums) {
  for (int j = 0; j < kWideVectors; ++j) sums[j] = hn::Zero(Floats());
}

// The first half to the second, and so on, of two or of one.
HWY_INLINE float sum_of(const Wide& sums) {
  const Floats d;
  float lanes[kLanes];
  for (int j = 0; j < kWideVectors; ++j)
    hn::StoreU(sums[j], d, lanes + j * (kLanes / kWideVectors));
  for (int half = kLanes / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  return lanes[0];
}

HWY_INLINE float sum_of(const Wide& first, const Wide& second) {
  Wide sums;
  for (int j = 0; j < kWideVectors; ++j) sums[j] = hn::Add(first[j], second[j]);
  return sum_of(sums);
}

// A float's bits to bfloat16's, rounded to nearest even. A NaN stays one: rounding could carry it
// into infinity, or zero.
template <class D, class V>
HWY_INLINE V round_bf16(D d, V bits) {
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(d, 1u));
  const auto rounded = hn::ShiftRight<16>(hn::Add(bits, hn::Add(odd, hn::Set(d, 0x7fffu))));
  const hn::RebindToSigned<D> di;
  const auto magnitude = hn::BitCast(di, hn::And(bits, hn::Set(d, 0x7fffffffu)));
  const auto nan = hn::RebindMask(d, hn::Gt(magnitude, hn::Set(di, 0x7f800000)));
  return hn::IfThenElse(nan, hn::ShiftRight<16>(hn::Or(bits, hn::Set(d, 0x00400000u))), rounded);
}

template <class D>
HWY_INLINE hn::Vec<D> load_floats(D d, const float* x) {
  return hn::LoadU(d, x);
}
template <class D>
HWY_INLINE hn::Vec<D> load_floats(D d, const std::uint16_t* bf16) {
  const hn::RebindToUnsigned<D> d32;
  const hn::Rebind<std::uint16_t, D> d16;
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(d32, hn::LoadU(d16, bf16))));
}

// body(tag, i) for whole vectors of n values, then one by one.
template <class Body>
HWY_INLINE void for_lanes(int n, const Body& body) {
  const Floats d;
  const int lanes = static_cast<int>(hn::Lanes(d));
  int i = 0;
  for (; i + lanes <= n; i += lanes) body(d, i);
  for (; i < n; ++i) body(hn::CappedTag<float, 1>(), i);
}

// The largest magnitude of n values / 127, values(tag, i) from i on; 1 where all are zero.
template <class Values>
HWY_INLINE float step_of(int n, const Values& values) {
  const Floats d;
  const int lanes = static_cast<int>(hn::Lanes(d));
  auto tops = hn::Zero(d);
  int i = 0;
  for (; i + lanes <= n; i += lanes) tops = hn::Max(tops, hn::Abs(values(d, i)));
  float top = hn::GetLane(hn::MaxOfLanes(d, tops));
  for (; i < n; ++i)
    top = std::max(top, hn::GetLane(hn::Abs(values(hn::CappedTag<float, 1>(), i))));
  return top > 0 ? top / 127.f : 1.f;
}

}  // namespace blip::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
