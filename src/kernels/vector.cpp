#include "kernels/vector.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/aligned.h"
#include "core/vector_targets.h"  // before Highway
#include "kernels/isa.h"
#include "kernels/read_ahead.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/vector.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace blip::kernels {
namespace HWY_NAMESPACE {
// A register tile: 6 rows x 2 vectors, 12 accumulators, hide an FMA's latency of 4 cycles on two
// ports (8 needed), and with 2 loaded vectors and a broadcast they fit AVX2's 16 registers; 4
// vectors load less for a product and fit the 32 of AVX-512 and of ARM64.
constexpr int kTileRows = 6;
#if HWY_ARCH_ARM_A64 || (HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3)
constexpr int kTileVectors = 4;
#else
constexpr int kTileVectors = 2;
#endif

// c[Rows, Vectors * lanes] = a[Rows, k] b[k, ...]
template <int Rows, int Vectors>
HWY_INLINE void tile(int k, const float* a, std::size_t lda, const float* b, std::size_t ldb,
                     float* c, std::size_t ldc) {
  const Floats d;
  const std::size_t lanes = hn::Lanes(d);
  hn::Vec<Floats> sum[Rows][Vectors];
  for (int r = 0; r < Rows; ++r)
    for (int v = 0; v < Vectors; ++v) sum[r][v] = hn::Zero(d);
  for (int p = 0; p < k; ++p) {
    hn::Vec<Floats> column[Vectors];
    for (int v = 0; v < Vectors; ++v) column[v] = hn::LoadU(d, b + p * ldb + v * lanes);
    for (int r = 0; r < Rows; ++r) {
      const auto x = hn::Set(d, a[r * lda + p]);
      for (int v = 0; v < Vectors; ++v) sum[r][v] = hn::MulAdd(x, column[v], sum[r][v]);
    }
  }
  for (int r = 0; r < Rows; ++r)
    for (int v = 0; v < Vectors; ++v) hn::StoreU(sum[r][v], d, c + r * ldc + v * lanes);
}

template <int Rows>
void row_panel(int n, int k, const float* a, std::size_t lda, const float* b, std::size_t ldb,
               float* c, std::size_t ldc) {
  const int lanes = static_cast<int>(hn::Lanes(Floats()));
  int j = 0;
  for (; j + kTileVectors * lanes <= n; j += kTileVectors * lanes)
    tile<Rows, kTileVectors>(k, a, lda, b + j, ldb, c + j, ldc);
  for (; j < n; j += lanes) tile<Rows, 1>(k, a, lda, b + j, ldb, c + j, ldc);
}

// n at most a register tile's width.
void column_panel(int m, int n, int k, const float* a, std::size_t lda, const float* b,
                  std::size_t ldb, float* c, std::size_t ldc) {
  int i = 0;
  for (; i + kTileRows <= m; i += kTileRows)
    row_panel<kTileRows>(n, k, a + i * lda, lda, b, ldb, c + i * ldc, ldc);
  a += i * lda;
  c += i * ldc;
  switch (m - i) {
    case 5:
      return row_panel<5>(n, k, a, lda, b, ldb, c, ldc);
    case 4:
      return row_panel<4>(n, k, a, lda, b, ldb, c, ldc);
    case 3:
      return row_panel<3>(n, k, a, lda, b, ldb, c, ldc);
    case 2:
      return row_panel<2>(n, k, a, lda, b, ldb, c, ldc);
    case 1:
      return row_panel<1>(n, k, a, lda, b, ldb, c, ldc);
    default:
      return;
  }
}

// c[m, n] = a[m, k] b[k, n]; n a multiple of kLanes. All rows pass over a few columns of b while
// those are in the L1 cache.
void small_gemm(int m, int n, int k, const float* a, std::size_t lda, const float* b,
                std::size_t ldb, float* c, std::size_t ldc) {
  const int width = kTileVectors * static_cast<int>(hn::Lanes(Floats()));
  for (int j = 0; j < n; j += width)
    column_panel(m, std::min(width, n - j), k, a, lda, b + j, ldb, c + j, ldc);
}

// x[i] = exp(scale * (x[i] - max)) for the first n values; returns their sum and the max. Values up
// to the next multiple of the vector are overwritten.
Exponentials exp_row(float* x, int n, float scale) {
  const Floats d;
  const int lanes = static_cast<int>(hn::Lanes(d));
  auto top = hn::Set(d, x[0]), top2 = top;  // two of a kind hide the latencies
  int i = 0;
  for (; i + 2 * lanes <= n; i += 2 * lanes) {
    top = hn::Max(top, hn::LoadU(d, x + i));
    top2 = hn::Max(top2, hn::LoadU(d, x + i + lanes));
  }
  float max = hn::GetLane(hn::MaxOfLanes(d, hn::Max(top, top2)));
  for (; i < n; ++i) max = std::max(max, x[i]);
  const auto factor = hn::Set(d, scale * kLog2E), shift = hn::Set(d, max * (scale * kLog2E));
  const auto weight = [&](int at) HWY_ATTR {
    return exp2_negative(d, hn::MulSub(hn::LoadU(d, x + at), factor, shift));
  };
  Wide totals[2];
  set_zero(totals[0]);
  set_zero(totals[1]);
  for (i = 0; i + 2 * kLanes <= n; i += 2 * kLanes)
    for (int t = 0; t < 2; ++t)
      for_wide([&](int j, int at) HWY_ATTR {
        float* to = x + i + t * kLanes + at;
        const auto e = weight(i + t * kLanes + at);
        hn::StoreU(e, d, to);
        totals[t][j] = hn::Add(totals[t][j], e);
      });
  for (; i < n; i += kLanes)
    for_wide([&](int j, int at) HWY_ATTR {
      const int rest = n - i - at;
      if (rest <= 0) return;
      auto e = weight(i + at);
      if (rest < lanes) e = hn::IfThenElseZero(hn::FirstN(d, static_cast<std::size_t>(rest)), e);
      hn::StoreU(e, d, x + i + at);
      totals[0][j] = hn::Add(totals[0][j], e);
    });
  return {sum_of(totals[0], totals[1]), max};
}

void attention(const AttentionBlock& b) {
  const int columns = round_up(b.count, kLanes), width = round_up(b.head_dim, kLanes);
  float* scores = b.scratch;
  float* mixed = scores + static_cast<std::size_t>(b.queries) * columns;
  small_gemm(b.queries, columns, b.head_dim, static_cast<const float*>(b.q), b.ldq,
             static_cast<const float*>(b.keys), b.key_stride, scores,
             static_cast<std::size_t>(columns));
  float* sums = mixed + static_cast<std::size_t>(b.queries) * width;
  for (int i = 0; i < b.queries; ++i) {
    const int visible =
        b.causal_offset == kAllVisible ? b.count : std::min(b.count, b.causal_offset + i + 1);
    float* row = scores + static_cast<std::size_t>(i) * columns;
    const Exponentials e = exp_row(row, visible, b.scale);
    sums[i] = e.sum;
    if (b.log_sums) b.log_sums[i] = b.scale * e.max + std::log(e.sum);
    std::fill(row + visible, row + columns, 0.f);
  }
  small_gemm(b.queries, width, b.count, scores, static_cast<std::size_t>(columns),
             static_cast<const float*>(b.values), b.value_stride, mixed,
             static_cast<std::size_t>(width));
  for (int i = 0; i < b.queries; ++i) {
    const float inverse = 1.f / sums[i];
    for (int j = 0; j < b.head_dim; ++j)
      b.out[i * b.ldo + j] = mixed[static_cast<std::size_t>(i) * width + j] * inverse;
  }
}

void layer_norm(const float* x, const float* gain, const float* bias, float eps, int n,
                float* out) {
  const Floats d;
  const int lanes = static_cast<int>(hn::Lanes(d)), whole = n / kLanes * kLanes;
  Wide total, squares;
  set_zero(total);
  set_zero(squares);
  for (int i = 0; i < whole; i += kLanes)
    for_wide([&](int j, int at)
                 HWY_ATTR { total[j] = hn::Add(total[j], hn::LoadU(d, x + i + at)); });
  float sum = sum_of(total);
  for (int i = whole; i < n; ++i) sum += x[i];
  const float mean = sum / static_cast<float>(n);
  const auto mean_v = hn::Set(d, mean);
  for (int i = 0; i < whole; i += kLanes)
    for_wide([&](int j, int at) HWY_ATTR {
      const auto t = hn::Sub(hn::LoadU(d, x + i + at), mean_v);
      squares[j] = hn::MulAdd(t, t, squares[j]);
    });
  float variance = sum_of(squares);
  for (int i = whole; i < n; ++i) variance += (x[i] - mean) * (x[i] - mean);
  const float scale = 1.f / std::sqrt(variance / static_cast<float>(n) + eps);
  const auto scale_v = hn::Set(d, scale);
  for (int i = 0; i < whole; i += lanes) {
    const auto t = hn::Mul(hn::Sub(hn::LoadU(d, x + i), mean_v), scale_v);
    hn::StoreU(hn::MulAdd(t, hn::LoadU(d, gain + i), hn::LoadU(d, bias + i)), d, out + i);
  }
  for (int i = whole; i < n; ++i) out[i] = (x[i] - mean) * scale * gain[i] + bias[i];
}

void to_bf16(const float* x, int n, std::uint16_t* out) {
  const hn::CappedTag<std::uint32_t, kLanes> d32;
  const hn::RebindToSigned<decltype(d32)> di32;
  const hn::Rebind<std::uint16_t, decltype(d32)> d16;
  const int lanes = static_cast<int>(hn::Lanes(d32));
  int i = 0;
  for (; i + lanes <= n; i += lanes)
    hn::StoreU(
        hn::DemoteTo(
            d16,
            hn::BitCast(
                di32,
                round_bf16(d32, hn::LoadU(d32, reinterpret_cast<const std::uint32_t*>(x) + i)))),
        d16, out + i);
  for (; i < n; ++i) {
    const hn::CappedTag<std::uint32_t, 1> d1;
    out[i] = static_cast<std::uint16_t>(
        hn::GetLane(round_bf16(d1, hn::LoadU(d1, reinterpret_cast<const std::uint32_t*>(x) + i))));
  }
}

template <class T>
ByteScale round_to_uint8(const T* x, int n, std::uint8_t* out) {
  const Floats d;
  const int lanes = static_cast<int>(hn::Lanes(d));
  auto top = hn::Zero(d), bottom = top;
  int i = 0;
  for (; i + lanes <= n; i += lanes) {
    top = hn::Max(top, load_floats(d, x + i));
    bottom = hn::Min(bottom, load_floats(d, x + i));
  }
  float max = hn::GetLane(hn::MaxOfLanes(d, top)), min = hn::GetLane(hn::MinOfLanes(d, bottom));
  for (; i < n; ++i) {
    const float value = hn::GetLane(load_floats(hn::CappedTag<float, 1>(), x + i));
    max = std::max(max, value);
    min = std::min(min, value);
  }
  const float scale = max > min ? (max - min) / 255.f : 1.f, inverse = 1.f / scale;
  // defined for NaN too, unlike a cast
  const auto zero = hn::GetLane(hn::NearestInt(hn::Set(hn::CappedTag<float, 1>(), -min * inverse)));
  for_lanes(n, [&](auto tag, int at) HWY_ATTR {
    const hn::RebindToSigned<decltype(tag)> di;
    const hn::Rebind<std::uint8_t, decltype(tag)> d8;
    const auto steps = hn::NearestInt(hn::Mul(load_floats(tag, x + at), hn::Set(tag, inverse)));
    hn::StoreU(hn::DemoteTo(d8, hn::Add(steps, hn::Set(di, zero))), d8, out + at);
  });
  return {scale, scale * static_cast<float>(zero)};
}

ByteScale to_uint8(const float* x, int n, std::uint8_t* out) { return round_to_uint8(x, n, out); }
ByteScale bf16_to_uint8(const std::uint16_t* x, int n, std::uint8_t* out) {
  return round_to_uint8(x, n, out);
}

float to_int8(const float* x, int n, std::int8_t* out) {
  const float scale = step_of(n, [&](auto tag, int at) HWY_ATTR { return hn::LoadU(tag, x + at); }),
              inverse = 1.f / scale;
  for_lanes(n, [&](auto tag, int at) HWY_ATTR {
    const hn::Rebind<std::int8_t, decltype(tag)> d8;
    hn::StoreU(
        hn::DemoteTo(d8, hn::NearestInt(hn::Mul(hn::LoadU(tag, x + at), hn::Set(tag, inverse)))),
        d8, out + at);
  });
  return scale;
}

// erf by Abramowitz and Stegun 7.1.26: off by at most 1.5e-7, below what 8-bit factors leave.
template <class D, class V>
HWY_INLINE V gelu(D d, V x) {
  const auto z = hn::Mul(x, hn::Set(d, 0.70710678f)), a = hn::Abs(z);
  const auto t = hn::Div(hn::Set(d, 1.f), hn::MulAdd(hn::Set(d, 0.3275911f), a, hn::Set(d, 1.f)));
  auto p = hn::MulAdd(hn::Set(d, 1.061405429f), t, hn::Set(d, -1.453152027f));
  p = hn::MulAdd(p, t, hn::Set(d, 1.421413741f));
  p = hn::MulAdd(p, t, hn::Set(d, -0.284496736f));
  p = hn::Mul(hn::MulAdd(p, t, hn::Set(d, 0.254829592f)), t);
  const auto erf =
      hn::CopySign(hn::NegMulAdd(p, exp2_negative(d, hn::Mul(hn::Mul(a, a), hn::Set(d, -kLog2E))),
                                 hn::Set(d, 1.f)),
                   z);
  return hn::Mul(hn::Mul(x, hn::Set(d, 0.5f)), hn::Add(erf, hn::Set(d, 1.f)));
}

// For outputs that are rounded to bfloat16 or 8 bits anyway: x Phi(x), Phi - 1/2 by an odd
// polynomial on [-4, 4] (least squares, weighted towards the smallest largest error), off by at
// most 2e-4.
template <class D, class V>
HWY_INLINE V gelu_rough(D d, V x) {
  const auto z = hn::Min(hn::Max(x, hn::Set(d, -4.f)), hn::Set(d, 4.f)), t = hn::Mul(z, z);
  auto p = hn::MulAdd(hn::Set(d, 2.27804833e-8f), t, hn::Set(d, -1.59854960e-6f));
  p = hn::MulAdd(p, t, hn::Set(d, 4.79543851e-5f));
  p = hn::MulAdd(p, t, hn::Set(d, -8.14003462e-4f));
  p = hn::MulAdd(p, t, hn::Set(d, 8.77232384e-3f));
  p = hn::MulAdd(p, t, hn::Set(d, -6.45729527e-2f));
  p = hn::MulAdd(p, t, hn::Set(d, 3.97883207e-1f));
  return hn::Mul(x, hn::MulAdd(p, z, hn::Set(d, 0.5f)));
}

// How a finished value is stored. kBf16Native: by AVX-512's own conversion, which Highway's release
// lacks.
enum class Output { kFloat, kBf16, kBf16Native };

// Rounded to nearest even.
template <Output kOutput, class D, class V>
HWY_INLINE void store_bf16(D, V x, std::uint16_t* out) {
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3
  if constexpr (kOutput == Output::kBf16Native && sizeof(x.raw) == sizeof(__m512)) {
    __m256i halves;
    asm("vcvtneps2bf16 %1, %0" : "=v"(halves) : "v"(x.raw));
    return _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), halves);
  }
