// Attention over bfloat16 keys and values by AVX-512's bfloat16 dot products: twice the rate of float multiply-adds.
#include <algorithm>
#include <cstring>

#include "core/aligned.h"
#include "kernels/vector.h"

#if defined(__x86_64__)
#include <immintrin.h>

namespace blip::kernels {
namespace {

#define BLIP_BF16 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")))
#define BLIP_BF16_INLINE BLIP_BF16 inline __attribute__((always_inline))

// Rows x vectors of a register tile: 8 x 3 sums, 3 columns and a broadcast pair fill 28 of the 32 registers.
constexpr int kTileRows = 8, kTileVectors = 3;

// c[Rows, Vectors x 16] = a[Rows, pairs x 2] b[pairs, ..., 2]; strides: a in bfloat16, b in pairs, c in floats.
template <int Rows, int Vectors>
BLIP_BF16_INLINE void tile(int pairs, const std::uint16_t* a, std::size_t lda, const std::uint16_t* b, std::size_t ldb, float* c, std::size_t ldc) {
  __m512 sum[Rows][Vectors];
  for (int r = 0; r < Rows; ++r)
    for (int v = 0; v < Vectors; ++v) sum[r][v] = _mm512_setzero_ps();
  for (int p = 0; p < pairs; ++p) {
    __m512bh column[Vectors];
    for (int v = 0; v < Vectors; ++v) column[v] = (__m512bh)_mm512_loadu_si512(b + (p * ldb + static_cast<std::size_t>(v) * 16) * 2);
    for (int r = 0; r < Rows; ++r) {
      std::int32_t pair;
      std::memcpy(&pair, a + r * lda + 2 * static_cast<std::size_t>(p), sizeof(pair));
      const __m512bh x = (__m512bh)_mm512_set1_epi32(pair);
      for (int v = 0; v < Vectors; ++v) sum[r][v] = _mm512_dpbf16_ps(sum[r][v], x, column[v]);
    }
  }
  for (int r = 0; r < Rows; ++r)
    for (int v = 0; v < Vectors; ++v) _mm512_storeu_ps(c + r * ldc + v * 16, sum[r][v]);
}

template <int Rows>
BLIP_BF16 void row_panel(int n, int pairs, const std::uint16_t* a, std::size_t lda, const std::uint16_t* b, std::size_t ldb, float* c, std::size_t ldc) {
  int j = 0;
  for (; j + kTileVectors * 16 <= n; j += kTileVectors * 16) tile<Rows, kTileVectors>(pairs, a, lda, b + 2 * j, ldb, c + j, ldc);
  if (j + 32 <= n) {
    tile<Rows, 2>(pairs, a, lda, b + 2 * j, ldb, c + j, ldc);
    j += 32;
  }
  if (j < n) tile<Rows, 1>(pairs, a, lda, b + 2 * j, ldb, c + j, ldc);
}

// n a multiple of 16.
BLIP_BF16 void small_gemm(int m, int n, int pairs, const std::uint16_t* a, std::size_t lda, const std::uint16_t* b, std::size_t ldb, float* c,
                          std::size_t ldc) {
  int i = 0;
  for (; i + kTileRows <= m; i += kTileRows) row_panel<kTileRows>(n, pairs, a + i * lda, lda, b, ldb, c + i * ldc, ldc);
  a += i * lda;
  c += i * ldc;
  switch (m - i) {
    case 7: return row_panel<7>(n, pairs, a, lda, b, ldb, c, ldc);
    case 6: return row_panel<6>(n, pairs, a, lda, b, ldb, c, ldc);
    case 5: return row_panel<5>(n, pairs, a, lda, b, ldb, c, ldc);
    case 4: return row_panel<4>(n, pairs, a, lda, b, ldb, c, ldc);
    case 3: return row_panel<3>(n, pairs, a, lda, b, ldb, c, ldc);
    case 2: return row_panel<2>(n, pairs, a, lda, b, ldb, c, ldc);
    case 1: return row_panel<1>(n, pairs, a, lda, b, ldb, c, ldc);
    default: return;
  }
}

// 2^x for x <= 0: 2^round(x) times the Taylor polynomial of 2^f, |f| <= 0.5 (off by less than 3e-7).
BLIP_BF16_INLINE __m512 exp2_negative(__m512 x) {
  const __m512 n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), f = _mm512_sub_ps(x, n);
  __m512 p = _mm512_set1_ps(1.54035304e-4f);
  for (const float c : {1.33335581e-3f, 9.61812911e-3f, 5.55041087e-2f, 2.40226507e-1f, 6.93147181e-1f, 1.f})
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(c));
  return _mm512_scalef_ps(p, n);
}

