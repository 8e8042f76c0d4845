#include "kernels/bf16_12bit.h"

#include <algorithm>
#include <cstring>

#include "core/aligned.h"
#include "core/vector_targets.h"  // before Highway
#include "kernels/gemm.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/bf16_12bit.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#ifndef BLIP_KERNELS_BF16_12BIT_CPP_  // what all instruction sets share
#define BLIP_KERNELS_BF16_12BIT_CPP_
namespace blip::kernels {
inline constexpr int kUpper = 7;      // upper bytes of one sign
inline constexpr int kZeroCode = 14;  // after those of both
inline constexpr int kHalf = 64;      // values of half a unit row
}  // namespace blip::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace blip::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The upper and the lower bytes of 64 values, 32 columns, in the order in which they are kept.
struct Halves {
  std::uint8_t upper[kHalf], lower[kHalf];
};

HWY_INLINE void take_apart(const std::uint16_t* columns, Halves& halves) {
  constexpr int kBlock = 8,
                kSecond = kHalf / 2;  // values of the first 16 columns, then of the others
  for (int b = 0; b < kHalf / (2 * kBlock); ++b)
    for (int part = 0; part < 2; ++part)
      for (int i = 0; i < kBlock; ++i) {
        const std::uint16_t value = columns[part * kSecond + b * kBlock + i];
        halves.upper[(2 * b + part) * kBlock + i] = static_cast<std::uint8_t>(value >> 8);
        halves.lower[(2 * b + part) * kBlock + i] = static_cast<std::uint8_t>(value);
      }
}

// Codes of the upper bytes, and the lower bytes that go with them. largest: the upper byte of the
// largest magnitude.
HWY_INLINE void encode(Halves& values, int largest, std::uint8_t* codes) {
  const int smallest = largest - (kUpper - 1);
  const auto top = static_cast<std::uint8_t>(largest);
  // From half of the smallest magnitude that has a code on, the upper byte is one less and the
  // lower one begins with the exponent's last bit. No upper byte without its sign is 255.
  const auto next = static_cast<std::uint8_t>(smallest > 0 ? smallest - 1 : 255);
  for (int i = 0; i < kHalf; ++i) {
    const std::uint8_t exponent = values.upper[i] & 0x7f, lower = values.lower[i];
    const auto steps = static_cast<std::uint8_t>(top - exponent);
    const bool small = steps > kUpper - 1, up = exponent == next && lower >= 0x80;
    const auto code = static_cast<std::uint8_t>((small ? kUpper - 1 : steps) +
                                                (values.upper[i] & 0x80 ? kUpper : 0));
    codes[i] = small && !up ? std::uint8_t{kZeroCode} : code;
    values.lower[i] = small ? std::uint8_t{0} : lower;
  }
}

void pack(const std::uint32_t* units, int n, std::byte* to) {
  const auto* values = reinterpret_cast<const std::uint16_t*>(units);
  auto* out = reinterpret_cast<std::uint8_t*>(to);
  std::uint16_t top = 0;
  for (int i = 0; i < n * 2 * kHalf; ++i)
    top = std::max(top, static_cast<std::uint16_t>(values[i] & 0x7fff));
  const int largest = top >> 8;
  for (int i = 0; i < kUpper; ++i) {
    const int upper = std::max(0, largest - i);
    out[i] = static_cast<std::uint8_t>(upper);
    out[kUpper + i] = static_cast<std::uint8_t>(upper | 0x80);
  }
  out[kZeroCode] = out[kZeroCode + 1] = 0;
  out += k12BitTable;
  for (int u = 0; u < n; ++u, values += 2 * kHalf, out += k12BitUnitRow) {
    Halves left, right;
    std::uint8_t left_codes[kHalf], right_codes[kHalf];
    take_apart(values, left);
    take_apart(values + kHalf, right);
    encode(left, largest, left_codes);
    encode(right, largest, right_codes);
    std::memcpy(out, left.lower, kHalf);
    std::memcpy(out + kHalf, right.lower, kHalf);
    for (int i = 0; i < kHalf; ++i)
      out[2 * kHalf + i] = static_cast<std::uint8_t>(left_codes[i] | right_codes[i] << 4);
  }
}