#endif
  const hn::RebindToUnsigned<D> d32;
  const hn::Rebind<std::uint16_t, D> d16;
  hn::StoreU(
      hn::DemoteTo(d16, hn::BitCast(hn::RebindToSigned<D>(), round_bf16(d32, hn::BitCast(d32, x)))),
      d16, out);
}

// One row's values from column i on, as many as D has lanes.
template <Epilogue kEpilogue, bool kInt32, Output kOutput, class D>
HWY_INLINE void finish_at(D d, const FinishBlock& b, int row, int i) {
  const hn::RebindToSigned<D> di;
  const std::size_t from = static_cast<std::size_t>(row) * b.lds + i,
                    to = static_cast<std::size_t>(row) * b.ldo + i;
  const auto bias = b.bias ? hn::LoadU(d, b.bias + i) : hn::Zero(d);
  hn::Vec<D> y;
  if constexpr (kInt32) {
    const auto sum =
        hn::ConvertTo(d, hn::LoadU(di, static_cast<const std::int32_t*>(b.sums) + from));
    const auto base = hn::NegMulAdd(hn::Set(d, b.x_offsets[row]), hn::LoadU(d, b.w_sums + i), bias);
    y = hn::MulAdd(hn::Mul(sum, hn::LoadU(d, b.w_scales + i)), hn::Set(d, b.x_scales[row]), base);
  } else {
    y = hn::Add(hn::LoadU(d, static_cast<const float*>(b.sums) + from), bias);
  }
  if constexpr (kEpilogue == Epilogue::kGelu)
    y = kInt32 || kOutput != Output::kFloat ? gelu_rough(d, y) : gelu(d, y);
  if constexpr (kOutput != Output::kFloat) {
    store_bf16<kOutput>(d, y, static_cast<std::uint16_t*>(b.out) + to);
  } else {
    float* out = static_cast<float*>(b.out) + to;
    if constexpr (kEpilogue == Epilogue::kAdd) y = hn::Add(y, hn::LoadU(d, out));
    hn::StoreU(y, d, out);
  }
}

