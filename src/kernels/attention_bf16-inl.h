// Attention over bfloat16 keys and values, by AVX-512's bfloat16 dot products (twice the rate of float multiply-adds) or by matrix units.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>

#include "core/aligned.h"
#include "kernels/tiles.h"
#include "kernels/vector.h"

namespace blip::kernels::attention_detail {

#define BLIP_BF16 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")))
#define BLIP_BF16_INLINE BLIP_BF16 inline __attribute__((always_inline))

// Rows x vectors of a register tile: 6 x 4 sums, 4 columns and a broadcast pair fill 29 of the 32 registers, and a head's 64
// values are one tile wide.
inline constexpr int kTileRows = 6, kTileVectors = 4;

// What is fetched from memory meanwhile: two lines for each pair, which two cores' memory just keeps up with.
class Fetch {
 public:
  explicit Fetch(std::span<const std::span<const char>> memory) : memory_(memory) { advance(); }
  bool any() const { return next_ < end_; }
  void lines() {
    if (next_ >= end_) return;
    _mm_prefetch(next_, _MM_HINT_T1);
    _mm_prefetch(next_ + 64, _MM_HINT_T1);
    next_ += 128;
  }
  // To the next piece of memory where one is done.
  void advance() {
    for (; next_ >= end_ && !memory_.empty(); memory_ = memory_.subspan(1)) {
      next_ = memory_.front().data();
      end_ = next_ + memory_.front().size();
    }
  }

