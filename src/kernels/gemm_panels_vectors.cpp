// The product over panels by the vectors of whatever processor this is: policies over Highway.
// ARM64 has its own (gemm_panels_arm.cpp).
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "core/vector_targets.h"  // before Highway
#include "kernels/panel_kernel.h"

#if !defined(__aarch64__)

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/gemm_panels_vectors.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace blip::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#define BLIP_PANEL_INLINE HWY_INLINE
#define BLIP_PANEL_FUNCTION

// On processors with AVX-512 this serves what its own product has no instructions for.
using Floats = HWY_CAPPED(float, kPanel);
using Words = hn::RebindToUnsigned<Floats>;
using Integers = hn::RebindToSigned<Floats>;
constexpr int kVectorLanes = static_cast<int>(hn::MaxLanes(Floats()));

// Rows that share a panel's loads. Their sums hide the latency of a multiply-add, 4 cycles on two
// ports, from 8 on, and must fit the registers beside a row of the panel and the rows' values: 12
// of AVX-512's 32, for each of two panels, as each has one vector; 6 x 2 of AVX2's 16, 3 x 4 of
// SSE4's.
#if HWY_ARCH_X86
constexpr int kTileRows = kVectorLanes >= 16 ? 12 : kVectorLanes >= 8 ? 6 : 3;
#else
constexpr int kTileRows = 4;
#endif
struct Units : SingleUnits {
  static constexpr int kFewRows = kVectorLanes >= 16 ? kAnyRows : SingleUnits::kFewRows;
};

// Nothing that compilers know of the vector stays so.
template <class V>
HWY_INLINE void renew_vector(V& v) {
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3
  asm volatile("" : "+v"(v.raw));
#elif HWY_ARCH_X86 && HWY_TARGET <= HWY_SSSE3
  asm volatile("" : "+x"(v.raw));
#else
  asm volatile("" : "+m"(v));
#endif
}

struct FloatSums : Units {
  using Sums = hn::Vec<Floats>;
  static constexpr int kLanes = kVectorLanes, kRows = kTileRows, kUnitsAtOnce = 1, kStep = 4;
  static constexpr bool kSignedRows = false;
  static HWY_INLINE Sums load(const char* p) {
    return hn::LoadU(Floats(), reinterpret_cast<const float*>(p));
  }
  static HWY_INLINE void store(char* p, Sums sums) {
    hn::StoreU(sums, Floats(), reinterpret_cast<float*>(p));
  }
  static HWY_INLINE Sums dot(Sums sums, Sums row, Sums column) {
    return hn::MulAdd(column, row, sums);
  }
  static HWY_INLINE void renew(Sums& v) { renew_vector(v); }
};

struct F32 : FloatSums {
  static constexpr int kPlanes = 1, kParts = 1, kValues = 1;
  static constexpr std::nullptr_t pack_row = nullptr;
  template <int Part>
  static HWY_INLINE Sums column(const char* p) {
    return load(p);
  }
  template <int Part>
  static HWY_INLINE Sums row(const char* p, std::size_t) {
    return hn::Set(Floats(), *reinterpret_cast<const float*>(p));
  }
};

// Two bfloat16s to a unit, converted in registers: a shift and a mask for as many multiply-adds as
// there are rows. The second comes before the first, as AVX-512's dot product has it, so that the
// sums are the same.
struct Bf16 : FloatSums {
  static constexpr int kPlanes = 2, kParts = 2, kStep = 8, kValues = 2;
  template <int Part>
  static HWY_INLINE Sums column(const char* p) {
    const Words d;
    const auto units = hn::LoadU(d, reinterpret_cast<const std::uint32_t*>(p));
    return hn::BitCast(
        Floats(), Part == 0 ? hn::And(units, hn::Set(d, 0xffff0000u)) : hn::ShiftLeft<16>(units));
  }
  template <int Part>
  static HWY_INLINE Sums row(const char* p, std::size_t) {
    return hn::Set(Floats(), *reinterpret_cast<const float*>(p + (Part == 0 ? 4 : 0)));
  }
  static std::int32_t pack_row(const void* x, int k, char* out, std::size_t) {
    const auto* values = static_cast<const std::uint16_t*>(x);
    auto* floats = reinterpret_cast<std::uint32_t*>(out);
    for (int i = 0; i < k; ++i) floats[i] = std::uint32_t{values[i]} << 16;
    if (k % 2) floats[k] = 0;
    return 0;
  }
};