template <Epilogue kEpilogue, bool kInt32, Output kOutput>
void finish_rows(const FinishBlock& b) {
  const Floats d;
  const int lanes = static_cast<int>(hn::Lanes(d));
  for (int row = 0; row < b.rows; ++row) {
    int i = 0;
    for (; i + lanes <= b.n; i += lanes) finish_at<kEpilogue, kInt32, kOutput>(d, b, row, i);
    for (; i < b.n; ++i)
      finish_at<kEpilogue, kInt32, kOutput>(hn::CappedTag<float, 1>(), b, row, i);
  }
}

template <bool kInt32, Output kOutput>
void finish_epilogue(const FinishBlock& b) {
  switch (b.epilogue) {
    case Epilogue::kStore:
      return finish_rows<Epilogue::kStore, kInt32, kOutput>(b);
    case Epilogue::kGelu:
      return finish_rows<Epilogue::kGelu, kInt32, kOutput>(b);
    case Epilogue::kAdd:
      return finish_rows<Epilogue::kAdd, kInt32, Output::kFloat>(b);
  }
}

template <bool kInt32>
void finish_output(const FinishBlock& b) {
  if (!b.out_bf16) return finish_epilogue<kInt32, Output::kFloat>(b);
  has_isa(Isa::kAvx512Bf16) ? finish_epilogue<kInt32, Output::kBf16Native>(b)
                            : finish_epilogue<kInt32, Output::kBf16>(b);
}

