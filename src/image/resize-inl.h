// The resize passes by vector instructions, compiled once per instruction set (see
// resize_simd.cpp).
//
// Exactness: a pixel (8 bits) times a weight (23 bits with its sign) does not fit the fast 16-bit
// multiply, so weights are split into high and low parts, weight = high * 2^11 + low, of 12 and 11
// bits. Both sums are whole numbers modulo 2^32, so that (sum_high << 11) + sum_low is the scalar
// sum to the last bit.

// The include guard lets this file in once per target.
#if defined(BLIP_IMAGE_RESIZE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BLIP_IMAGE_RESIZE_INL_H_
#undef BLIP_IMAGE_RESIZE_INL_H_
#else
#define BLIP_IMAGE_RESIZE_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "image/resize.h"

HWY_BEFORE_NAMESPACE();
namespace blip::image::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET != HWY_SCALAR

constexpr int kLowBits = 11;
constexpr std::int32_t kRounding = 1 << (kPrecisionBits - 1);

// Pixels are taken four at a time: 12 of 16 bytes. Shuffled, a group is r0 r1 g0 g1 b0 b1 0 0 | r2
// r3 g2 g3 b2 b3 0 0, so that a multiply that adds neighbours gives sums of red, green, blue and
// nothing. 128 in the table makes a zero.
constexpr int kGroup = 4, kGroupBytes = 12, kLanes = 16;
alignas(16) constexpr std::uint8_t kPairPixels[16] = {0, 3, 1, 4,  2, 5,  128, 128,
                                                      6, 9, 7, 10, 8, 11, 128, 128};

// Rows that share the loading of the weights. Eight accumulators of two 32-bit sums fit the 16
// registers of AVX2.
constexpr int kRowsAtOnce = 4;

// The weights of one output column after the other in the order of the shuffled pixels, high and
// low parts of a group side by side: kGroup pixels take 2 * kLanes values.
struct GroupedWeights {
  std::size_t groups = 0;  // per column, the last ones filled up with weights of 0
  std::vector<std::int16_t> values;

  explicit GroupedWeights(const Filter& filter)
      : groups((static_cast<std::size_t>(filter.taps) + kGroup - 1) / kGroup) {
    values.resize(filter.start.size() * groups * 2 * kLanes);
    std::int16_t* to = values.data();
    for (std::size_t column = 0; column < filter.start.size(); ++column) {
      const std::int32_t* weights =
          filter.weights.data() + column * static_cast<std::size_t>(filter.taps);
      for (std::size_t group = 0; group < groups; ++group, to += 2 * kLanes) {
        for (std::size_t lane = 0; lane < kLanes; ++lane) {
          const std::size_t tap = group * kGroup + lane / 8 * 2 + lane % 2;
          if (tap >= static_cast<std::size_t>(filter.taps) || lane % 8 >= 6) continue;
          to[lane] = static_cast<std::int16_t>(weights[tap] >> kLowBits);
          to[lane + kLanes] = static_cast<std::int16_t>(weights[tap] & ((1 << kLowBits) - 1));
        }
      }
    }
  }
};

// One output pixel: red, green, blue and a byte of nothing.
using PixelTag = hn::FixedTag<std::int32_t, 4>;

#if HWY_MAX_BYTES >= 32
// A group's pixels fill one 256-bit vector.
using PairTag = hn::FixedTag<std::int16_t, 16>;
using SumTag = hn::FixedTag<std::int32_t, 8>;
constexpr int kParts = 1;
#else
using PairTag = hn::FixedTag<std::int16_t, 8>;
using SumTag = hn::FixedTag<std::int32_t, 4>;
constexpr int kParts = 2;
#endif

// Red, green and blue sums of all pairs.
HWY_INLINE hn::Vec<PixelTag> add_up(hn::Vec<SumTag> even, hn::Vec<SumTag> odd) {
  const hn::Vec<SumTag> pairs = hn::RearrangeToOddPlusEven(even, odd);
#if HWY_MAX_BYTES >= 32
  return hn::Add(hn::LowerHalf(PixelTag(), pairs), hn::UpperHalf(PixelTag(), pairs));
#else
  return pairs;
#endif
}