 private:
  std::span<const std::span<const char>> memory_;
  const char *next_ = nullptr, *end_ = nullptr;
};

// c[Rows, Vectors x 16] = a[Rows, pairs x 2] b[pairs, ..., 2]; strides: a in bfloat16, b in pairs, c in floats.
template <int Rows, int Vectors, bool Fetching>
BLIP_BF16_INLINE void tile(int pairs, const std::uint16_t* a, std::size_t lda, const std::uint16_t* b, std::size_t ldb, float* c, std::size_t ldc, Fetch& fetch) {
  if constexpr (Fetching) fetch.advance();
  __m512 sum[Rows][Vectors];
  for (int r = 0; r < Rows; ++r)
    for (int v = 0; v < Vectors; ++v) sum[r][v] = _mm512_setzero_ps();
  for (int p = 0; p < pairs; ++p) {
    if constexpr (Fetching) fetch.lines();
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

template <int Rows, bool Fetching>
BLIP_BF16 void row_panel(int n, int pairs, const std::uint16_t* a, std::size_t lda, const std::uint16_t* b, std::size_t ldb, float* c, std::size_t ldc, Fetch& fetch) {
  int j = 0;
  for (; j + kTileVectors * 16 <= n; j += kTileVectors * 16) tile<Rows, kTileVectors, Fetching>(pairs, a, lda, b + 2 * j, ldb, c + j, ldc, fetch);
  switch ((n - j) / 16) {
    case 3: return tile<Rows, 3, Fetching>(pairs, a, lda, b + 2 * j, ldb, c + j, ldc, fetch);
    case 2: return tile<Rows, 2, Fetching>(pairs, a, lda, b + 2 * j, ldb, c + j, ldc, fetch);
    case 1: return tile<Rows, 1, Fetching>(pairs, a, lda, b + 2 * j, ldb, c + j, ldc, fetch);
    default: return;
  }
}

// n at most a register tile's width.
template <bool Fetching>
BLIP_BF16 void column_panel(int m, int n, int pairs, const std::uint16_t* a, std::size_t lda, const std::uint16_t* b, std::size_t ldb, float* c,
                            std::size_t ldc, Fetch& fetch) {
  int i = 0;
  for (; i + kTileRows <= m; i += kTileRows) row_panel<kTileRows, Fetching>(n, pairs, a + i * lda, lda, b, ldb, c + i * ldc, ldc, fetch);
  a += i * lda;
  c += i * ldc;
  switch (m - i) {
    case 5: return row_panel<5, Fetching>(n, pairs, a, lda, b, ldb, c, ldc, fetch);
    case 4: return row_panel<4, Fetching>(n, pairs, a, lda, b, ldb, c, ldc, fetch);
    case 3: return row_panel<3, Fetching>(n, pairs, a, lda, b, ldb, c, ldc, fetch);
    case 2: return row_panel<2, Fetching>(n, pairs, a, lda, b, ldb, c, ldc, fetch);
    case 1: return row_panel<1, Fetching>(n, pairs, a, lda, b, ldb, c, ldc, fetch);
    default: return;
  }
}

// n a multiple of 16. All rows pass over a few columns of b while those are in the L1 cache.
BLIP_BF16 inline void small_gemm(int m, int n, int pairs, const std::uint16_t* a, std::size_t lda, const std::uint16_t* b, std::size_t ldb, float* c,
                                 std::size_t ldc, Fetch& fetch) {
  constexpr int kWidth = kTileVectors * 16;
  const auto panel = fetch.any() ? column_panel<true> : column_panel<false>;
  for (int j = 0; j < n; j += kWidth) panel(m, std::min(kWidth, n - j), pairs, a, lda, b + 2 * j, ldb, c + j, ldc, fetch);
}

// 2^x for x <= 0: 2^round(x) times the Taylor polynomial of 2^f, |f| <= 0.5, off by less than 5e-5: bfloat16 keeps 2e-3.
BLIP_BF16_INLINE __m512 exp2_negative(__m512 x) {
  const __m512 n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), f = _mm512_sub_ps(x, n);
  __m512 p = _mm512_set1_ps(9.61812911e-3f);
  for (const float c : {5.55041087e-2f, 2.40226507e-1f, 6.93147181e-1f, 1.f}) p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(c));
  return _mm512_scalef_ps(p, n);
}

// The first n of 16 lanes, none below 1 and all from 16 on.
BLIP_BF16_INLINE __mmask16 first_lanes(int n) { return n >= 16 ? 0xffff : n <= 0 ? 0 : static_cast<__mmask16>((1u << n) - 1); }

BLIP_BF16_INLINE void store_weights(char* to, __m512 e) {
  const __m256bh narrow = _mm512_cvtneps_pbh(e);
  std::memcpy(to, &narrow, sizeof(narrow));
}

// Replaces a row of scores by bfloat16 weights exp(scale (x - max)), zero from `visible` to `columns`; returns their sum and the max. Two
// sums and maxima at a time hide the latencies.
BLIP_BF16 inline Exponentials softmax_row(float* row, int visible, int columns, float scale) {
  __m512 top[2] = {_mm512_set1_ps(row[0]), _mm512_set1_ps(row[0])};
  int i = 0;
  for (; i + 32 <= visible; i += 32) {
    top[0] = _mm512_max_ps(top[0], _mm512_loadu_ps(row + i));
    top[1] = _mm512_max_ps(top[1], _mm512_loadu_ps(row + i + 16));
  }
  for (; i < visible; i += 16) top[0] = _mm512_mask_max_ps(top[0], first_lanes(visible - i), top[0], _mm512_loadu_ps(row + i));
  const __m512 factor = _mm512_set1_ps(scale * 1.44269504f);
  const float max = _mm512_reduce_max_ps(_mm512_max_ps(top[0], top[1]));
  const __m512 shift = _mm512_mul_ps(_mm512_set1_ps(max), factor);
  __m512 total[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
  auto* weights = reinterpret_cast<char*>(row);  // bfloat16s take the place of floats already read
  const auto weight = [&](int at) BLIP_BF16 { return exp2_negative(_mm512_fmsub_ps(_mm512_loadu_ps(row + at), factor, shift)); };
  for (i = 0; i + 32 <= visible; i += 32) {
    const __m512 e0 = weight(i), e1 = weight(i + 16);
    total[0] = _mm512_add_ps(total[0], e0);
    total[1] = _mm512_add_ps(total[1], e1);
    store_weights(weights + 2 * static_cast<std::size_t>(i), e0);
    store_weights(weights + 2 * static_cast<std::size_t>(i) + 32, e1);
  }
  for (; i < columns; i += 16) {
    const __m512 e = i < visible ? _mm512_maskz_mov_ps(first_lanes(visible - i), weight(i)) : _mm512_setzero_ps();
    total[0] = _mm512_add_ps(total[0], e);
    store_weights(weights + 2 * static_cast<std::size_t>(i), e);
  }
  return {_mm512_reduce_add_ps(_mm512_add_ps(total[0], total[1])), max};
}

// How attend() multiplies: c[m, n] = a[m, pairs x 2] b[pairs, n, 2]; strides as in tile(). Columns and pairs come in whole kColumns and kPairs.
struct VectorProduct {
  static constexpr int kColumns = kLanes, kPairs = 1;
  static void multiply(int m, int n, int pairs, const std::uint16_t* a, std::size_t lda, const std::uint16_t* b, std::size_t ldb, float* c, std::size_t ldc,
                       Fetch& fetch) {
    small_gemm(m, n, pairs, a, lda, b, ldb, c, ldc, fetch);
  }
};

// Two row tiles by two column tiles at a time.
template <class Tiles>
struct TileProduct {
  static constexpr int kColumns = 2 * kLanes, kPairs = kTileRowsMax;

  static void multiply(int m, int n, int pairs, const std::uint16_t* a, std::size_t lda, const std::uint16_t* b, std::size_t ldb, float* c, std::size_t ldc,
                       Fetch&) {
    for (int i = 0; i < m; i += 2 * kTileRowsMax) {
      const int rows = std::min(m - i, 2 * kTileRowsMax), lower = std::max(0, rows - kTileRowsMax);
      Tiles::configure(tile_shapes(rows - lower, lower));
      for (int j = 0; j < n; j += kColumns) lower ? pair<2>(pairs, a + i * lda, lda, b + 2 * j, ldb, c + i * ldc + j, ldc)
                                                  : pair<1>(pairs, a + i * lda, lda, b + 2 * j, ldb, c + i * ldc + j, ldc);
    }
    Tiles::release();
  }

 private:
  template <int RowTiles>
  static void pair(int pairs, const std::uint16_t* a, std::size_t lda, const std::uint16_t* b, std::size_t ldb, float* c, std::size_t ldc) {
    constexpr auto kType = NumberType::kBf16;
    Tiles::template zero<0>();
    Tiles::template zero<1>();
    if constexpr (RowTiles == 2) {
      Tiles::template zero<2>();
      Tiles::template zero<3>();
    }
    for (int p = 0; p < pairs; p += kPairs, b += kPairs * ldb * 2, a += kPairs * 2) {
      Tiles::template load<4>(a, lda * 2);
      Tiles::template load<6>(b, ldb * 4);
      Tiles::template dot<kType, 0, 4, 6>();
      Tiles::template load<7>(b + 2 * kLanes, ldb * 4);
      Tiles::template dot<kType, 1, 4, 7>();
      if constexpr (RowTiles == 2) {
        Tiles::template load<5>(a + kTileRowsMax * lda, lda * 2);
        Tiles::template dot<kType, 2, 5, 6>();
        Tiles::template dot<kType, 3, 5, 7>();
      }
    }
    Tiles::template store<0>(c, ldc * 4);
    Tiles::template store<1>(c + kLanes, ldc * 4);
    if constexpr (RowTiles == 2) {
      Tiles::template store<2>(c + kTileRowsMax * ldc, ldc * 4);
      Tiles::template store<3>(c + kTileRowsMax * ldc + kLanes, ldc * 4);
    }
  }
};

template <class Product>
BLIP_BF16 void attend(const AttentionBlock& b) {
  Fetch fetch(b.next);
  const int columns = round_up(b.count, std::max(Product::kColumns, 2 * Product::kPairs)), width = round_up(b.head_dim, kLanes);
  float* scores = b.scratch;
  float* mixed = scores + static_cast<std::size_t>(b.queries) * columns;
  auto* queries = reinterpret_cast<std::uint16_t*>(mixed + static_cast<std::size_t>(b.queries) * width);
  const auto* q = static_cast<const std::uint16_t*>(b.q);
  std::size_t query_stride = b.ldq;
  if (b.head_dim % 2) {  // products come in pairs: the odd one out gets a zero
    query_stride = static_cast<std::size_t>(width);
    for (int i = 0; i < b.queries; ++i) {
      std::copy_n(q + i * b.ldq, b.head_dim, queries + i * query_stride);
      queries[i * query_stride + b.head_dim] = 0;
    }
    q = queries;
  }
  Product::multiply(b.queries, columns, (b.head_dim + 1) / 2, q, query_stride, static_cast<const std::uint16_t*>(b.keys), b.key_stride, scores,
                    static_cast<std::size_t>(columns), fetch);
  float* sums = reinterpret_cast<float*>(queries + b.queries * static_cast<std::size_t>(width));
  for (int i = 0; i < b.queries; ++i) {
    const int visible = b.first_visible == kAllVisible ? b.count : std::min(b.count, b.first_visible + i + 1);
    const Exponentials e = softmax_row(scores + static_cast<std::size_t>(i) * columns, visible, columns, b.scale);
    sums[i] = e.sum;
    if (b.log_sums) b.log_sums[i] = b.scale * e.max + std::log(e.sum);
  }
  Product::multiply(b.queries, width, round_up((b.count + 1) / 2, Product::kPairs), reinterpret_cast<const std::uint16_t*>(scores), 2 * static_cast<std::size_t>(columns),
                    static_cast<const std::uint16_t*>(b.values), b.value_stride, mixed, static_cast<std::size_t>(width), fetch);
  for (int i = 0; i < b.queries; ++i) {
    const float inverse = 1.f / sums[i];
    for (int j = 0; j < b.head_dim; ++j) b.out[i * b.ldo + j] = mixed[static_cast<std::size_t>(i) * width + j] * inverse;
  }
}

}  // namespace blip::kernels::attention_detail