void finish(const FinishBlock& b) { b.x_scales ? finish_output<true>(b) : finish_output<false>(b); }

// out[4, 4] = in[4, 4] transposed, of 4-byte units: pairs of rows interleaved, then pairs of pairs.
HWY_INLINE void transpose_4x4(const std::uint32_t* in, std::size_t ldi, std::uint32_t* out,
                              std::size_t ldo) {
#if HWY_TARGET == HWY_SCALAR
  for (int r = 0; r < 4; ++r)
    for (int c = 0; c < 4; ++c)
      out[static_cast<std::size_t>(c) * ldo + r] = in[static_cast<std::size_t>(r) * ldi + c];
#else
  const hn::FixedTag<std::uint32_t, 4> d;
  const hn::Repartition<std::uint64_t, decltype(d)> d64;
  const auto r0 = hn::LoadU(d, in), r1 = hn::LoadU(d, in + ldi), r2 = hn::LoadU(d, in + 2 * ldi),
             r3 = hn::LoadU(d, in + 3 * ldi);
  const auto low02 = hn::InterleaveLower(d, r0, r1), low13 = hn::InterleaveLower(d, r2, r3);
  const auto high02 = hn::InterleaveUpper(d, r0, r1), high13 = hn::InterleaveUpper(d, r2, r3);
  const auto lower = [&](auto a, auto b) HWY_ATTR {
    return hn::BitCast(d, hn::InterleaveLower(d64, hn::BitCast(d64, a), hn::BitCast(d64, b)));
  };
  const auto upper = [&](auto a, auto b) HWY_ATTR {
    return hn::BitCast(d, hn::InterleaveUpper(d64, hn::BitCast(d64, a), hn::BitCast(d64, b)));
  };
  hn::StoreU(lower(low02, low13), d, out);
  hn::StoreU(upper(low02, low13), d, out + ldo);
  hn::StoreU(lower(high02, high13), d, out + 2 * ldo);
  hn::StoreU(upper(high02, high13), d, out + 3 * ldo);
#endif
}

