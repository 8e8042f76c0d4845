// Matrix products of floats in Highway's vectors (gemm_panels.h): one body for every instruction set.
#include "kernels/gemm_panels.h"

#include <algorithm>
#include <cassert>

#include "core/aligned.h"
#include "kernels/vector.h"

#include "core/vector_targets.h"  // before Highway
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/gemm_panels.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#ifndef BLIP_KERNELS_GEMM_PANELS_CPP_  // what all instruction sets share
#define BLIP_KERNELS_GEMM_PANELS_CPP_
namespace blip::kernels {
// Columns of a packed panel, [n / kPanel, k, kPanel], zero-padded. Four vectors of NEON, one of AVX-512.
inline constexpr int kPanel = 16;
// Terms summed before the next panel: 16 x 384 floats are 24 KB, which leaves room for the rows in a 32 KB L1 cache.
inline constexpr int kTerms = 384;
}  // namespace blip::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace blip::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Floats = HWY_CAPPED(float, kPanel);
using Vector = hn::Vec<Floats>;
constexpr int kLanes = static_cast<int>(hn::MaxLanes(Floats())), kVectors = kPanel / kLanes;

// Rows that share a panel's loads. Their sums hide the latency of a multiply-add, 4 cycles on two ports, from 8 on, and must fit the registers beside a
// row of the panel and the rows' values: 4 x 4 of NEON's 32, 6 x 2 of AVX2's 16, 3 x 4 of SSE4's 16.
#if HWY_ARCH_X86
constexpr int kRows = kVectors <= 2 ? 6 : 3;
#else
constexpr int kRows = 4;
#endif

// A part of the sums: some rows by one panel, over some of the terms.
struct Block {
  const float* x;       // [Rows, terms], ldx apart
  std::size_t ldx;
  const float* panel;   // [terms, kPanel]
  int terms;
  bool first;           // no earlier terms are in the sums
  float* sums;          // [Rows, kPanel], lds apart
  std::size_t lds;
};

// Loops over the tile must be unrolled before the compiler decides that its sums live in memory.
#define BLIP_UNROLL _Pragma("GCC unroll 16")

template <int Rows>
using Sums = Vector[Rows][kVectors];

// sum[r] += x[r] * the panel's row, for one term
template <int Rows>
HWY_INLINE void add_term(const float* x, std::size_t ldx, const float* panel, Sums<Rows>& sum) {
  const Floats d;
  Vector column[kVectors];
  BLIP_UNROLL for (int v = 0; v < kVectors; ++v) column[v] = hn::Load(d, panel + v * kLanes);
  BLIP_UNROLL for (int r = 0; r < Rows; ++r) {
    const auto value = hn::Set(d, x[static_cast<std::size_t>(r) * ldx]);
    BLIP_UNROLL for (int v = 0; v < kVectors; ++v) sum[r][v] = hn::MulAdd(column[v], value, sum[r][v]);
  }
}

// How many terms add_terms takes at a time. NEON multiplies by one lane of a register, so four terms of a row need one load.
#if HWY_TARGET == HWY_NEON
constexpr int kTermsAtOnce = 4;

template <int Rows, int Term>
HWY_INLINE void add_lane(const Vector (&rows)[Rows], const float* panel, Sums<Rows>& sum) {
  const Floats d;
  BLIP_UNROLL for (int v = 0; v < kVectors; ++v) {
    const auto column = hn::Load(d, panel + Term * kPanel + v * kLanes);
    BLIP_UNROLL for (int r = 0; r < Rows; ++r) sum[r][v] = hn::MulAdd(column, hn::Broadcast<Term>(rows[r]), sum[r][v]);
  }
}

template <int Rows>
HWY_INLINE void add_terms(const float* x, std::size_t ldx, const float* panel, Sums<Rows>& sum) {
  Vector rows[Rows];
  BLIP_UNROLL for (int r = 0; r < Rows; ++r) rows[r] = hn::LoadU(Floats(), x + static_cast<std::size_t>(r) * ldx);
  add_lane<Rows, 0>(rows, panel, sum);
  add_lane<Rows, 1>(rows, panel, sum);
  add_lane<Rows, 2>(rows, panel, sum);
  add_lane<Rows, 3>(rows, panel, sum);
}
#else
constexpr int kTermsAtOnce = 1;

template <int Rows>
HWY_INLINE void add_terms(const float* x, std::size_t ldx, const float* panel, Sums<Rows>& sum) {
  add_term<Rows>(x, ldx, panel, sum);
}
#endif