// The sums of kRows rows for one column; `pixels` points to each row's first pixel.
template <int kRows>
HWY_INLINE void sum_column(const std::uint8_t* const* rows, std::size_t offset,
                           const std::int16_t* weights, std::size_t groups,
                           std::uint8_t* const* to) {
  const hn::FixedTag<std::uint8_t, 16> bytes;
  const hn::FixedTag<std::uint8_t, 16 / kParts> part;
  const PairTag pair;
  const SumTag sum;
  const auto shuffle = hn::Load(bytes, kPairPixels);
  hn::Vec<SumTag> high[kRows], high2[kRows], low[kRows], low2[kRows];
  for (int r = 0; r < kRows; ++r) high[r] = high2[r] = low[r] = low2[r] = hn::Zero(sum);
  for (std::size_t group = 0; group < groups;
       ++group, offset += kGroupBytes, weights += 2 * kLanes) {
    for (int r = 0; r < kRows; ++r) {
      const auto pixels = hn::TableLookupBytes(hn::LoadU(bytes, rows[r] + offset), shuffle);
#if HWY_MAX_BYTES >= 32
      (void)part;
      const auto wide = hn::PromoteTo(pair, pixels);
      high[r] =
          hn::ReorderWidenMulAccumulate(sum, wide, hn::LoadU(pair, weights), high[r], high2[r]);
      low[r] = hn::ReorderWidenMulAccumulate(sum, wide, hn::LoadU(pair, weights + kLanes), low[r],
                                             low2[r]);
#else
      const auto first = hn::PromoteTo(pair, hn::LowerHalf(part, pixels));
      const auto second = hn::PromoteTo(pair, hn::UpperHalf(part, pixels));
      high[r] =
          hn::ReorderWidenMulAccumulate(sum, first, hn::LoadU(pair, weights), high[r], high2[r]);
      high[r] = hn::ReorderWidenMulAccumulate(sum, second, hn::LoadU(pair, weights + 8), high[r],
                                              high2[r]);
      low[r] = hn::ReorderWidenMulAccumulate(sum, first, hn::LoadU(pair, weights + kLanes), low[r],
                                             low2[r]);
      low[r] = hn::ReorderWidenMulAccumulate(sum, second, hn::LoadU(pair, weights + kLanes + 8),
                                             low[r], low2[r]);
#endif
    }
  }
  for (int r = 0; r < kRows; ++r) {
    const PixelTag pixel;
    auto total =
        hn::Add(hn::ShiftLeft<kLowBits>(add_up(high[r], high2[r])), add_up(low[r], low2[r]));
    total = hn::ShiftRight<kPrecisionBits>(hn::Add(total, hn::Set(pixel, kRounding)));
    alignas(16) std::uint8_t rgb[16];
    hn::StoreU(hn::DemoteTo(hn::FixedTag<std::uint8_t, 4>(), total),
               hn::FixedTag<std::uint8_t, 4>(), rgb);
    std::memcpy(to[r], rgb, 3);
  }
}

template <int kRows>
void resize_rows(const std::uint8_t* const* lines, const Filter& filter,
                 const GroupedWeights& weights, std::size_t first_pixel, std::uint8_t* const* out) {
  std::uint8_t* to[kRows];
  for (int r = 0; r < kRows; ++r) to[r] = out[r];
  const std::int16_t* column_weights = weights.values.data();
  for (const int start : filter.start) {
    sum_column<kRows>(lines, (static_cast<std::size_t>(start) - first_pixel) * 3, column_weights,
                      weights.groups, to);
    column_weights += weights.groups * 2 * kLanes;
    for (int r = 0; r < kRows; ++r) to[r] += 3;
  }
}

