// Attention over bfloat16 keys and values, and keys of bytes, where there are no bfloat16 products:
// by the products over panels, in the order of AVX-512's (attention_bf16-inl.h), so that the
// outputs are the same bits.
#include "kernels/attention_panels.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "core/aligned.h"
#include "core/vector_targets.h"  // before Highway
#include "kernels/panel_kernel.h"
#include "kernels/read_ahead.h"
#include "kernels/vector.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention_panels.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace blip::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// A float rounded to bfloat16, as a float.
template <class D, class V>
HWY_INLINE V rounded(D d, V x) {
  const hn::RebindToUnsigned<D> d32;
  return hn::BitCast(d, hn::ShiftLeft<16>(round_bf16(d32, hn::BitCast(d32, x))));
}

// The largest of the first `visible` scores of a row. key_scales: scores are integers of 4 bytes
// and become floats, all `columns` of them, by each column's scale.
float largest_score(float* row, int visible, int columns, const float* key_scales) {
  const Floats d;
  const hn::RebindToSigned<Floats> di;
  const int lanes = static_cast<int>(hn::Lanes(d));
  constexpr int kTops = 4;  // for the latency
  hn::Vec<Floats> tops[kTops];
  for (auto& top : tops) top = hn::Set(d, -std::numeric_limits<float>::infinity());
  const auto score = [&](int i) HWY_ATTR {
    if (!key_scales) return hn::LoadU(d, row + i);
    const auto sums = hn::LoadU(di, reinterpret_cast<const std::int32_t*>(row) + i);
    const auto x = hn::Mul(hn::ConvertTo(d, sums), hn::LoadU(d, key_scales + i));
    hn::StoreU(x, d, row + i);
    return x;
  };
  int i = 0;
  for (; i + kTops * lanes <= visible; i += kTops * lanes)
    for (int t = 0; t < kTops; ++t) tops[t] = hn::Max(tops[t], score(i + t * lanes));
  for (; i < columns; i += lanes) {
    const auto x = score(i);
    const auto seen = hn::FirstN(d, static_cast<std::size_t>(std::max(0, visible - i)));
    tops[0] = hn::IfThenElse(seen, hn::Max(tops[0], x), tops[0]);
  }
  return hn::GetLane(
      hn::MaxOfLanes(d, hn::Max(hn::Max(tops[0], tops[1]), hn::Max(tops[2], tops[3]))));
}

// Replaces a row of scores by weights exp(scale (x - max)), rounded to bfloat16, zero from
// `visible` to `columns`; returns their sum before rounding and the max. key_scales: as above.
Exponentials rounded_softmax_row(float* row, int visible, int columns, float scale,
                                 const float* key_scales) {
  const Floats d;
  const int lanes = static_cast<int>(hn::Lanes(d));
  const float max = largest_score(row, visible, columns, key_scales);
  int i = 0;
  const float step = scale * kLog2E;
  const auto factor = hn::Set(d, step), shift = hn::Set(d, max * step);
  Wide totals[2];
  set_zero(totals[0]);
  set_zero(totals[1]);
  const auto weigh = [&](int total, int at, int j) HWY_ATTR {
    auto e = exp2_rough(d, hn::MulSub(hn::LoadU(d, row + at), factor, shift));
    const int rest = visible - at;
    if (rest < lanes)
      e = hn::IfThenElseZero(hn::FirstN(d, static_cast<std::size_t>(std::max(0, rest))), e);
    totals[total][j] = hn::Add(totals[total][j], e);
    hn::StoreU(rounded(d, e), d, row + at);
  };
  for (i = 0; i + 2 * kLanes <= visible; i += 2 * kLanes)
    for (int t = 0; t < 2; ++t)
      for_wide([&](int j, int at) HWY_ATTR { weigh(t, i + t * kLanes + at, j); });
  for (; i < columns; i += kLanes) for_wide([&](int j, int at) HWY_ATTR { weigh(0, i + at, j); });
  return {sum_of(totals[0], totals[1]), max};
}

void multiply_row(const float* x, int n, float factor, float* out) {
  for_lanes(n, [&](auto d, int i) HWY_ATTR {
    hn::StoreU(hn::Mul(hn::LoadU(d, x + i), hn::Set(d, factor)), d, out + i);
  });
}

