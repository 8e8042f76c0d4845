// The product over panels on 64-bit ARM: NEON for every number type, bytes by dot products (SDOT)
// or matrix products (SMMLA), bfloat16 by matrix products (BFMMLA).
//
// Register tiles. There are 32 registers, and the widest cores start 4 multiply-adds a cycle, which
// take 4 cycles, so that 16 sums keep them busy, on most others (2 a cycle) 8. Up to 24 fit beside
// the rows and the column that is being multiplied: 6 rows by a panel's 4 vectors of 4 columns, or
// 3 pairs of rows by 8 pairs of columns. The more rows, the fewer loads a product: of 4 terms 96
// multiply-adds by 22 loads. Rows are a factor of kPanelRowUnit.
#include "kernels/panel_kernel.h"

#if defined(__aarch64__)

// Clang declares these intrinsics where the whole file is compiled for them alone, up to release
// 15; our functions say themselves which they use. It then has no type for bfloat16 either.
#if defined(__clang__) && __clang_major__ < 16
#if !defined(__ARM_FEATURE_DOTPROD)
#define __ARM_FEATURE_DOTPROD 1
#endif
#if !defined(__ARM_FEATURE_MATMUL_INT8)
#define __ARM_FEATURE_MATMUL_INT8 1
#endif
#endif
#include <arm_neon.h>

#include <algorithm>
#include <cstring>

#include "kernels/isa.h"
#include "kernels/target.h"

#if defined(__clang__) && __clang_major__ < 16
#define BLIP_DOTPROD "dotprod"
#define BLIP_I8MM "i8mm"
#define BLIP_BF16 "bf16"
#else
#define BLIP_DOTPROD "arch=armv8.2-a+dotprod"
#define BLIP_I8MM "arch=armv8.2-a+i8mm"
#define BLIP_BF16 "arch=armv8.2-a+bf16"
#endif

// GCC would move every load of a round to its beginning, before it gives out registers, and have no
// registers for them.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-schedule-insns")
#endif

#define BLIP_PANEL_INLINE inline __attribute__((always_inline))
#define BLIP_PANEL_FUNCTION
#define BLIP_ARM_UNROLL _Pragma("GCC unroll 16")

