#include "kernels/vector.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/aligned.h"

// Arrays of vectors (the accumulators below) exist only where a vector's size is known when compiling.
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/vector.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include <hwy/contrib/math/math-inl.h>

HWY_BEFORE_NAMESPACE();
namespace blip::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Floats = HWY_CAPPED(float, kLanes);

// Rows of a register tile. Two vectors wide, 6 rows: 12 accumulators hide an FMA's latency of 4 cycles on two ports
// (8 needed), and with 2 loaded vectors and a broadcast they fit AVX2's 16 registers.
constexpr int kTileRows = 6;

// c[Rows, Vectors * lanes] = a[Rows, k] b[k, ...]
template <int Rows, int Vectors>
HWY_INLINE void tile(int k, const float* a, std::size_t lda, const float* b, std::size_t ldb, float* c, std::size_t ldc) {
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
void row_panel(int n, int k, const float* a, std::size_t lda, const float* b, std::size_t ldb, float* c, std::size_t ldc) {
  const int lanes = static_cast<int>(hn::Lanes(Floats()));
  int j = 0;
  for (; j + 2 * lanes <= n; j += 2 * lanes) tile<Rows, 2>(k, a, lda, b + j, ldb, c + j, ldc);
  for (; j < n; j += lanes) tile<Rows, 1>(k, a, lda, b + j, ldb, c + j, ldc);
}

// c[m, n] = a[m, k] b[k, n]; n a multiple of kLanes.
void small_gemm(int m, int n, int k, const float* a, std::size_t lda, const float* b, std::size_t ldb, float* c, std::size_t ldc) {
  int i = 0;
  for (; i + kTileRows <= m; i += kTileRows) row_panel<kTileRows>(n, k, a + i * lda, lda, b, ldb, c + i * ldc, ldc);
  a += i * lda;
  c += i * ldc;
  switch (m - i) {
    case 5: return row_panel<5>(n, k, a, lda, b, ldb, c, ldc);
    case 4: return row_panel<4>(n, k, a, lda, b, ldb, c, ldc);
    case 3: return row_panel<3>(n, k, a, lda, b, ldb, c, ldc);
    case 2: return row_panel<2>(n, k, a, lda, b, ldb, c, ldc);
    case 1: return row_panel<1>(n, k, a, lda, b, ldb, c, ldc);
    default: return;
  }
}

// x[i] = exp(scale * (x[i] - max)) for the first n values; returns their sum. Values up to the next multiple of the vector
// are overwritten.
float exp_row(float* x, int n, float scale) {
  const Floats d;
  const int lanes = static_cast<int>(hn::Lanes(d));
  auto top = hn::Set(d, x[0]);
  int i = 0;
  for (; i + lanes <= n; i += lanes) top = hn::Max(top, hn::LoadU(d, x + i));
  float max = hn::GetLane(hn::MaxOfLanes(d, top));
  for (int j = i; j < n; ++j) max = std::max(max, x[j]);
  const auto m = hn::Set(d, max), s = hn::Set(d, scale);
  auto total = hn::Zero(d);
  for (i = 0; i < n; i += lanes) {
    auto e = hn::Exp(d, hn::Mul(s, hn::Sub(hn::LoadU(d, x + i), m)));
    if (i + lanes > n) e = hn::IfThenElseZero(hn::FirstN(d, static_cast<std::size_t>(n - i)), e);
    hn::StoreU(e, d, x + i);
    total = hn::Add(total, e);
  }
  return hn::GetLane(hn::SumOfLanes(d, total));
}

void attention(const AttentionBlock& b) {
  const int columns = round_up(b.count, kLanes), width = round_up(b.head_dim, kLanes);
  float* scores = b.scratch;
  float* mixed = scores + static_cast<std::size_t>(b.queries) * columns;
  small_gemm(b.queries, columns, b.head_dim, b.q, b.ldq, static_cast<const float*>(b.keys), b.key_stride, scores, static_cast<std::size_t>(columns));
  float* sums = mixed + static_cast<std::size_t>(b.queries) * width;
  for (int i = 0; i < b.queries; ++i) {
    const int visible = b.first_visible == kAllVisible ? b.count : std::min(b.count, b.first_visible + i + 1);
    float* row = scores + static_cast<std::size_t>(i) * columns;
    sums[i] = exp_row(row, visible, b.scale);
    std::fill(row + visible, row + columns, 0.f);
  }
  small_gemm(b.queries, width, b.count, scores, static_cast<std::size_t>(columns), static_cast<const float*>(b.values), b.value_stride, mixed, static_cast<std::size_t>(width));
  for (int i = 0; i < b.queries; ++i) {
    const float inverse = 1.f / sums[i];
    for (int j = 0; j < b.head_dim; ++j) b.out[i * b.ldo + j] = mixed[static_cast<std::size_t>(i) * width + j] * inverse;
  }
}

void layer_norm(const float* x, const float* gain, const float* bias, float eps, int n, float* out) {
  const Floats d;
  const int lanes = static_cast<int>(hn::Lanes(d));
  const int whole = n / lanes * lanes;
  auto total = hn::Zero(d);
  for (int i = 0; i < whole; i += lanes) total = hn::Add(total, hn::LoadU(d, x + i));
  float sum = hn::GetLane(hn::SumOfLanes(d, total));
  for (int i = whole; i < n; ++i) sum += x[i];
  const float mean = sum / static_cast<float>(n);
  const auto mean_v = hn::Set(d, mean);
  auto squares = hn::Zero(d);
  for (int i = 0; i < whole; i += lanes) {
    const auto t = hn::Sub(hn::LoadU(d, x + i), mean_v);
    squares = hn::MulAdd(t, t, squares);
  }
  float variance = hn::GetLane(hn::SumOfLanes(d, squares));
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
  const auto round = [](auto d, auto bits) {
    const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(d, 1u));
    return hn::ShiftRight<16>(hn::Add(bits, hn::Add(odd, hn::Set(d, 0x7fffu))));
  };
  int i = 0;
  for (; i + lanes <= n; i += lanes) {
    const auto bits = hn::LoadU(d32, reinterpret_cast<const std::uint32_t*>(x) + i);
    hn::StoreU(hn::DemoteTo(d16, hn::BitCast(di32, round(d32, bits))), d16, out + i);
  }
  for (; i < n; ++i) {
    std::uint32_t bits;
    std::memcpy(&bits, x + i, sizeof(bits));
    out[i] = static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
  }
}