void transpose_units(const std::uint32_t* in, std::size_t ldi, int rows, int cols,
                     std::uint32_t* out, std::size_t ldo) {
  const auto one_by_one = [&](int r0, int r1, int c0, int c1) {
    for (int r = r0; r < r1; ++r)
      for (int c = c0; c < c1; ++c)
        out[static_cast<std::size_t>(c) * ldo + r] = in[static_cast<std::size_t>(r) * ldi + c];
  };
  const int whole_rows = rows / 4 * 4, whole_cols = cols / 4 * 4;
  // 16 rows fill a line of the output.
  for (int r0 = 0; r0 < whole_rows; r0 += 16)
    for (int c = 0; c < whole_cols; c += 4)
      for (int r = r0; r < std::min(r0 + 16, whole_rows); r += 4)
        transpose_4x4(in + static_cast<std::size_t>(r) * ldi + c, ldi,
                      out + static_cast<std::size_t>(c) * ldo + r, ldo);
  one_by_one(0, whole_rows, whole_cols, cols);
  one_by_one(whole_rows, rows, 0, cols);
}

void interleave(const std::uint16_t* even, const std::uint16_t* odd, int n, std::uint32_t* out) {
  const hn::CappedTag<std::uint32_t, kLanes> d;
  const hn::Rebind<std::uint16_t, decltype(d)> d16;
  const int lanes = static_cast<int>(hn::Lanes(d));
  int i = 0;
  for (; i + lanes <= n; i += lanes) {
    auto units = hn::PromoteTo(d, hn::LoadU(d16, even + i));
    if (odd) units = hn::Or(units, hn::ShiftLeft<16>(hn::PromoteTo(d, hn::LoadU(d16, odd + i))));
    hn::StoreU(units, d, out + i);
  }
  for (; i < n; ++i) out[i] = even[i] | (odd ? static_cast<std::uint32_t>(odd[i]) << 16 : 0u);
}