#if HWY_TARGET == HWY_SCALAR
void unpack(const std::byte* block, const UnpackedUnits& to, int first, int n) {
  const auto* table = reinterpret_cast<const std::uint8_t*>(block);
  const std::uint8_t* row = table + k12BitTable + static_cast<std::size_t>(first) * k12BitUnitRow;
  for (int u = 0; u < n; ++u, row += k12BitUnitRow)
    for (int half = 0; half < 2; ++half)
      for (int i = 0; i < kHalf; ++i) {
        const int code = row[2 * kHalf + i] >> 4 * half & 0xf, set = 2 * half + i % 16 / 8,
                  at = i / 16 * 8 + i % 8;
        const auto value = static_cast<std::uint16_t>(table[code] << 8 | row[half * kHalf + i]);
        std::memcpy(to.data + static_cast<std::size_t>(set) * to.set_stride +
                        static_cast<std::size_t>(u) * to.unit_stride + 2 * at,
                    &value, 2);
      }
}
#else
// Lower bytes, interleaved with the upper ones that their codes stand for, 16 at a time: 8 values
// of one set of columns, 8 of the next.
void unpack(const std::byte* block, const UnpackedUnits& to, int first, int n) {
  const hn::CappedTag<std::uint8_t, kHalf> d;
  const auto* table = reinterpret_cast<const std::uint8_t*>(block);
  const std::uint8_t* row = table + k12BitTable + static_cast<std::size_t>(first) * k12BitUnitRow;
  const int lanes = static_cast<int>(hn::Lanes(d));
  const auto upper = hn::LoadDup128(d, table), low = hn::Set(d, 0x0f);
  for (int u = 0; u < n; ++u, row += k12BitUnitRow) {
    auto* out =
        reinterpret_cast<std::uint8_t*>(to.data + static_cast<std::size_t>(u) * to.unit_stride);
    for (int i = 0; i < kHalf; i += lanes) {
      const auto codes = hn::LoadU(d, row + 2 * kHalf + i);
      const hn::Repartition<std::uint16_t, decltype(d)> d16;
      const auto right_codes =
          hn::And(hn::BitCast(d, hn::ShiftRight<4>(hn::BitCast(d16, codes))), low);
      const auto left = hn::LoadU(d, row + i), right = hn::LoadU(d, row + kHalf + i);
      const auto left_upper = hn::TableLookupBytes(upper, hn::And(codes, low)),
                 right_upper = hn::TableLookupBytes(upper, right_codes);
      hn::StoreU(hn::InterleaveLower(d, left, left_upper), d, out + i);
      hn::StoreU(hn::InterleaveUpper(d, left, left_upper), d, out + to.set_stride + i);
      hn::StoreU(hn::InterleaveLower(d, right, right_upper), d, out + 2 * to.set_stride + i);
      hn::StoreU(hn::InterleaveUpper(d, right, right_upper), d, out + 3 * to.set_stride + i);
    }
  }
}
#endif

}  // namespace blip::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace blip::kernels {

HWY_EXPORT(pack);
HWY_EXPORT(unpack);

void pack_12bit(const std::uint32_t* units, int n, std::byte* out) {
  HWY_DYNAMIC_DISPATCH(pack)(units, n, out);
}

void unpack_12bit(const std::byte* block, int first, int n, const UnpackedUnits& out) {
  HWY_DYNAMIC_DISPATCH(unpack)(block, out, first, n);
}

void unpack_12bit(const std::byte* block, int first, int n, std::uint32_t* out) {
  unpack_12bit(block, first, n,
               {reinterpret_cast<char*>(out), kColumnBlock, kColumnBlock * sizeof(*out)});
}

}  // namespace blip::kernels
#endif  // HWY_ONCE