namespace blip::kernels {
namespace {

// Bytes of x less 128, pieces of 8 of them `step` bytes apart, completed by zeros to `whole`.
void pack_signed(const void* x, int k, char* out, std::size_t step, int whole) {
  constexpr int kPiece = 8;
  const auto* values = static_cast<const char*>(x);
  int i = 0;
  for (; i + kPiece <= k; i += kPiece, out += step) {
    std::uint64_t piece;
    std::memcpy(&piece, values + i, kPiece);
    piece ^= 0x8080808080808080u;
    std::memcpy(out, &piece, kPiece);
  }
  for (int rest = i; rest < whole; ++rest)
    out[rest - i] = rest < k ? static_cast<char>(values[rest] ^ 0x80) : char{0};
}

constexpr int whole_values(int k, int unit) { return (k + unit - 1) / unit * unit; }

namespace neon {
#include "kernels/gemm_panels_lanes-inl.h"
#include "kernels/gemm_panels_neon-inl.h"
// Over both:
#include "kernels/gemm_panels-inl.h"

constexpr PanelKernel kF32 = make_panel_kernel<F32>(), kBf16 = make_panel_kernel<Bf16>(),
                      kBytes = make_panel_kernel<Bytes>(), kKeys = make_panel_kernel<Keys>();
}  // namespace neon

BLIP_TARGET_BEGIN(BLIP_DOTPROD)
namespace dotprod {
#include "kernels/gemm_panels_lanes-inl.h"

// Products of four bytes, added in one instruction.
struct Bytes : SingleUnits {
  using Sums = int32x4_t;
  static constexpr int kLanes = 4, kRows = 6, kPlanes = 1, kStep = 4, kParts = 1, kUnitsAtOnce = 4,
                       kValues = 4;
  static constexpr bool kSignedRows = true;
  static Sums load(const char* p) { return vld1q_s32(reinterpret_cast<const std::int32_t*>(p)); }
  static void store(char* p, Sums sums) { vst1q_s32(reinterpret_cast<std::int32_t*>(p), sums); }
  template <int Part>
  static int8x16_t column(const char* p) {
    return vld1q_s8(reinterpret_cast<const std::int8_t*>(p));
  }
  template <int Part>
  static int8x16_t row(const char* p, std::size_t) {
    return vreinterpretq_s8_s32(vld1q_dup_s32(reinterpret_cast<const std::int32_t*>(p)));
  }
  static Sums dot(Sums sums, int8x16_t x, int8x16_t w) { return vdotq_s32(sums, w, x); }
  static int8x16_t load_row(const char* p) { return column<0>(p); }
  template <int Lane>
  static Sums dot_lane(Sums sums, int8x16_t w, int8x16_t x) {
    return vdotq_laneq_s32(sums, w, x, Lane);
  }
  template <int Rows, int Vectors>
  static BLIP_PANEL_INLINE void add_units(const PanelBlock& b, const char* x, const char* panel,
                                          Sums (&sums)[Rows][Vectors]) {
    Lanes<Bytes, Rows, Vectors>::add(b, x, panel, sums);
  }
  template <class V>
  static void renew(V& v) {
    asm volatile("" : "+w"(v));
  }
  static std::int32_t pack_row(const void* x, int k, char* out, std::size_t) {
    pack_signed(x, k, out, 8, whole_values(k, kValues));
    return 0;
  }
};

// Keys are kept 128 above theirs.
struct Keys : Bytes {
  template <int Part>
  static int8x16_t column(const char* p) {
    return veorq_s8(Bytes::column<Part>(p), vdupq_n_s8(-128));
  }
  template <int Rows, int Vectors>
  static BLIP_PANEL_INLINE void add_units(const PanelBlock& b, const char* x, const char* panel,
                                          Sums (&sums)[Rows][Vectors]) {
    Lanes<Keys, Rows, Vectors>::add(b, x, panel, sums);
  }
};

#include "kernels/gemm_panels-inl.h"

constexpr PanelKernel kBytes = make_panel_kernel<Bytes>(), kKeys = make_panel_kernel<Keys>();
}  // namespace dotprod
BLIP_TARGET_END

// Two rows by two columns at a time, 8 bytes of each.
struct Matrices : SingleUnits {
  static constexpr int kGroup = 2, kLines = 2, kLanes = 2, kRows = 6, kPlanes = 1, kStep = 16,
                       kParts = 1, kUnitsAtOnce = 1;
  static constexpr bool kJoined = true;
};

BLIP_TARGET_BEGIN(BLIP_I8MM)
namespace i8mm {
struct Bytes : Matrices {
  using Sums = int32x4_t;
  static constexpr int kValues = 8;
  static constexpr bool kSignedRows = true;
  static Sums load(const char* p, std::size_t lds = 0) {
    return vcombine_s32(vld1_s32(reinterpret_cast<const std::int32_t*>(p)),
                        vld1_s32(reinterpret_cast<const std::int32_t*>(p + lds)));
  }
  static void store(char* p, std::size_t lds, Sums sums) {
    vst1_s32(reinterpret_cast<std::int32_t*>(p), vget_low_s32(sums));
    vst1_s32(reinterpret_cast<std::int32_t*>(p + lds), vget_high_s32(sums));
  }
  static void store(char* p, Sums sums) { store(p, 8, sums); }
  template <int Part>
  static int8x16_t column(const char* p) {
    return vld1q_s8(reinterpret_cast<const std::int8_t*>(p));
  }
  template <int Part>
  static int8x16_t row(const char* p, std::size_t) {
    return column<Part>(p);
  }
  static Sums dot(Sums sums, int8x16_t x, int8x16_t w) { return vmmlaq_s32(sums, x, w); }
  template <class V>
  static void renew(V& v) {
    asm volatile("" : "+w"(v));
  }
  static std::int32_t pack_row(const void* x, int k, char* out, std::size_t) {
    pack_signed(x, k, out, kStep, whole_values(k, kValues));
    return 0;
  }
};

#include "kernels/gemm_panels-inl.h"

constexpr PanelKernel kBytes = make_panel_kernel<Bytes>();
}  // namespace i8mm
BLIP_TARGET_END

BLIP_TARGET_BEGIN(BLIP_BF16)
namespace bf16 {
// Sums of two products, rounded to odd as each of those, are added one after the other, rounded to
// odd again, denormal numbers taken for zero: as the architecture defines BFMMLA, so the same on
// every processor that has it, but not the sums of AVX-512's products.
struct Bf16 : Matrices {
  using Sums = float32x4_t;
  static constexpr int kValues = 4;
  static constexpr bool kSignedRows = false;
  static Sums load(const char* p, std::size_t lds = 0) {
    return vcombine_f32(vld1_f32(reinterpret_cast<const float*>(p)),
                        vld1_f32(reinterpret_cast<const float*>(p + lds)));
  }
  static void store(char* p, std::size_t lds, Sums sums) {
    vst1_f32(reinterpret_cast<float*>(p), vget_low_f32(sums));
    vst1_f32(reinterpret_cast<float*>(p + lds), vget_high_f32(sums));
  }
  static void store(char* p, Sums sums) { store(p, 8, sums); }
  template <int Part>
  static uint16x8_t column(const char* p) {
    return vld1q_u16(reinterpret_cast<const std::uint16_t*>(p));
  }
  template <int Part>
  static uint16x8_t row(const char* p, std::size_t) {
    return column<Part>(p);
  }
  static Sums dot(Sums sums, uint16x8_t x, uint16x8_t w) {
#if defined(__clang__) && __clang_major__ < 16
    asm("bfmmla %0.4s, %1.8h, %2.8h" : "+w"(sums) : "w"(x), "w"(w));
    return sums;
#else
    return vbfmmlaq_f32(sums, vreinterpretq_bf16_u16(x), vreinterpretq_bf16_u16(w));
#endif
  }
  template <class V>
  static void renew(V& v) {
    asm volatile("" : "+w"(v));
  }
  static std::int32_t pack_row(const void* x, int k, char* out, std::size_t) {
    const auto* values = static_cast<const std::uint16_t*>(x);
    for (int i = 0; i < k; i += kValues, out += kStep) {
      std::uint16_t piece[kValues] = {};
      if (i + kValues <= k)
        std::memcpy(piece, values + i, sizeof(piece));
      else
        std::copy(values + i, values + k, piece);
      std::memcpy(out, piece, sizeof(piece));
    }
    return 0;
  }
};

#include "kernels/gemm_panels-inl.h"

constexpr PanelKernel kBf16 = make_panel_kernel<Bf16>();
}  // namespace bf16
BLIP_TARGET_END

}  // namespace

const PanelKernel& arm_panels(NumberType type, bool ordered) {
  if (type == NumberType::kF32) return neon::kF32;
  if (type == NumberType::kBf16)
    return !ordered && has_isa(Isa::kNeonBf16) ? bf16::kBf16 : neon::kBf16;
  return has_isa(Isa::kI8mm)      ? i8mm::kBytes
         : has_isa(Isa::kDotProd) ? dotprod::kBytes
                                  : neon::kBytes;
}

const PanelKernel& arm_keys() { return has_isa(Isa::kDotProd) ? dotprod::kKeys : neon::kKeys; }

}  // namespace blip::kernels

#endif