// n values, values(d, i) from i on, in steps of the largest / 127, 128 above; returns the step.
template <class Values>
HWY_INLINE float round_steps(int n, std::uint8_t* out, const Values& values) {
  const float step = step_of(n, values), inverse = 1.f / step;
  for_lanes(n, [&](auto d, int i) HWY_ATTR {
    const hn::RebindToSigned<decltype(d)> di;
    const hn::Rebind<std::uint8_t, decltype(d)> d8;
    const auto steps = hn::NearestInt(hn::Mul(values(d, i), hn::Set(d, inverse)));
    hn::StoreU(hn::DemoteTo(d8, hn::Add(steps, hn::Set(di, 128))), d8, out + i);
  });
  return step;
}

float round_query(const std::uint16_t* q, int n, std::uint8_t* out) {
  return round_steps(n, out, [&](auto d, int i) HWY_ATTR { return load_floats(d, q + i); });
}

// A key less the mean of all.
float round_key(const std::uint16_t* key, const float* mean, int n, std::uint8_t* out) {
  return round_steps(n, out, [&](auto d, int i) HWY_ATTR {
    return hn::Sub(load_floats(d, key + i), hn::LoadU(d, mean + i));
  });
}

void mean_of(const std::uint16_t* keys, std::size_t stride, int count, int n, float* mean) {
  std::fill_n(mean, n, 0.f);
  for (int r = 0; r < count; ++r, keys += stride)
    for_lanes(n, [&](auto d, int i) HWY_ATTR {
      hn::StoreU(hn::Add(hn::LoadU(d, mean + i), load_floats(d, keys + i)), d, mean + i);
    });
  for (int i = 0; i < n; ++i) mean[i] *= 1.f / static_cast<float>(count);
}

}  // namespace blip::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace blip::kernels {
namespace {

HWY_EXPORT(rounded_softmax_row);
HWY_EXPORT(multiply_row);
HWY_EXPORT(round_query);
HWY_EXPORT(round_key);
HWY_EXPORT(mean_of);

// c[m, n] = rows by columns, which lie in units of 4 bytes, `stride` units from one to the next. n:
// a multiple of kPanel.
struct Product {
  const PanelKernel& kernel;
  int m, n, units;
  const char* rows;
  std::size_t row_bytes, plane;
  const std::int32_t* row_starts;
  const void* columns;
  std::size_t stride;
  float* c;
  std::size_t ldc;
};

void multiply(const Product& p) {
  const int at_once = p.m <= p.kernel.few_rows ? 2 : 1;
  for (int column = 0; column < p.n; column += at_once * kPanel)
    p.kernel.multiply(
        {.rows = p.m,
         .panels = std::min(at_once, (p.n - column) / kPanel),
         .units = p.units,
         .x = p.rows,
         .ldx = p.row_bytes,
         .plane = p.plane,
         .panel = static_cast<const char*>(p.columns) + static_cast<std::size_t>(column) * 4,
         .panel_stride = kPanelUnit,
         .unit_stride = p.stride * 4,
         .start = kZeros,
         .start_stride = 0,
         .row_starts = p.row_starts,
         .sums = reinterpret_cast<char*>(p.c + column),
         .lds = p.ldc * sizeof(float),
         .ahead = kReadAheadUnits * p.stride * 4,
         .next = nullptr});
}

// scores[queries, columns] of keys of bytes, less a query's step, which goes to steps[queries].
void byte_scores(const AttentionBlock& b, int columns, float* scores, std::uint8_t* memory,
                 std::int32_t* starts, float* steps) {
  const PanelKernel& kernel = key_kernel();
  const auto dims = static_cast<std::size_t>(b.head_dim),
             row = dims * static_cast<std::size_t>(kernel.planes);
  // Behind the packed ones: attention_scratch() has room for floats, twice as much.
  std::uint8_t* query = memory + static_cast<std::size_t>(b.queries) * row;
  for (int i = 0; i < b.queries; ++i) {
    steps[i] = HWY_DYNAMIC_DISPATCH(round_query)(
        static_cast<const std::uint16_t*>(b.q) + static_cast<std::size_t>(i) * b.ldq, b.head_dim,
        query);
    starts[i] =
        kernel.pack_row(query, b.head_dim,
                        reinterpret_cast<char*>(memory) + static_cast<std::size_t>(i) * row, dims);
  }
  multiply({kernel, b.queries, columns, b.head_dim / 4, reinterpret_cast<const char*>(memory), row,
            dims, starts, b.keys, b.key_stride, scores, static_cast<std::size_t>(columns)});
}

void pair_scores(const AttentionBlock& b, int columns, int width, float* scores, float* memory) {
  const PanelKernel& kernel = panel_kernel_of(NumberType::kBf16, true);
  for (int i = 0; i < b.queries; ++i)
    kernel.pack_row(static_cast<const std::uint16_t*>(b.q) + static_cast<std::size_t>(i) * b.ldq,
                    b.head_dim,
                    reinterpret_cast<char*>(memory + static_cast<std::size_t>(i) * width), 0);
  multiply({kernel, b.queries, columns, (b.head_dim + 1) / 2, reinterpret_cast<const char*>(memory),
            static_cast<std::size_t>(width) * sizeof(float), 0, nullptr, b.keys, b.key_stride,
            scores, static_cast<std::size_t>(columns)});
}

}  // namespace

