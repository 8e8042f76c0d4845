// Attention over bfloat16 keys and values, by AVX-512's bfloat16 dot products (twice the rate of
// float multiply-adds) or by AMX tiles.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>

#include "core/aligned.h"
#include "kernels/read_ahead.h"
#include "kernels/tiles.h"
#include "kernels/vector.h"

namespace blip::kernels::attention_detail {

#define BLIP_BF16 \
  __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16")))
#define BLIP_BF16_INLINE BLIP_BF16 inline __attribute__((always_inline))

// Rows x vectors of a register tile: 6 x 4 sums, 4 columns and a broadcast pair fill 29 of the 32
// registers, and a head's 64 values are one tile wide.
inline constexpr int kTileRows = 6, kTileVectors = 4;

// What is fetched from memory meanwhile: two lines for each pair, which two cores' memory just
// keeps up with.
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

// What a product adds up over units of 4 bytes of both factors, in which columns lie 16 to a
// vector.
struct Bf16Pairs {
  using Sums = __m512;
  static BLIP_BF16_INLINE Sums start(int) { return _mm512_setzero_ps(); }
  static BLIP_BF16_INLINE Sums dot(Sums sums, __m512i x, __m512i columns) {
    return _mm512_dpbf16_ps(sums, (__m512bh)x, (__m512bh)columns);
  }
  static BLIP_BF16_INLINE __m512 finish(Sums sums, int) { return sums; }
  Bf16Pairs at(int, int) const { return {}; }
};

// Queries of signed bytes over keys of bytes 128 above theirs, which the sums begin with less of; a
// query's own scale is left to what reads the scores.
struct ByteQuads {
  using Sums = __m512i;
  const std::int32_t* starts;  // of each row
  const float* scales;         // of each column
  BLIP_BF16_INLINE Sums start(int row) const { return _mm512_set1_epi32(starts[row]); }
  static BLIP_BF16_INLINE Sums dot(Sums sums, __m512i x, __m512i columns) {
    // GCC 12 moves the sums through memory if it is given the intrinsic here.
    asm("vpdpbusd %1, %2, %0" : "+v"(sums) : "v"(x), "v"(columns));
    return sums;
  }
  BLIP_BF16_INLINE __m512 finish(Sums sums, int column) const {
    return _mm512_mul_ps(_mm512_cvtepi32_ps(sums), _mm512_loadu_ps(scales + column));
  }
  ByteQuads at(int row, int column) const { return {starts + row, scales + column}; }
};

// c[Rows, Vectors x 16] = a[Rows, units] b[units, ...]; strides: a in halves of units, b in units,
// c in floats. First: the first rows of b's, which fetch it ahead.
template <int Rows, int Vectors, bool Fetching, bool First, class Numbers>
BLIP_BF16_INLINE void tile(Numbers numbers, int units, const std::uint16_t* a, std::size_t lda,
                           const std::uint16_t* b, std::size_t ldb, float* c, std::size_t ldc,
                           Fetch& fetch) {
  if constexpr (Fetching) fetch.advance();
  typename Numbers::Sums sum[Rows][Vectors];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) sum[r][v] = numbers.start(r);
  for (int u = 0; u < units; ++u) {
    if constexpr (Fetching) fetch.lines();
    if constexpr (First)
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v)
        _mm_prefetch(b + ((u + kReadAheadUnits) * ldb + static_cast<std::size_t>(v) * 16) * 2,
                     _MM_HINT_T0);
    __m512i column[Vectors];
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v)
      column[v] = _mm512_loadu_si512(b + (u * ldb + static_cast<std::size_t>(v) * 16) * 2);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      std::int32_t unit;
      std::memcpy(&unit, a + r * lda + 2 * static_cast<std::size_t>(u), sizeof(unit));
      const __m512i x = _mm512_set1_epi32(unit);
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) sum[r][v] = numbers.dot(sum[r][v], x, column[v]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v)
      _mm512_storeu_ps(c + r * ldc + v * 16, numbers.finish(sum[r][v], v * 16));
}