void horizontal(const Rows& in, const Filter& filter, int first, int /*last*/, Rgb& out) {
  const GroupedWeights weights(filter);
  // The stretch of each row that these columns read, copied so that whole groups may be read beyond
  // its end.
  const auto first_pixel = static_cast<std::size_t>(filter.start.front());
  const std::size_t last_pixel =
      static_cast<std::size_t>(filter.start.back()) + static_cast<std::size_t>(filter.count.back());
  const std::size_t used = (last_pixel - first_pixel) * 3;
  const std::size_t line_bytes = (static_cast<std::size_t>(filter.start.back()) - first_pixel) * 3 +
                                 weights.groups * kGroupBytes + 16;
  std::vector<std::uint8_t> buffer(std::max(line_bytes, used) * kRowsAtOnce);
  const std::uint8_t* lines[kRowsAtOnce];
  std::uint8_t* to[kRowsAtOnce];
  for (int y = 0; y < in.height; y += kRowsAtOnce) {
    const int rows = std::min(kRowsAtOnce, in.height - y);
    for (int r = 0; r < rows; ++r) {
      std::uint8_t* line = buffer.data() + std::max(line_bytes, used) * static_cast<std::size_t>(r);
      std::memcpy(line, in.row(y + r) + first_pixel * 3, used);
      lines[r] = line;
      to[r] = out.pixels.data() +
              (static_cast<std::size_t>(y + r) * static_cast<std::size_t>(out.width) +
               static_cast<std::size_t>(first)) *
                  3;
    }
    if (rows == kRowsAtOnce) {
      resize_rows<kRowsAtOnce>(lines, filter, weights, first_pixel, to);
    } else {
      for (int r = 0; r < rows; ++r)
        resize_rows<1>(lines + r, filter, weights, first_pixel, to + r);
    }
  }
}

// `size` bytes of one output row, from the same bytes of `count` input rows.
HWY_INLINE void sum_bytes(const std::uint8_t* rows, std::size_t stride, const std::int32_t* weights,
                          int count, std::uint8_t* to) {
  const hn::ScalableTag<std::int32_t> sum;
  const hn::Rebind<std::uint8_t, decltype(sum)> bytes;
  const std::size_t lanes = hn::Lanes(sum);
  auto a = hn::Set(sum, kRounding), b = a, c = a, d = a;
  for (int j = 0; j < count; ++j, rows += stride) {
    const auto weight = hn::Set(sum, weights[j]);
    a = hn::Add(a, hn::Mul(hn::PromoteTo(sum, hn::LoadU(bytes, rows)), weight));
    b = hn::Add(b, hn::Mul(hn::PromoteTo(sum, hn::LoadU(bytes, rows + lanes)), weight));
    c = hn::Add(c, hn::Mul(hn::PromoteTo(sum, hn::LoadU(bytes, rows + 2 * lanes)), weight));
    d = hn::Add(d, hn::Mul(hn::PromoteTo(sum, hn::LoadU(bytes, rows + 3 * lanes)), weight));
  }
  hn::StoreU(hn::DemoteTo(bytes, hn::ShiftRight<kPrecisionBits>(a)), bytes, to);
  hn::StoreU(hn::DemoteTo(bytes, hn::ShiftRight<kPrecisionBits>(b)), bytes, to + lanes);
  hn::StoreU(hn::DemoteTo(bytes, hn::ShiftRight<kPrecisionBits>(c)), bytes, to + 2 * lanes);
  hn::StoreU(hn::DemoteTo(bytes, hn::ShiftRight<kPrecisionBits>(d)), bytes, to + 3 * lanes);
}

void vertical(const Rows& in, const Filter& filter, int first, int last, Rgb& out) {
  const std::size_t stride = in.stride(), step = 4 * hn::Lanes(hn::ScalableTag<std::int32_t>());
  for (int y = first; y < last; ++y) {
    const auto i = static_cast<std::size_t>(y - first);
    const std::int32_t* weights = filter.weights.data() + i * static_cast<std::size_t>(filter.taps);
    const std::uint8_t* rows = in.row(filter.start[i]);
    std::uint8_t* to = out.pixels.data() + stride * static_cast<std::size_t>(y);
    std::size_t x = 0;
    for (; x + step <= stride; x += step)
      sum_bytes(rows + x, stride, weights, filter.count[i], to + x);
    for (; x < stride; ++x) {
      std::int32_t sum = kRounding;
      for (int j = 0; j < filter.count[i]; ++j)
        sum += rows[stride * static_cast<std::size_t>(j) + x] * weights[j];
      to[x] = static_cast<std::uint8_t>(std::clamp(sum >> kPrecisionBits, 0, 255));
    }
  }
}

ResizeKernels kernels() { return {horizontal, vertical}; }

#else  // HWY_SCALAR: one lane at a time has nothing to shuffle

ResizeKernels kernels() { return scalar_kernels(); }

#endif

}  // namespace blip::image::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // BLIP_IMAGE_RESIZE_INL_H_