// Bytes. Full-range ones saturate in VPMADDUBSW, which adds two products of an unsigned byte and a
// signed one in 16 bits. Less 128, x is -128 to 127; its magnitude times w with x's sign fits. That
// is w with its bits inverted, less 1 too few for each, where x is negative: it is between -128 and
// 127, two products add up to -2 x 128 x 128 at the least, and the magnitudes of the negative x
// are added to the row's sums beforehand. Measured in registers on a Xeon with AVX2 alone in use,
// one thread, Gop/s, in one sitting: this 138 to 141; with VPSIGNB, which two of three ports have
// where VPXOR has all, 119 to 120; f32 71 to 73. 16-bit products (VPMADDWD, both factors widened
// beforehand) are as fast as VPSIGNB and take twice the cache, weights in two parts slower. Without
// any of it, where two products happen to fit, 170 to 177; but then units where they do not have to
// be told apart for every tile of rows, and over normally distributed values nothing was gained.
// Pairs of units whose weights are small enough for any x are added up in 16 bits: 7 instructions
// for 8, in registers 145 to 150 where it is 130 to 133 without.
struct Bytes : Units {
  using Sums = hn::Vec<Integers>;
  static constexpr int kLanes = kVectorLanes, kRows = kTileRows, kUnitsAtOnce = 1, kStep = 4,
                       kValues = 4;
  static constexpr bool kSignedRows = true;
  static HWY_INLINE Sums load(const char* p) {
    return hn::LoadU(Integers(), reinterpret_cast<const std::int32_t*>(p));
  }
  static HWY_INLINE void store(char* p, Sums sums) {
    hn::StoreU(sums, Integers(), reinterpret_cast<std::int32_t*>(p));
  }
  static HWY_INLINE Sums broadcast(const char* p) {
    std::int32_t unit;
    std::memcpy(&unit, p, sizeof(unit));
    return hn::Set(Integers(), unit);
  }
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_SSSE3
  static constexpr int kPlanes = 2, kParts = 1, kFewRows = 0;
  static constexpr bool kRowStarts = true, kPaired = true;
  struct Row {
    Sums magnitude, inverted;
  };
  static HWY_INLINE Sums add(Sums sums, std::int32_t i) {
    return hn::Add(sums, hn::Set(Integers(), i));
  }
  template <int Part>
  static HWY_INLINE Sums column(const char* p) {
    return load(p);
  }
  template <int Part>
  static HWY_INLINE Row row(const char* p, std::size_t plane) {
    return {broadcast(p), broadcast(p + plane)};
  }
  using Halves = hn::Vec<hn::Repartition<std::int16_t, Integers>>;
  static HWY_INLINE Halves multiply(const Row& x, Sums w) {
#if HWY_TARGET <= HWY_AVX3
    return Halves{_mm512_maddubs_epi16(x.magnitude.raw, hn::Xor(w, x.inverted).raw)};
#elif HWY_TARGET <= HWY_AVX2
    return Halves{_mm256_maddubs_epi16(x.magnitude.raw, hn::Xor(w, x.inverted).raw)};
#else
    return Halves{_mm_maddubs_epi16(x.magnitude.raw, hn::Xor(w, x.inverted).raw)};
#endif
  }
  static HWY_INLINE Sums widen(Sums sums, Halves halves) {
    const auto one = hn::Set(hn::Repartition<std::int16_t, Integers>(), 1);
#if HWY_TARGET <= HWY_AVX3
    return hn::Add(sums, Sums{_mm512_madd_epi16(halves.raw, one.raw)});
#elif HWY_TARGET <= HWY_AVX2
    return hn::Add(sums, Sums{_mm256_madd_epi16(halves.raw, one.raw)});
#else
    return hn::Add(sums, Sums{_mm_madd_epi16(halves.raw, one.raw)});
#endif
  }
  static HWY_INLINE Sums dot(Sums sums, const Row& x, Sums w) {
    return widen(sums, multiply(x, w));
  }
  static HWY_INLINE Sums dot_pair(Sums sums, const Row& x, Sums w, const Row& other_x,
                                  Sums other_w) {
    return widen(sums, hn::Add(multiply(x, w), multiply(other_x, other_w)));
  }
#else
  static constexpr int kPlanes = 1, kParts = 4;  // plain code
  template <int Part>
  static HWY_INLINE Sums part(Sums units) {
    return hn::ShiftRight<24>(hn::ShiftLeft<24 - 8 * Part>(units));
  }
  template <int Part>
  static HWY_INLINE Sums column(const char* p) {
    return part<Part>(load(p));
  }
  template <int Part>
  static HWY_INLINE Sums row(const char* p, std::size_t) {
    return part<Part>(broadcast(p));
  }
  static HWY_INLINE Sums dot(Sums sums, Sums x, Sums w) { return hn::Add(sums, hn::Mul(x, w)); }
#endif
  template <class V>
  static HWY_INLINE void renew(V& v) {
    renew_vector(v);
  }
  static std::int32_t pack_row(const void* x, int k, char* out, std::size_t plane) {
    const auto* values = static_cast<const std::uint8_t*>(x);
    const int whole = (k + kValues - 1) / kValues * kValues;
    if constexpr (kPlanes == 1) {
      for (int i = 0; i < k; ++i) out[i] = static_cast<char>(values[i] ^ 0x80);
      std::fill(out + k, out + whole, 0);
      return 0;
    } else {
      auto* magnitudes = reinterpret_cast<std::uint8_t*>(out);
      char* inverted = out + plane;
      std::int32_t negative = 0;
      for (int i = 0; i < k; ++i) {
        const int s = values[i] - 128;
        magnitudes[i] = static_cast<std::uint8_t>(std::abs(s));
        inverted[i] = s < 0 ? -1 : 0;
        negative += std::max(-s, 0);
      }
      std::fill(magnitudes + k, magnitudes + whole, 0);
      return negative;
    }
  }
};