// 24 sums where there are 32 registers, 12 where there are 16.
Chain multiply_add_chain(int rounds) {
  const Floats d;
  hn::Vec<Floats> sums[kTileRows][kTileVectors];
  for (int r = 0; r < kTileRows; ++r)
    for (int v = 0; v < kTileVectors; ++v) sums[r][v] = hn::Set(d, 1.f);
  const auto x = hn::Set(d, 1.0000001f), y = hn::Set(d, 1e-9f);
  for (int i = 0; i < rounds; ++i)
    for (int r = 0; r < kTileRows; ++r)
      for (int v = 0; v < kTileVectors; ++v) sums[r][v] = hn::MulAdd(sums[r][v], x, y);
  auto total = hn::Zero(d);
  for (int r = 0; r < kTileRows; ++r)
    for (int v = 0; v < kTileVectors; ++v) total = hn::Add(total, sums[r][v]);
  return {hn::GetLane(hn::SumOfLanes(d, total)),
          kTileRows * kTileVectors * static_cast<int>(hn::Lanes(d))};
}

std::uint64_t or_words(const std::uint64_t* words, std::size_t n) {
  const hn::CappedTag<std::uint64_t, 8> d;
  const std::size_t lanes = hn::Lanes(d);
  auto a = hn::Zero(d), b = a;
  for (std::size_t i = 0; i < n; i += 2 * lanes) {
#if defined(__GNUC__)
    __builtin_prefetch(words + i + kReadAhead / sizeof(*words), 0, 2);
    __builtin_prefetch(words + i + kReadAhead / sizeof(*words) + lanes, 0, 2);
#endif
    a = hn::Or(a, hn::LoadU(d, words + i));
    b = hn::Or(b, hn::LoadU(d, words + i + lanes));
  }
  HWY_ALIGN std::uint64_t all[8] = {};
  hn::Store(hn::Or(a, b), d, all);
  std::uint64_t bits = 0;
  for (const std::uint64_t lane : all) bits |= lane;
  return bits;
}