float to_uint8(const float* x, int n, std::uint8_t* out) {
  const Floats d;
  const hn::RebindToSigned<Floats> di;
  const hn::Rebind<std::uint8_t, Floats> d8;
  const int lanes = static_cast<int>(hn::Lanes(d));
  auto top = hn::Zero(d);
  int i = 0;
  for (; i + lanes <= n; i += lanes) top = hn::Max(top, hn::Abs(hn::LoadU(d, x + i)));
  float max = hn::GetLane(hn::MaxOfLanes(d, top));
  for (; i < n; ++i) max = std::max(max, std::abs(x[i]));
  const float scale = max > 0 ? max / 127.f : 1.f, inverse = 1.f / scale;
  const auto inverse_v = hn::Set(d, inverse);
  const auto middle = hn::Set(di, 128);
  for (i = 0; i + lanes <= n; i += lanes)
    hn::StoreU(hn::DemoteTo(d8, hn::Add(hn::NearestInt(hn::Mul(hn::LoadU(d, x + i), inverse_v)), middle)), d8, out + i);
  for (; i < n; ++i) out[i] = static_cast<std::uint8_t>(std::lrint(x[i] * inverse) + 128);
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
  const auto erf = hn::CopySign(hn::NegMulAdd(p, hn::Exp(d, hn::Neg(hn::Mul(a, a))), hn::Set(d, 1.f)), z);
  return hn::Mul(hn::Mul(x, hn::Set(d, 0.5f)), hn::Add(erf, hn::Set(d, 1.f)));
}

template <class D>
HWY_INLINE void finish_int32(D d, const Int8Output& row, int i) {
  const hn::RebindToSigned<D> di;
  const auto sum = hn::Sub(hn::LoadU(di, row.sums + i), hn::LoadU(di, row.offset + i));
  auto y = hn::Mul(hn::ConvertTo(d, sum), hn::Mul(hn::Set(d, row.x_scale), hn::LoadU(d, row.w_scale + i)));
  if (row.bias) y = hn::Add(y, hn::LoadU(d, row.bias + i));
  if (row.epilogue == Epilogue::kGelu) y = gelu(d, y);
  if (row.epilogue == Epilogue::kAdd) y = hn::Add(y, hn::LoadU(d, row.out + i));
  hn::StoreU(y, d, row.out + i);
}

void from_int32(const Int8Output& row, int n) {
  const Floats d;
  const int lanes = static_cast<int>(hn::Lanes(d));
  int i = 0;
  for (; i + lanes <= n; i += lanes) finish_int32(d, row, i);
  for (; i < n; ++i) finish_int32(hn::CappedTag<float, 1>(), row, i);
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
HWY_EXPORT(from_int32);

void to_bf16(const float* x, int n, std::uint16_t* out) { HWY_DYNAMIC_DISPATCH(to_bf16)(x, n, out); }
float to_uint8(const float* x, int n, std::uint8_t* out) { return HWY_DYNAMIC_DISPATCH(to_uint8)(x, n, out); }
void from_int32(const Int8Output& row, int n) { HWY_DYNAMIC_DISPATCH(from_int32)(row, n); }

void layer_norm(const float* x, const float* gain, const float* bias, float eps, int n, float* out) {
  HWY_DYNAMIC_DISPATCH(layer_norm)(x, gain, bias, eps, n, out);
}

std::size_t attention_scratch(int queries, int count, int head_dim) {
  // scores, mixed values, a sum per query; for bfloat16 the queries too (two to a float)
  return static_cast<std::size_t>(queries) * (round_up(count, kLanes) + 2 * round_up(head_dim, kLanes) + 1);
}

void attention(const AttentionBlock& block) { HWY_DYNAMIC_DISPATCH(attention)(block); }

const char* vector_isa() { return HWY_DYNAMIC_DISPATCH(isa_name)(); }

}  // namespace blip::kernels
#endif  // HWY_ONCE