// Replaces a row of scores by bfloat16 weights exp(scale (x - max)), zero from `visible` to `columns`; returns their sum.
BLIP_BF16 float softmax_row(float* row, int visible, int columns, float scale) {
  __m512 top = _mm512_set1_ps(row[0]);
  const auto mask = [&](int i) BLIP_BF16 { return static_cast<__mmask16>(visible - i >= 16 ? 0xffff : (1u << (visible - i)) - 1); };
  for (int i = 0; i < visible; i += 16) top = _mm512_mask_max_ps(top, mask(i), top, _mm512_loadu_ps(row + i));
  const __m512 max = _mm512_set1_ps(_mm512_reduce_max_ps(top)), factor = _mm512_set1_ps(scale * 1.44269504f);
  __m512 total = _mm512_setzero_ps();
  auto* weights = reinterpret_cast<char*>(row);  // bfloat16s take the place of floats already read
  for (int i = 0; i < columns; i += 16) {
    __m512 e = _mm512_setzero_ps();
    if (i < visible) e = _mm512_maskz_mov_ps(mask(i), exp2_negative(_mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(row + i), max), factor)));
    total = _mm512_add_ps(total, e);
    const __m256bh narrow = _mm512_cvtneps_pbh(e);
    std::memcpy(weights + 2 * static_cast<std::size_t>(i), &narrow, sizeof(narrow));
  }
  return _mm512_reduce_add_ps(total);
}

BLIP_BF16 void attend(const AttentionBlock& b) {
  const int columns = round_up(b.count, kLanes), width = round_up(b.head_dim, kLanes);
  float* scores = b.scratch;
  float* mixed = scores + static_cast<std::size_t>(b.queries) * columns;
  auto* queries = reinterpret_cast<std::uint16_t*>(mixed + static_cast<std::size_t>(b.queries) * width);
  const std::size_t query_stride = static_cast<std::size_t>(width);
  for (int i = 0; i < b.queries; ++i) {
    std::uint16_t* q = queries + i * query_stride;
    to_bf16(b.q + i * b.ldq, b.head_dim, q);
    std::fill(q + b.head_dim, q + width, std::uint16_t{0});
  }
  small_gemm(b.queries, columns, (b.head_dim + 1) / 2, queries, query_stride, static_cast<const std::uint16_t*>(b.keys), b.key_stride, scores,
             static_cast<std::size_t>(columns));
  float* sums = reinterpret_cast<float*>(queries + b.queries * query_stride);
  for (int i = 0; i < b.queries; ++i) {
    const int visible = b.first_visible == kAllVisible ? b.count : std::min(b.count, b.first_visible + i + 1);
    sums[i] = softmax_row(scores + static_cast<std::size_t>(i) * columns, visible, columns, b.scale);
  }
  small_gemm(b.queries, width, (b.count + 1) / 2, reinterpret_cast<const std::uint16_t*>(scores), 2 * static_cast<std::size_t>(columns),
             static_cast<const std::uint16_t*>(b.values), b.value_stride, mixed, static_cast<std::size_t>(width));
  for (int i = 0; i < b.queries; ++i) {
    const float inverse = 1.f / sums[i];
    for (int j = 0; j < b.head_dim; ++j) b.out[i * b.ldo + j] = mixed[static_cast<std::size_t>(i) * width + j] * inverse;
  }
}

}  // namespace

bool has_bf16_attention() {
  static const bool has = [] {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq");
  }();
  return has;
}

void attention_bf16(const AttentionBlock& block) { attend(block); }

}  // namespace blip::kernels

#else

#include <cassert>

namespace blip::kernels {

bool has_bf16_attention() { return false; }
void attention_bf16(const AttentionBlock&) { assert(false); }

}  // namespace blip::kernels

#endif