template <int Rows, bool Fetching, bool First, class Numbers>
BLIP_BF16 void row_panel(Numbers numbers, int n, int units, const std::uint16_t* a, std::size_t lda,
                         const std::uint16_t* b, std::size_t ldb, float* c, std::size_t ldc,
                         Fetch& fetch) {
  int j = 0;
  for (; j + kTileVectors * 16 <= n; j += kTileVectors * 16)
    tile<Rows, kTileVectors, Fetching, First>(numbers.at(0, j), units, a, lda, b + 2 * j, ldb,
                                              c + j, ldc, fetch);
  numbers = numbers.at(0, j);
  b += 2 * j;
  c += j;
  switch ((n - j) / 16) {
    case 3:
      return tile<Rows, 3, Fetching, First>(numbers, units, a, lda, b, ldb, c, ldc, fetch);
    case 2:
      return tile<Rows, 2, Fetching, First>(numbers, units, a, lda, b, ldb, c, ldc, fetch);
    case 1:
      return tile<Rows, 1, Fetching, First>(numbers, units, a, lda, b, ldb, c, ldc, fetch);
    default:
      return;
  }
}

// n at most a register tile's width.
template <bool Fetching, class Numbers>
BLIP_BF16 void column_panel(Numbers numbers, int m, int n, int units, const std::uint16_t* a,
                            std::size_t lda, const std::uint16_t* b, std::size_t ldb, float* c,
                            std::size_t ldc, Fetch& fetch) {
  int i = 0;
  if (m >= kTileRows) {
    row_panel<kTileRows, Fetching, true>(numbers, n, units, a, lda, b, ldb, c, ldc, fetch);
    i = kTileRows;
  }
  for (; i + kTileRows <= m; i += kTileRows)
    row_panel<kTileRows, Fetching, false>(numbers.at(i, 0), n, units, a + i * lda, lda, b, ldb,
                                          c + i * ldc, ldc, fetch);
  numbers = numbers.at(i, 0);
  a += i * lda;
  c += i * ldc;
  switch (m - i) {
    case 5:
      return row_panel<5, Fetching, false>(numbers, n, units, a, lda, b, ldb, c, ldc, fetch);
    case 4:
      return row_panel<4, Fetching, false>(numbers, n, units, a, lda, b, ldb, c, ldc, fetch);
    case 3:
      return row_panel<3, Fetching, false>(numbers, n, units, a, lda, b, ldb, c, ldc, fetch);
    case 2:
      return row_panel<2, Fetching, false>(numbers, n, units, a, lda, b, ldb, c, ldc, fetch);
    case 1:
      return row_panel<1, Fetching, false>(numbers, n, units, a, lda, b, ldb, c, ldc, fetch);
    default:
      return;
  }
}

// n a multiple of 16. All rows pass over a few columns of b while those are in the L1 cache.
template <class Numbers>
BLIP_BF16 void small_gemm(Numbers numbers, int m, int n, int units, const std::uint16_t* a,
                          std::size_t lda, const std::uint16_t* b, std::size_t ldb, float* c,
                          std::size_t ldc, Fetch& fetch) {
  constexpr int kWidth = kTileVectors * 16;
  const auto panel = fetch.any() ? column_panel<true, Numbers> : column_panel<false, Numbers>;
  for (int j = 0; j < n; j += kWidth)
    panel(numbers.at(0, j), m, std::min(kWidth, n - j), units, a, lda, b + 2 * j, ldb, c + j, ldc,
          fetch);
}

// 2^x for x <= 0: 2^round(x) times the polynomial of 2^f, |f| <= 0.5.
BLIP_BF16_INLINE __m512 exp2_rough(__m512 x) {
  const __m512 n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
               f = _mm512_sub_ps(x, n);
  __m512 p = _mm512_set1_ps(kRoughExp2[0]);
  for (int i = 1; i < 5; ++i) p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(kRoughExp2[i]));
  return _mm512_scalef_ps(p, n);
}