// Keys are kept 128 above theirs.
struct Keys : Bytes {
  static constexpr int kFewRows = Units::kFewRows;
  static constexpr bool kPaired = false;
  template <int Part>
  static HWY_INLINE auto column(const char* p) {
    const auto bits = hn::Set(Integers(), static_cast<std::int32_t>(0x80808080u));
    if constexpr (kParts == 1)
      return hn::Xor(load(p), bits);
    else
      return part<Part>(hn::Xor(load(p), bits));
  }
};

#include "kernels/gemm_panels-inl.h"

#undef BLIP_PANEL_INLINE
#undef BLIP_PANEL_FUNCTION

const PanelKernel* key_kernel_here() {
  static constexpr PanelKernel kKeys = make_panel_kernel<Keys>();
  return &kKeys;
}

const PanelKernel* panel_kernel(NumberType type) {
  static constexpr PanelKernel kF32 = make_panel_kernel<F32>(), kBf16 = make_panel_kernel<Bf16>(),
                               kInt8 = make_panel_kernel<Bytes>();
  return type == NumberType::kF32 ? &kF32 : type == NumberType::kBf16 ? &kBf16 : &kInt8;
}

}  // namespace blip::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace blip::kernels {
namespace {

HWY_EXPORT(panel_kernel);
HWY_EXPORT(key_kernel_here);

}  // namespace

const PanelKernel& vector_panels(NumberType type) {
  return *HWY_DYNAMIC_DISPATCH(panel_kernel)(type);
}

const PanelKernel& vector_keys() { return *HWY_DYNAMIC_DISPATCH(key_kernel_here)(); }

}  // namespace blip::kernels
#endif  // HWY_ONCE

#endif