template <int Rows>
HWY_INLINE void multiply_block(const Block& b) {
  const Floats d;
  Sums<Rows> sum;
  BLIP_UNROLL for (int r = 0; r < Rows; ++r)
    BLIP_UNROLL for (int v = 0; v < kVectors; ++v) sum[r][v] = b.first ? hn::Zero(d) : hn::LoadU(d, b.sums + r * b.lds + v * kLanes);
  const float *x = b.x, *panel = b.panel;
  int terms = b.terms;
  for (; terms >= kTermsAtOnce; terms -= kTermsAtOnce, x += kTermsAtOnce, panel += kTermsAtOnce * kPanel) add_terms<Rows>(x, b.ldx, panel, sum);
  for (; terms > 0; --terms, ++x, panel += kPanel) add_term<Rows>(x, b.ldx, panel, sum);
  BLIP_UNROLL for (int r = 0; r < Rows; ++r)
    BLIP_UNROLL for (int v = 0; v < kVectors; ++v) hn::StoreU(sum[r][v], d, b.sums + r * b.lds + v * kLanes);
}

void multiply_rows(int rows, const Block& b) {
  switch (rows) {
    case 6: return multiply_block<kRows == 6 ? 6 : 1>(b);
    case 5: return multiply_block<kRows == 6 ? 5 : 1>(b);
    case 4: return multiply_block<kRows >= 4 ? 4 : 1>(b);
    case 3: return multiply_block<3>(b);
    case 2: return multiply_block<2>(b);
    default: return multiply_block<1>(b);
  }
}

// sums[m, n rounded up to whole panels] = x[m, k] W[:, first : ...]
void panel_sums(const GemmTile& t, int first, int n, float* sums, std::size_t lds) {
  const int k = t.w->k();
  const auto* panels = static_cast<const float*>(t.w->columns(first));
  for (int column = 0; column < n; column += kPanel)
    for (int term = 0; term < k; term += kTerms) {
      const float* panel = panels + static_cast<std::size_t>(column) * static_cast<std::size_t>(k) + static_cast<std::size_t>(term) * kPanel;
      for (int r = 0; r < t.m; r += kRows)
        multiply_rows(std::min(kRows, t.m - r), {static_cast<const float*>(t.x) + static_cast<std::size_t>(r) * k + term, static_cast<std::size_t>(k), panel,
                                                 std::min(kTerms, k - term), term == 0, sums + static_cast<std::size_t>(r) * lds + column, lds});
    }
}

}  // namespace blip::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace blip::kernels {

HWY_EXPORT(panel_sums);

std::size_t panel_bytes(int n, int k) { return static_cast<std::size_t>(round_up(n, kPanel)) * static_cast<std::size_t>(k) * sizeof(float); }

void pack_panels(int count, int k, const float* rows, float* panels) {
  const std::size_t terms = static_cast<std::size_t>(k);
  for (int j = 0; j < count; ++j, rows += terms) {
    float* column = panels + static_cast<std::size_t>(j / kPanel) * kPanel * terms + j % kPanel;
    for (std::size_t p = 0; p < terms; ++p) column[p * kPanel] = rows[p];
  }
}

// Sums into scratch, then finish() while they are in the L2 cache: 96 rows x 256 columns x 4 bytes = 96 KB.
void gemm_panels(const GemmTile& t) {
  assert(t.w->type() == NumberType::kF32 && !t.x_scales && !(t.out_bf16 && t.epilogue == Epilogue::kAdd));
  constexpr int kColumns = 256;
  static thread_local AlignedArray<float> scratch;
  for (int column = 0; column < t.n; column += kColumns) {
    const int n = std::min(kColumns, t.n - column);
    const std::size_t lds = static_cast<std::size_t>(round_up(n, kPanel));
    float* sums = scratch.reserve(static_cast<std::size_t>(t.m) * lds);
    HWY_DYNAMIC_DISPATCH(panel_sums)(t, t.first + column, n, sums, lds);
    finish({.sums = sums, .lds = lds, .rows = t.m, .n = n, .x_scales = nullptr, .x_offsets = nullptr, .w_scales = nullptr, .w_sums = nullptr,
            .bias = t.bias ? t.bias + column : nullptr, .epilogue = t.epilogue,
            .out = static_cast<std::byte*>(t.out) + static_cast<std::size_t>(column) * (t.out_bf16 ? 2 : 4), .ldo = t.ldo, .out_bf16 = t.out_bf16});
  }
}

}  // namespace blip::kernels
#endif  // HWY_ONCE