// The first n of 16 lanes, none below 1 and all from 16 on.
BLIP_BF16_INLINE __mmask16 first_lanes(int n) {
  return n >= 16 ? 0xffff : n <= 0 ? 0 : static_cast<__mmask16>((1u << n) - 1);
}

BLIP_BF16_INLINE void store_weights(char* to, __m512 e) {
  const __m256bh halves = _mm512_cvtneps_pbh(e);
  std::memcpy(to, &halves, sizeof(halves));
}

// Replaces a row of scores by bfloat16 weights exp(scale (x - max)), zero from `visible` to
// `columns`; returns their sum and the max. Two sums and maxima at a time hide the latencies.
BLIP_BF16 inline Exponentials softmax_row(float* row, int visible, int columns, float scale) {
  __m512 top[2] = {_mm512_set1_ps(row[0]), _mm512_set1_ps(row[0])};
  int i = 0;
  for (; i + 32 <= visible; i += 32) {
    top[0] = _mm512_max_ps(top[0], _mm512_loadu_ps(row + i));
    top[1] = _mm512_max_ps(top[1], _mm512_loadu_ps(row + i + 16));
  }
  for (; i < visible; i += 16)
    top[0] = _mm512_mask_max_ps(top[0], first_lanes(visible - i), top[0], _mm512_loadu_ps(row + i));
  const __m512 factor = _mm512_set1_ps(scale * 1.44269504f);
  const float max = _mm512_reduce_max_ps(_mm512_max_ps(top[0], top[1]));
  const __m512 shift = _mm512_mul_ps(_mm512_set1_ps(max), factor);
  __m512 total[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
  auto* weights = reinterpret_cast<char*>(row);  // bfloat16s take the place of floats already read
  const auto weight = [&](int at) BLIP_BF16 {
    return exp2_rough(_mm512_fmsub_ps(_mm512_loadu_ps(row + at), factor, shift));
  };
  for (i = 0; i + 32 <= visible; i += 32) {
    const __m512 e0 = weight(i), e1 = weight(i + 16);
    total[0] = _mm512_add_ps(total[0], e0);
    total[1] = _mm512_add_ps(total[1], e1);
    store_weights(weights + 2 * static_cast<std::size_t>(i), e0);
    store_weights(weights + 2 * static_cast<std::size_t>(i) + 32, e1);
  }
  for (; i < columns; i += 16) {
    const __m512 e = i < visible ? _mm512_maskz_mov_ps(first_lanes(visible - i), weight(i))
                                 : _mm512_setzero_ps();
    total[0] = _mm512_add_ps(total[0], e);
    store_weights(weights + 2 * static_cast<std::size_t>(i), e);
  }
  return {_mm512_reduce_add_ps(_mm512_add_ps(total[0], total[1])), max};
}

// How attend() multiplies: c[m, n] = a[m, pairs x 2] b[pairs, n, 2]; strides as in tile(). Columns
// and pairs come in whole kColumns and kPairs.
struct VectorProduct {
  static constexpr int kColumns = kLanes, kPairs = 1;
  static void multiply(int m, int n, int pairs, const std::uint16_t* a, std::size_t lda,
                       const std::uint16_t* b, std::size_t ldb, float* c, std::size_t ldc,
                       Fetch& fetch) {
    small_gemm(Bf16Pairs(), m, n, pairs, a, lda, b, ldb, c, ldc, fetch);
  }
};

// Two row tiles by two column tiles at a time.
template <class Tiles>
struct TileProduct {
  static constexpr int kColumns = 2 * kLanes, kPairs = kTileRowsMax;

  static void multiply(int m, int n, int pairs, const std::uint16_t* a, std::size_t lda,
                       const std::uint16_t* b, std::size_t ldb, float* c, std::size_t ldc,
                       Fetch& fetch) {
    for (int i = 0; i < m; i += 2 * kTileRowsMax) {
      const int rows = std::min(m - i, 2 * kTileRowsMax), lower = std::max(0, rows - kTileRowsMax);
      Tiles::configure(tile_shapes(rows - lower, lower));
      for (int j = 0; j < n; j += kColumns)
        lower ? pair<2>(pairs, a + i * lda, lda, b + 2 * j, ldb, c + i * ldc + j, ldc, fetch)
              : pair<1>(pairs, a + i * lda, lda, b + 2 * j, ldb, c + i * ldc + j, ldc, fetch);
    }
    Tiles::release();
  }

 private:
  template <int RowTiles>
  static void pair(int pairs, const std::uint16_t* a, std::size_t lda, const std::uint16_t* b,
                   std::size_t ldb, float* c, std::size_t ldc, Fetch& fetch) {
    constexpr auto kType = NumberType::kBf16;
    constexpr int kFetches = 8;  // a step: as many as half of its vectors' would be
    fetch.advance();
    Tiles::template zero<0>();
    Tiles::template zero<1>();
    if constexpr (RowTiles == 2) {
      Tiles::template zero<2>();
      Tiles::template zero<3>();
    }
    for (int p = 0; p < pairs; p += kPairs, b += kPairs * ldb * 2, a += kPairs * 2) {
      for (int i = 0; i < kFetches; ++i) fetch.lines();
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

// 16 bfloat16s or, at the end, fewer and zeros.
BLIP_BF16_INLINE __m512 load_bf16(const std::uint16_t* x, int n) {
  return _mm512_castsi512_ps(
      _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(first_lanes(n), x)), 16));
}

// The largest magnitude of n values / 127; load(i) gives 16 of them.
template <class Load>
BLIP_BF16_INLINE float step_of(int n, const Load& load) {
  __m512 top = _mm512_setzero_ps();
  for (int i = 0; i < n; i += 16) top = _mm512_max_ps(top, _mm512_abs_ps(load(i)));
  const float max = _mm512_reduce_max_ps(top);
  return max > 0 ? max / 127.f : 1.f;
}

// A query in steps of its largest / 127; returns the step. `start` is what ByteQuads' sums begin
// with.
BLIP_BF16 inline float round_query(const std::uint16_t* q, int n, std::int8_t* out,
                                   std::int32_t& start) {
  const auto load = [&](int i) BLIP_BF16 { return load_bf16(q + i, n - i); };
  const float step = step_of(n, load);
  const __m512 inverse = _mm512_set1_ps(1.f / step);
  __m512i sum = _mm512_setzero_si512();
  for (int i = 0; i < n; i += 16) {
    const __m512i steps = _mm512_cvtps_epi32(_mm512_mul_ps(load(i), inverse));
    sum = _mm512_add_epi32(sum, steps);
    _mm_mask_storeu_epi8(out + i, first_lanes(n - i), _mm512_cvtsepi32_epi8(steps));
  }
  start = -128 * _mm512_reduce_add_epi32(sum);
  return step;
}

// out[c, r] = rows[r, c] of 16 x 16 units of 4 bytes; row_bytes between rows.
BLIP_BF16_INLINE void transpose_16x16(const std::uint8_t* rows, std::size_t row_bytes,
                                      std::uint32_t* out, std::size_t ldo) {
  __m512i a[16], b[16];
#pragma GCC unroll 16
  for (int r = 0; r < 16; ++r)
    a[r] = _mm512_load_si512(rows + static_cast<std::size_t>(r) * row_bytes);
#pragma GCC unroll 8
  for (int r = 0; r < 16; r += 2) {  // pairs of rows
    b[r] = _mm512_unpacklo_epi32(a[r], a[r + 1]);
    b[r + 1] = _mm512_unpackhi_epi32(a[r], a[r + 1]);
  }
#pragma GCC unroll 4
  for (int r = 0; r < 16;
       r += 4) {  // fours of rows: a[r + i] has columns i, i + 4, i + 8 and i + 12
    a[r] = _mm512_unpacklo_epi64(b[r], b[r + 2]);
    a[r + 1] = _mm512_unpackhi_epi64(b[r], b[r + 2]);
    a[r + 2] = _mm512_unpacklo_epi64(b[r + 1], b[r + 3]);
    a[r + 3] = _mm512_unpackhi_epi64(b[r + 1], b[r + 3]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {  // halves of columns: i and i + 8, then i + 4 and i + 12
    const __m512i low = _mm512_shuffle_i32x4(a[i], a[i + 4], 0x88),
                  low_other = _mm512_shuffle_i32x4(a[i], a[i + 4], 0xdd);
    const __m512i high = _mm512_shuffle_i32x4(a[i + 8], a[i + 12], 0x88),
                  high_other = _mm512_shuffle_i32x4(a[i + 8], a[i + 12], 0xdd);
    const auto at = static_cast<std::size_t>(i);
    _mm512_storeu_si512(out + at * ldo, _mm512_shuffle_i32x4(low, high, 0x88));
    _mm512_storeu_si512(out + (at + 8) * ldo, _mm512_shuffle_i32x4(low, high, 0xdd));
    _mm512_storeu_si512(out + (at + 4) * ldo, _mm512_shuffle_i32x4(low_other, high_other, 0x88));
    _mm512_storeu_si512(out + (at + 12) * ldo, _mm512_shuffle_i32x4(low_other, high_other, 0xdd));
  }
}

// Adds up to 64 dimensions of all keys: a line or two of each.
BLIP_BF16_INLINE void add_keys(const std::uint16_t* keys, std::size_t stride, int count, int dims,
                               __m512 (&sums)[4]) {
  for (auto& sum : sums) sum = _mm512_setzero_ps();
  for (int r = 0; r < count; ++r, keys += stride)
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v)
      sums[v] = _mm512_add_ps(sums[v], load_bf16(keys + 16 * v, dims - 16 * v));
}

// A key less the mean of all in steps of its largest / 127, 128 above; returns the step. `mean` and
// `out` are of whole vectors.
BLIP_BF16_INLINE float round_key(const std::uint16_t* key, const float* mean, int n,
                                 std::uint8_t* out) {
  const auto centered = [&](int i) BLIP_BF16 {
    return _mm512_sub_ps(load_bf16(key + i, n - i), _mm512_load_ps(mean + i));
  };
  const float step = step_of(n, centered);
  const __m512 inverse = _mm512_set1_ps(1.f / step);
  for (int i = 0; i < n; i += 16) {
    const __m512i steps = _mm512_add_epi32(_mm512_cvtps_epi32(_mm512_mul_ps(centered(i), inverse)),
                                           _mm512_set1_epi32(128));
    _mm_store_si128(reinterpret_cast<__m128i*>(out + i), _mm512_cvtepi32_epi8(steps));
  }
  return step;
}

// 16 keys at a time, which fill a line of `out`; 64 dimensions of them are 16 x 16 units.
BLIP_BF16 inline void pack_keys(const std::uint16_t* keys, std::size_t stride, int count,
                                int head_dim, std::uint32_t* out, std::size_t key_stride,
                                float* key_scales) {
  constexpr int kKeys = 16, kDims = 64, kUnits = kDims / 4;
  const auto row = static_cast<std::size_t>(round_up(head_dim, kDims));
  AlignedArray<float> means(row);
  AlignedArray<std::uint8_t> rounded(row * kKeys);  // [kKeys, head_dim in whole blocks]
  float* mean = means.data();
  for (int d = 0; d < head_dim; d += kDims) {
    __m512 sums[4];
    add_keys(keys + d, stride, count, head_dim - d, sums);
    for (int v = 0; v < 4; ++v)
      _mm512_store_ps(mean + d + 16 * v,
                      _mm512_mul_ps(sums[v], _mm512_set1_ps(1.f / static_cast<float>(count))));
  }
  std::uint8_t* block = rounded.data();
  for (int first = 0; first < count; first += kKeys) {
    for (int r = first; r < std::min(count, first + kKeys); ++r)
      key_scales[r] = round_key(keys + static_cast<std::size_t>(r) * stride, mean, head_dim,
                                block + static_cast<std::size_t>(r - first) * row);
    for (int d = 0; d < head_dim; d += kDims) {
      std::uint32_t* to = out + static_cast<std::size_t>(d / 4) * key_stride + first;
      const int units = std::min(kDims, head_dim - d) / 4;
      if (units == kUnits) {
        transpose_16x16(block + d, row, to, key_stride);
      } else {
        alignas(64) std::uint32_t turned[kUnits * kKeys];
        transpose_16x16(block + d, row, turned, kKeys);
        for (int u = 0; u < units; ++u)
          std::copy_n(turned + u * kKeys, kKeys, to + static_cast<std::size_t>(u) * key_stride);
      }
    }
  }
}

// scores[queries, columns], less a constant for each query that softmax does not see and its step,
// which goes to steps[queries].
BLIP_BF16 inline void byte_scores(const AttentionBlock& b, int columns, float* scores,
                                  std::int8_t* queries, std::int32_t* starts, float* steps) {
  for (int i = 0; i < b.queries; ++i)
    steps[i] =
        round_query(static_cast<const std::uint16_t*>(b.q) + static_cast<std::size_t>(i) * b.ldq,
                    b.head_dim, queries + i * b.head_dim, starts[i]);
  Fetch none({});
  small_gemm(ByteQuads{starts, b.key_scales}, b.queries, columns, b.head_dim / 4,
             reinterpret_cast<const std::uint16_t*>(queries),
             static_cast<std::size_t>(b.head_dim) / 2, static_cast<const std::uint16_t*>(b.keys),
             b.key_stride, scores, static_cast<std::size_t>(columns), none);
}

// scores[queries, columns] of bfloat16 keys.
template <class Product>
BLIP_BF16 void pair_scores(const AttentionBlock& b, int columns, int width, float* scores,
                           std::uint16_t* queries, Fetch& fetch) {
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
  Product::multiply(b.queries, columns, (b.head_dim + 1) / 2, q, query_stride,
                    static_cast<const std::uint16_t*>(b.keys), b.key_stride, scores,
                    static_cast<std::size_t>(columns), fetch);
}

template <class Product>
BLIP_BF16 void attend(const AttentionBlock& b) {
  Fetch fetch(b.next);
  const int columns = round_up(b.count, std::max(Product::kColumns, 2 * Product::kPairs)),
            width = round_up(b.head_dim, kLanes);
  float* scores = b.scratch;
  float* mixed = scores + static_cast<std::size_t>(b.queries) * columns;
  auto* queries =
      reinterpret_cast<std::uint16_t*>(mixed + static_cast<std::size_t>(b.queries) * width);
  float* sums = reinterpret_cast<float*>(queries + b.queries * static_cast<std::size_t>(width));
  float* steps = sums + b.queries;
  if (b.key_scales) {
    byte_scores(b, columns, scores, reinterpret_cast<std::int8_t*>(queries),
                reinterpret_cast<std::int32_t*>(steps + b.queries), steps);
  } else {
    pair_scores<Product>(b, columns, width, scores, queries, fetch);
    std::fill_n(steps, b.queries, 1.f);
  }
  for (int i = 0; i < b.queries; ++i) {
    const int visible =
        b.causal_offset == kAllVisible ? b.count : std::min(b.count, b.causal_offset + i + 1);
    const float scale = b.scale * steps[i];
    const Exponentials e =
        softmax_row(scores + static_cast<std::size_t>(i) * columns, visible, columns, scale);
    sums[i] = e.sum;
    if (b.log_sums) b.log_sums[i] = scale * e.max + std::log(e.sum);
  }
  Product::multiply(b.queries, width, round_up((b.count + 1) / 2, Product::kPairs),
                    reinterpret_cast<const std::uint16_t*>(scores),
                    2 * static_cast<std::size_t>(columns),
                    static_cast<const std::uint16_t*>(b.values), b.value_stride, mixed,
                    static_cast<std::size_t>(width), fetch);
  for (int i = 0; i < b.queries; ++i) {
    const float inverse = 1.f / sums[i];
    for (int j = 0; j < b.head_dim; ++j)
      b.out[i * b.ldo + j] = mixed[static_cast<std::size_t>(i) * width + j] * inverse;
  }
}

}  // namespace blip::kernels::attention_detail
