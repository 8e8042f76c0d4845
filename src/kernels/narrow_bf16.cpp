#include "kernels/narrow_bf16.h"

#include <algorithm>
#include <cassert>

#include "core/aligned.h"
#include "kernels/gemm.h"
#include "kernels/target.h"

#if defined(__x86_64__)
#include <immintrin.h>

namespace blip::kernels {
namespace {

constexpr int kUpper = 7;      // upper bytes of one sign
constexpr int kZeroCode = 14;  // after those of both

BLIP_TARGET_BEGIN("avx512f,avx512bw,avx512dq,avx512vl")
#include "kernels/narrow_bf16-inl.h"

// 64 values in the order of their bytes.
struct Halves {
  __m512i upper, lower;
};

inline Halves halves(const std::uint32_t* columns) {
  const __m512i a = _mm512_load_si512(columns), b = _mm512_load_si512(columns + 16), low = _mm512_set1_epi16(0x00ff);
  return {_mm512_packus_epi16(_mm512_srli_epi16(a, 8), _mm512_srli_epi16(b, 8)), _mm512_packus_epi16(_mm512_and_si512(a, low), _mm512_and_si512(b, low))};
}

// Codes of the upper bytes, and lower bytes that go with them. largest: the upper byte of the largest magnitude.
inline __m512i encode(Halves& values, int largest) {
  const __m512i sign = _mm512_set1_epi8(static_cast<char>(0x80)), exponent = _mm512_andnot_si512(sign, values.upper);
  __m512i code = _mm512_sub_epi8(_mm512_set1_epi8(static_cast<char>(largest)), exponent);
  const __mmask64 small = _mm512_cmpgt_epu8_mask(code, _mm512_set1_epi8(kUpper - 1));
  // From half of the smallest magnitude that has a code on, the upper byte is one less and the lower one begins with the exponent's last bit.
  const int smallest = largest - (kUpper - 1);
  const __mmask64 next = smallest > 0 ? _mm512_mask_cmpeq_epu8_mask(small, exponent, _mm512_set1_epi8(static_cast<char>(smallest - 1))) : 0;
  const __mmask64 up = _mm512_mask_cmpge_epu8_mask(next, values.lower, _mm512_set1_epi8(static_cast<char>(0x80)));
  code = _mm512_mask_mov_epi8(code, up, _mm512_set1_epi8(kUpper - 1));
  values.lower = _mm512_mask_mov_epi8(values.lower, small, _mm512_setzero_si512());
  const __mmask64 negative = _mm512_test_epi8_mask(values.upper, sign);
  code = _mm512_mask_add_epi8(code, negative, code, _mm512_set1_epi8(kUpper));
  return _mm512_mask_mov_epi8(code, small & ~up, _mm512_set1_epi8(kZeroCode));
}

void narrow(const std::uint32_t* units, int n, char* out) {
  __m512i top = _mm512_setzero_si512();
  for (int u = 0; u < n * 4; ++u) top = _mm512_max_epu16(top, _mm512_and_si512(_mm512_load_si512(units + static_cast<std::size_t>(u) * 16), _mm512_set1_epi16(0x7fff)));
  alignas(64) std::uint16_t tops[32];
  _mm512_store_si512(tops, top);
  const int largest = *std::max_element(tops, tops + 32) >> 8;
  for (int i = 0; i < kUpper; ++i) {
    const int upper = std::max(0, largest - i);
    out[i] = static_cast<char>(upper);
    out[kUpper + i] = static_cast<char>(upper | 0x80);
  }
  out[kZeroCode] = out[kZeroCode + 1] = 0;
  out += kNarrowTable;
  for (int u = 0; u < n; ++u, units += 64, out += kNarrowUnitRow) {
    Halves left = halves(units), right = halves(units + 32);
    const __m512i left_codes = encode(left, largest), right_codes = encode(right, largest);
    _mm512_store_si512(out, left.lower);
    _mm512_store_si512(out + 64, right.lower);
    _mm512_store_si512(out + 128, _mm512_or_si512(left_codes, _mm512_slli_epi16(right_codes, 4)));
  }
}

void widen(const char* block, int first, int n, std::uint32_t* out) {
  const __m512i upper = upper_bytes(block);
  const char* row = block + kNarrowTable + static_cast<std::size_t>(first) * kNarrowUnitRow;
  for (int u = 0; u < n; ++u, row += kNarrowUnitRow, out += 64) {
    __m512i columns[4];
    widen_unit(row, upper, columns);
    for (int v = 0; v < 4; ++v) _mm512_store_si512(out + static_cast<std::size_t>(v) * 16, columns[v]);
  }
}
BLIP_TARGET_END

}  // namespace

void narrow_block(const std::uint32_t* units, int n, std::byte* out) { narrow(units, n, reinterpret_cast<char*>(out)); }
void widen_units(const std::byte* block, int first, int n, std::uint32_t* out) { widen(reinterpret_cast<const char*>(block), first, n, out); }

const std::uint32_t* widen_units(const std::byte* block, int first, int n) {
  static thread_local AlignedArray<std::uint32_t> units;
  widen_units(block, first, n, units.reserve(static_cast<std::size_t>(n) * kColumnBlock));
  return units.data();
}

}  // namespace blip::kernels

#else

namespace blip::kernels {

void narrow_block(const std::uint32_t*, int, std::byte*) { assert(false); }
void widen_units(const std::byte*, int, int, std::uint32_t*) { assert(false); }
const std::uint32_t* widen_units(const std::byte*, int, int) {
  assert(false);
  return nullptr;
}

}  // namespace blip::kernels

#endif