const char* isa_name() { return hwy::TargetName(HWY_TARGET); }

}  // namespace HWY_NAMESPACE
}  // namespace blip::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace blip::kernels {

HWY_EXPORT(attention);
HWY_EXPORT(layer_norm);
HWY_EXPORT(isa_name);
HWY_EXPORT(to_bf16);
HWY_EXPORT(to_uint8);
HWY_EXPORT(bf16_to_uint8);
HWY_EXPORT(to_int8);
HWY_EXPORT(finish);
HWY_EXPORT(multiply_add_chain);
HWY_EXPORT(or_words);
HWY_EXPORT(transpose_units);
HWY_EXPORT(interleave);

void to_bf16(const float* x, int n, std::uint16_t* out) {
  HWY_DYNAMIC_DISPATCH(to_bf16)(x, n, out);
}
ByteScale to_uint8(const float* x, int n, std::uint8_t* out) {
  return HWY_DYNAMIC_DISPATCH(to_uint8)(x, n, out);
}
ByteScale to_uint8(const std::uint16_t* x, int n, std::uint8_t* out) {
  return HWY_DYNAMIC_DISPATCH(bf16_to_uint8)(x, n, out);
}
float to_int8(const float* x, int n, std::int8_t* out) {
  return HWY_DYNAMIC_DISPATCH(to_int8)(x, n, out);
}
void transpose_units(const std::uint32_t* in, std::size_t ldi, int rows, int cols,
                     std::uint32_t* out, std::size_t ldo) {
  HWY_DYNAMIC_DISPATCH(transpose_units)(in, ldi, rows, cols, out, ldo);
}

void pack_units(const void* in, int rows, std::size_t row_bytes, std::uint32_t* out,
                std::size_t ldo) {
  constexpr std::size_t kUnit = sizeof(std::uint32_t);
  const std::size_t units = row_bytes / kUnit;
  if (row_bytes % kUnit == 0 && reinterpret_cast<std::uintptr_t>(in) % kUnit == 0)
    return transpose_units(static_cast<const std::uint32_t*>(in), units, rows,
                           static_cast<int>(units), out, ldo);
  const auto* row = static_cast<const std::byte*>(in);
  for (int r = 0; r < rows; ++r, row += row_bytes)
    for (std::size_t u = 0; u * kUnit < row_bytes; ++u)
      std::memcpy(out + u * ldo + r, row + u * kUnit, std::min(kUnit, row_bytes - u * kUnit));
}
void interleave(const std::uint16_t* even, const std::uint16_t* odd, int n, std::uint32_t* out) {
  HWY_DYNAMIC_DISPATCH(interleave)(even, odd, n, out);
}
void finish(const FinishBlock& block) { HWY_DYNAMIC_DISPATCH(finish)(block); }

void layer_norm(const float* x, const float* gain, const float* bias, float eps, int n,
                float* out) {
  HWY_DYNAMIC_DISPATCH(layer_norm)(x, gain, bias, eps, n, out);
}

std::size_t attention_scratch(int queries, int count, int head_dim) {
  // scores, mixed values, a sum per query; for bfloat16 the queries too (two to a float), their
  // steps and starts
  return static_cast<std::size_t>(queries) *
         (round_up(count, kBf16Keys) + 2 * round_up(head_dim, kLanes) + 3);
}

void attention(const AttentionBlock& block) { HWY_DYNAMIC_DISPATCH(attention)(block); }

Chain multiply_add_chain(int rounds) { return HWY_DYNAMIC_DISPATCH(multiply_add_chain)(rounds); }
std::uint64_t or_words(const std::uint64_t* words, std::size_t n) {
  return HWY_DYNAMIC_DISPATCH(or_words)(words, n);
}

const char* vector_isa() { return HWY_DYNAMIC_DISPATCH(isa_name)(); }

}  // namespace blip::kernels
#endif  // HWY_ONCE