void attention_by_panels(const AttentionBlock& b) {
  const int columns = round_up(b.count, kLanes), width = round_up(b.head_dim, kLanes);
  float* scores = b.scratch;
  float* mixed = scores + static_cast<std::size_t>(b.queries) * columns;
  float* queries = mixed + static_cast<std::size_t>(b.queries) * width;
  float* sums = queries + static_cast<std::size_t>(b.queries) * width;
  float* steps = sums + b.queries;
  if (b.key_scales) {
    byte_scores(b, columns, scores, reinterpret_cast<std::uint8_t*>(queries),
                reinterpret_cast<std::int32_t*>(steps + b.queries), steps);
  } else {
    pair_scores(b, columns, width, scores, queries);
    std::fill_n(steps, b.queries, 1.f);
  }
  for (int i = 0; i < b.queries; ++i) {
    const int visible =
        b.causal_offset == kAllVisible ? b.count : std::min(b.count, b.causal_offset + i + 1);
    const float scale = b.scale * steps[i];
    const Exponentials e = HWY_DYNAMIC_DISPATCH(rounded_softmax_row)(
        scores + static_cast<std::size_t>(i) * columns, visible, columns, scale, b.key_scales);
    sums[i] = e.sum;
    if (b.log_sums) b.log_sums[i] = scale * e.max + std::log(e.sum);
  }
  multiply({panel_kernel_of(NumberType::kBf16, true), b.queries, width, (b.count + 1) / 2,
            reinterpret_cast<const char*>(scores),
            static_cast<std::size_t>(columns) * sizeof(float), 0, nullptr, b.values, b.value_stride,
            mixed, static_cast<std::size_t>(width)});
  for (int i = 0; i < b.queries; ++i) {
    HWY_DYNAMIC_DISPATCH(multiply_row)
    (mixed + static_cast<std::size_t>(i) * width, b.head_dim, 1.f / sums[i], b.out + i * b.ldo);
  }
}

void pack_byte_keys_by_panels(const std::uint16_t* keys, std::size_t stride, int count,
                              int head_dim, std::uint32_t* out, std::size_t key_stride,
                              float* key_scales) {
  const auto dims = static_cast<std::size_t>(head_dim);
  AlignedArray<float> means(dims);
  float* mean = means.data();
  HWY_DYNAMIC_DISPATCH(mean_of)(keys, stride, count, head_dim, mean);
  const int padded = round_up(count, kLanes);
  AlignedArray<std::uint8_t> rounded(static_cast<std::size_t>(padded) * dims);
  std::uint8_t* rows = rounded.data();
  for (int r = 0; r < count; ++r)
    key_scales[r] =
        HWY_DYNAMIC_DISPATCH(round_key)(keys + static_cast<std::size_t>(r) * stride, mean, head_dim,
                                        rows + static_cast<std::size_t>(r) * dims);
  std::memset(rows + static_cast<std::size_t>(count) * dims, 0,
              static_cast<std::size_t>(padded - count) * dims);
  transpose_units(reinterpret_cast<const std::uint32_t*>(rows), dims / 4, padded, head_dim / 4, out,
                  key_stride);
}

}  // namespace blip::kernels
#endif  // HWY_ONCE
