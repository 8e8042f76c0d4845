// Every kernel, on every instruction set this machine has, against a double-precision reference.
// Highway's own choice of instruction sets would include what ours leaves out.
// clang-format off
#include "core/vector_targets.h"
#include <hwy/targets.h>
// clang-format on
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <random>
#include <utility>
#include <vector>

#include "core/aligned.h"
#include "kernels/bf16_12bit.h"
#include "kernels/gemm.h"
#include "kernels/isa.h"
#include "kernels/unit_pairs.h"
#include "kernels/vector.h"
#if defined(__x86_64__)
#include "emulated_tiles.h"
#include "kernels/attention_bf16-inl.h"
#include "kernels/gemm_amx-inl.h"
#endif

namespace blip::kernels {
namespace {

std::vector<float> random_values(std::size_t n, unsigned seed, float scale = 1.f) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0.f, scale);
  std::vector<float> values(n);
  for (auto& v : values) v = normal(generator);
  return values;
}

double gelu(double x) { return 0.5 * x * (1.0 + std::erf(x / std::sqrt(2.0))); }

// Runs `test` once for each instruction set of our own kernels.
template <class Test>
void for_each_isa(const Test& test) {
  for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    SCOPED_TRACE(hwy::TargetName(target));
    EXPECT_STREQ(vector_isa(), hwy::TargetName(target));
    test();
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

TEST(LayerNorm, EqualsDoubleReference) {
  for_each_isa([] {
    for (const int n : {1, 2, 7, 15, 16, 17, 31, 64, 100, 768, 1023, 1024}) {
      const auto x = random_values(n, 1, 3.f), gain = random_values(n, 2),
                 bias = random_values(n, 3);
      std::vector<float> out(n);
      layer_norm(x.data(), gain.data(), bias.data(), 1e-6f, n, out.data());
      double mean = 0, variance = 0;
      for (const float v : x) mean += v / n;
      for (const float v : x) variance += (v - mean) * (v - mean) / n;
      for (int i = 0; i < n; ++i)
        EXPECT_NEAR(out[i], (x[i] - mean) / std::sqrt(variance + 1e-6) * gain[i] + bias[i], 2e-5)
            << n << " " << i;
      std::vector<float> in_place = x;
      layer_norm(in_place.data(), gain.data(), bias.data(), 1e-6f, n, in_place.data());
      EXPECT_EQ(in_place, out);
    }
  });
}

struct AttentionCase {
  int queries, count, head_dim, causal_offset;
};

float rounded_bf16(float x) {
  std::uint16_t half;
  to_bf16(&x, 1, &half);
  const std::uint32_t bits = std::uint32_t{half} << 16;
  float y;
  std::memcpy(&y, &bits, sizeof(y));
  return y;
}

// Random queries, keys and values, the latter packed as the kernels read them. kInt8: the keys
// alone, all else in bfloat16.
struct AttentionData {
  AttentionData(const AttentionCase& shape, NumberType number) : c(shape), type(number) {
    q = random_values(c.queries * ldq(), 1);
    k = random_values(c.count * c.head_dim, 2, 2.f);
    v = random_values(c.count * c.head_dim, 3);
    const bool bf16 = type != NumberType::kF32;
    if (bf16)
      for (auto* factor : {&q, &k, &v})
        for (float& x : *factor) x = rounded_bf16(x);  // leaves only the products' own rounding
    keys = AlignedArray<std::byte>(round_up(c.head_dim, 2) * key_stride() * size_of(type),
                                   std::byte{0});
    values = AlignedArray<std::byte>(
        round_up(c.count, kBf16Keys) * value_stride() * size_of(bf16 ? NumberType::kBf16 : type),
        std::byte{0});
    if (type == NumberType::kInt8) round_to_bytes();
    for (int j = 0; j < c.count; ++j)
      for (int d = 0; d < c.head_dim; ++d) {
        const float key = k[j * c.head_dim + d], value = v[j * c.head_dim + d];
        if (bf16) {
          if (type == NumberType::kBf16)
            to_bf16(&key, 1,
                    reinterpret_cast<std::uint16_t*>(keys.data()) + (d / 2 * key_stride() + j) * 2 +
                        d % 2);
          to_bf16(&value, 1,
                  reinterpret_cast<std::uint16_t*>(values.data()) +
                      (j / 2 * value_stride() + d) * 2 + j % 2);
        } else {
          reinterpret_cast<float*>(keys.data())[d * key_stride() + j] = key;
          reinterpret_cast<float*>(values.data())[j * value_stride() + d] = value;
        }
      }
  }
  std::size_t ldq() const { return c.head_dim * 3 + 5; }
  std::size_t ldo() const { return c.head_dim * 2 + 3; }
  std::size_t key_stride() const {
    return round_up(c.count + 20, type == NumberType::kF32 ? kLanes : kBf16Keys);
  }
  std::size_t value_stride() const { return round_up(c.head_dim, kLanes); }
  // Keys as they are packed, which must be theirs less their mean to half a step, and queries as
  // the kernel rounds them.
  void round_to_bytes() {
    const std::size_t dims = c.head_dim, stride = dims + 6;
    std::vector<std::uint16_t> rows(c.count * stride);
    std::vector<double> mean(dims);
    for (int j = 0; j < c.count; ++j) {
      to_bf16(&k[j * dims], c.head_dim, &rows[j * stride]);
      for (std::size_t d = 0; d < dims; ++d) mean[d] += k[j * dims + d] / double(c.count);
    }
    key_scales.assign(key_stride(), 0.f);
    pack_byte_keys(rows.data(), stride, c.count, c.head_dim,
                   reinterpret_cast<std::uint32_t*>(keys.data()), key_stride(), key_scales.data());
    for (int j = 0; j < c.count; ++j) {
      double top = 0;
      for (std::size_t d = 0; d < dims; ++d)
        top = std::max(top, std::abs(k[j * dims + d] - mean[d]));
      EXPECT_NEAR(key_scales[j], top > 1e-5 ? top / 127 : key_scales[j], 1e-5);
      for (std::size_t d = 0; d < dims; ++d) {
        const int byte = static_cast<int>(keys.data()[(d / 4 * key_stride() + j) * 4 + d % 4]);
        const float packed = key_scales[j] * static_cast<float>(byte - 128);
        EXPECT_NEAR(packed, k[j * dims + d] - mean[d], 0.51 * key_scales[j] + 1e-5)
            << "key " << j << " dim " << d << " of " << c.count << "x" << c.head_dim;
        k[j * dims + d] = packed;
      }
    }
    for (int i = 0; i < c.queries; ++i) {
      float* query = &q[i * ldq()];
      float top = 0;
      for (std::size_t d = 0; d < dims; ++d) top = std::max(top, std::abs(query[d]));
      for (std::size_t d = 0; d < dims && top > 0; ++d)
        query[d] = std::nearbyint(query[d] * (1.f / (top / 127))) * (top / 127);
    }
  }
  double expected(int i, int d) const {
    const int visible =
        c.causal_offset == kAllVisible ? c.count : std::min(c.count, c.causal_offset + i + 1);
    std::vector<double> p(visible);
    double top = -1e300, sum = 0, result = 0;
    for (int j = 0; j < visible; ++j) {
      for (int e = 0; e < c.head_dim; ++e)
        p[j] += static_cast<double>(q[i * ldq() + e]) * k[j * c.head_dim + e];
      top = std::max(top, p[j] /= std::sqrt(c.head_dim));
    }
    for (auto& x : p) sum += x = std::exp(x - top);
    for (int j = 0; j < visible; ++j) result += p[j] / sum * v[j * c.head_dim + d];
    return result;
  }

  AttentionCase c;
  NumberType type;
  std::vector<float> q, k, v, key_scales;
  AlignedArray<std::byte> keys, values;
};

void check_attention(const AttentionCase& c, NumberType type = NumberType::kF32,
                     void (*kernel)(const AttentionBlock&) = attention) {
  const AttentionData data(c, type);
  const auto unrounded = random_values(data.q.size(), 1);
  std::vector<float> out(c.queries * data.ldo(), -7.f);
  AlignedArray<float> scratch(attention_scratch(c.queries, c.count, c.head_dim));
  std::vector<std::uint16_t> halves(data.q.size() + 1);
  to_bf16(unrounded.data(), static_cast<int>(unrounded.size()), halves.data());
  const void* queries =
      type == NumberType::kF32 ? data.q.data() : static_cast<const void*>(halves.data());
  kernel({queries, data.ldq(), c.queries, data.keys.data(), data.key_stride(), data.values.data(),
          data.value_stride(), c.count, c.head_dim, c.causal_offset,
          1.f / std::sqrt(static_cast<float>(c.head_dim)), out.data(), data.ldo(), scratch.data(),
          nullptr, type == NumberType::kInt8 ? data.key_scales.data() : nullptr});
  // bfloat16 weights are off by up to 2^-9 of the largest value (about 3 standard deviations).
  const double tolerance = type == NumberType::kF32 ? 2e-5 : 1e-2;
  for (int i = 0; i < c.queries; ++i) {
    for (int d = 0; d < c.head_dim; ++d)
      EXPECT_NEAR(out[i * data.ldo() + d], data.expected(i, d), tolerance)
          << "query " << i << " dim " << d << " of " << c.queries << "x" << c.count << "x"
          << c.head_dim;
    // nothing written past the head
    for (std::size_t d = c.head_dim; d < data.ldo(); ++d) EXPECT_EQ(out[i * data.ldo() + d], -7.f);
  }
}

template <class Check>
void for_attention_shapes(const Check& check) {
  for (const int queries : {1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 48})
    for (const int count : {1, 2, 15, 16, 17, 33, 65})
      for (const int head_dim : {1, 8, 12, 16, 24, 64, 80})
        check({queries, count, head_dim, kAllVisible});
  check({48, 577, 64, kAllVisible});
  check({3, 901, 64, kAllVisible});
  for (const int before : {0, 1, 5, 16})
    for (const int queries : {1, 4, 17}) check({queries, before + queries, 24, before});
}

TEST(Attention, EqualsDoubleReference) {
  for_each_isa([] { for_attention_shapes([](const AttentionCase& c) { check_attention(c); }); });
}

TEST(Attention, Bf16EqualsDoubleReference) {
  for_attention_shapes(
      [](const AttentionCase& c) { check_attention(c, NumberType::kBf16, attention_bf16); });
}

TEST(Attention, ByteKeysEqualDoubleReference) {
  const auto check = [](const AttentionCase& c) {
    check_attention(c, NumberType::kInt8, attention_bf16);
  };
  for (const int queries : {1, 2, 5, 6, 7, 13, 48})
    for (const int count : {1, 2, 15, 16, 17, 33, 65})
      for (const int head_dim : {4, 8, 12, 36, 64, 80, 128, 132})
        check({queries, count, head_dim, kAllVisible});
  check({48, 577, 64, kAllVisible});
  check({7, 901, 64, kAllVisible});
  check({17, 22, 24, 5});
}

#if defined(__x86_64__)
TEST(AttentionByTiles, EmulatedEqualsDoubleReference) {
  if (!has_isa(Isa::kAvx512Bf16)) GTEST_SKIP() << "this machine has no AVX-512 bfloat16";
  const auto check = [](const AttentionCase& c) {
    check_attention(c, NumberType::kBf16,
                    attention_detail::attend<attention_detail::TileProduct<EmulatedTiles>>);
  };
  for (const int queries : {1, 7, 16, 17, 31, 32, 33, 48})
    for (const int count : {1, 2, 31, 32, 33, 65}) check({queries, count, 64, kAllVisible});
  check({32, 577, 64, kAllVisible});
  check({17, 40, 32, 23});
}
#endif

TEST(Convert, Bf16RoundsToNearestEven) {
  for_each_isa([] {
    std::vector<float> x = random_values(1000, 5, 100.f);
    // two ties: down to even, up to even
    x.insert(x.end(), {0.f, -0.f, 1.f, 1.00390625f, 1.01171875f, 3e38f, -1e-40f});
    std::vector<std::uint16_t> out(x.size());
    to_bf16(x.data(), static_cast<int>(x.size()), out.data());
    for (std::size_t i = 0; i < x.size(); ++i) {
      std::uint32_t bits;
      std::memcpy(&bits, &x[i], sizeof(bits));
      const std::uint32_t below = bits & 0xffff0000u, rest = bits & 0xffffu;
      const bool up = rest > 0x8000u || (rest == 0x8000u && (below >> 16 & 1u));
      EXPECT_EQ(out[i], (below >> 16) + up) << x[i];
    }
    EXPECT_EQ(out[1003], 0x3f80);
    EXPECT_EQ(out[1004], 0x3f82);
  });
}

TEST(Convert, Uint8KeepsHalfAStep) {
  for_each_isa([] {
    for (const int n : {1, 3, 16, 31, 100})
      for (const float shift : {0.f, 4.f, -20.f}) {
        auto x = random_values(n, 6, 3.f);
        for (float& v : x) v = rounded_bf16(v + shift);
        std::vector<std::uint16_t> halves(n);
        to_bf16(x.data(), n, halves.data());
        std::vector<std::uint8_t> out(n), out16(n);
        const ByteScale scale = to_uint8(x.data(), n, out.data()),
                        scale16 = to_uint8(halves.data(), n, out16.data());
        const float max = std::max(0.f, *std::max_element(x.begin(), x.end())),
                    min = std::min(0.f, *std::min_element(x.begin(), x.end()));
        EXPECT_FLOAT_EQ(scale.scale, (max - min) / 255.f);
        const float zero = scale.offset / scale.scale;  // 0 is a step
        EXPECT_NEAR(zero, std::round(zero), 1e-4f);
        for (int i = 0; i < n; ++i)
          EXPECT_NEAR(out[i] * scale.scale - scale.offset, x[i], scale.scale * 1.01f)
              << n << " " << shift;
        double error = 0;
        for (int i = 0; i < n; ++i)
          error += std::pow((out[i] * scale.scale - scale.offset - x[i]) / scale.scale, 2) / n;
        if (n >= 31) {
          // 1 / sqrt(12) for errors spread evenly over half a step either way
          EXPECT_LT(std::sqrt(error), 0.4);
        }
        EXPECT_EQ(out16, out);
        EXPECT_EQ(scale16.scale, scale.scale);
        EXPECT_EQ(scale16.offset, scale.offset);
      }
    const std::vector<float> zeros(20, 0.f);
    std::vector<std::uint8_t> out(20, 7);
    const ByteScale scale = to_uint8(zeros.data(), 20, out.data());
    EXPECT_EQ(scale.scale, 1.f);
    EXPECT_EQ(scale.offset, 0.f);
    EXPECT_EQ(out, std::vector<std::uint8_t>(20, 0));
  });
}

TEST(Convert, Int8KeepsHalfAStep) {
  for_each_isa([] {
    for (const int n : {1, 3, 16, 31, 100}) {
      const auto x = random_values(n, 6, 3.f);
      std::vector<std::int8_t> out(n);
      const float scale = to_int8(x.data(), n, out.data());
      float max = 0;
      for (const float v : x) max = std::max(max, std::abs(v));
      EXPECT_FLOAT_EQ(scale, max / 127.f);
      for (int i = 0; i < n; ++i) EXPECT_NEAR(out[i] * scale, x[i], scale * 0.501f);
    }
    const std::vector<float> zeros(20, 0.f);
    std::vector<std::int8_t> out(20, 7);
    EXPECT_EQ(to_int8(zeros.data(), 20, out.data()), 1.f);
    EXPECT_EQ(out, std::vector<std::int8_t>(20, 0));
  });
}

// Sums of a product, in int32 or float, that finish() turns into a layer's output.
struct Sums {
  Sums(int rows, int n)
      : int32(rows * (n + 3)), floats(int32.size()), column(random_values(n, 11, 3.f)) {
    std::mt19937 generator(n);
    for (auto& s : int32) s = static_cast<int>(generator() % 20000) - 10000;
    floats = random_values(floats.size(), 6, 2.f);
  }
  std::vector<std::int32_t> int32;
  std::vector<float> floats, column;
};

void check_finish(int rows, int n, Epilogue epilogue, bool with_bias, bool int32, bool out_bf16) {
  const Sums sums(rows, n);
  const std::size_t lds = n + 3, ldo = n + 5;
  const auto scale = random_values(n, 7, 0.01f), bias = random_values(n, 8),
             before = random_values(rows * ldo, 9), x_scale = random_values(rows, 10, 0.05f),
             x_offset = random_values(rows, 12);
  std::vector<float> out = before;
  std::vector<std::uint16_t> halves(out.size());
  finish({int32 ? static_cast<const void*>(sums.int32.data()) : sums.floats.data(), lds, rows, n,
          int32 ? x_scale.data() : nullptr, x_offset.data(), scale.data(), sums.column.data(),
          with_bias ? bias.data() : nullptr, epilogue,
          out_bf16 ? static_cast<void*>(halves.data()) : out.data(), ldo, out_bf16});
  for (int r = 0; r < rows; ++r)
    for (int i = 0; i < n; ++i) {
      const std::size_t from = r * lds + i, to = r * ldo + i;
      double y = int32 ? static_cast<double>(x_scale[r]) * scale[i] * sums.int32[from] -
                             static_cast<double>(x_offset[r]) * sums.column[i]
                       : sums.floats[from];
      if (with_bias) y += bias[i];
      // GELU is rough where its output is rounded anyway.
      double tolerance = 1e-5 * (1 + std::abs(y)) +
                         (epilogue == Epilogue::kGelu && (int32 || out_bf16) ? 2e-4 : 0);
      if (epilogue == Epilogue::kGelu) y = gelu(y);
      if (epilogue == Epilogue::kAdd) y += before[to];
      float got = out[to];
      if (out_bf16) {
        const std::uint32_t bits = std::uint32_t{halves[to]} << 16;
        std::memcpy(&got, &bits, sizeof(bits));
        tolerance += std::abs(y) / 256;
      }
      ASSERT_NEAR(got, y, tolerance) << rows << "x" << n << " " << r << " " << i
                                     << (int32 ? " int32" : "") << (out_bf16 ? " bf16" : "");
    }
}

TEST(Finish, EqualsDoubleReference) {
  for_each_isa([] {
    for (const int n : {1, 15, 16, 37, 64})
      for (const Epilogue e : {Epilogue::kStore, Epilogue::kGelu, Epilogue::kAdd})
        for (int bits = 0; bits < 8; ++bits)
          if (!(e == Epilogue::kAdd && bits & 4))
            check_finish(3, n, e, bits & 1, bits & 2, bits & 4);
  });
}

TEST(Transpose, MovesUnits) {
  for_each_isa([] {
    for (const int rows : {1, 3, 16, 17, 40})
      for (const int cols : {1, 5, 32}) {
        const std::size_t ldi = cols + 3, ldo = rows + 2;
        std::vector<std::uint32_t> in(rows * ldi), out(cols * ldo, 7u);
        for (std::size_t i = 0; i < in.size(); ++i)
          in[i] = static_cast<std::uint32_t>(i * 2654435761u);
        transpose_units(in.data(), ldi, rows, cols, out.data(), ldo);
        for (int c = 0; c < cols; ++c)
          for (std::size_t r = 0; r < ldo; ++r)
            ASSERT_EQ(out[c * ldo + r], r < static_cast<std::size_t>(rows) ? in[r * ldi + c] : 7u);
        std::vector<std::uint16_t> even(cols), odd(cols);
        for (int c = 0; c < cols; ++c)
          even[c] = static_cast<std::uint16_t>(in[c]),
          odd[c] = static_cast<std::uint16_t>(in[c] >> 16);
        std::vector<std::uint32_t> both(cols), half(cols);
        interleave(even.data(), odd.data(), cols, both.data());
        interleave(even.data(), nullptr, cols, half.data());
        for (int c = 0; c < cols; ++c) {
          ASSERT_EQ(both[c], in[c]);
          ASSERT_EQ(half[c], in[c] & 0xffffu);
        }
      }
  });
}

// In parts, as the loader does.
PackedWeights pack(NumberType type, const void* weight, int n, int k,
                   Packing packing = Packing::kPlain) {
  PackedWeights packed(type, n, k, packing);
  for (int first = 0; first < n; first += 2 * kColumnBlock)
    packed.pack(first, std::min(2 * kColumnBlock, n - first),
                static_cast<const std::byte*>(weight) +
                    static_cast<std::size_t>(first) * k * size_of(type));
  return packed;
}

using Multiply = void (*)(const GemmTile&);

// Weights packed as k12Bit have to have no magnitude that is lost there.
void check_gemm(int m, int n, int k, Epilogue epilogue, bool with_bias, NumberType type,
                Multiply multiply = gemm, Packing packing = Packing::kPlain) {
  const std::size_t ldo = n + 7;
  auto x = random_values(m * k, 1), w = random_values(n * k, 2);
  if (packing == Packing::k12Bit)
    for (float& v : w) v = std::abs(v) < 0x1p-9f ? 0.f : v;
  const auto bias = random_values(n, 3), before = random_values(m * ldo, 4);
  std::vector<std::uint16_t> x16(x.size()), w16(w.size());
  if (type == NumberType::kBf16) {
    to_bf16(x.data(), static_cast<int>(x.size()), x16.data());
    to_bf16(w.data(), static_cast<int>(w.size()), w16.data());
    for (auto* values : {&x, &w})
      for (float& v : *values) v = rounded_bf16(v);
  }
  const bool bf16 = type == NumberType::kBf16;
  const PackedWeights packed =
      pack(type, bf16 ? static_cast<const void*>(w16.data()) : w.data(), n, k, packing);
  EXPECT_EQ(packed.packing(), bf16 && k % 2 == 0 ? packing : Packing::kPlain);
  for (int first = 0; first < n; first += 2 * kColumnBlock) {  // a slice of columns at a time
    const int cols = std::min(2 * kColumnBlock, n - first);
    std::vector<float> out = before;
    WorkerScratch memory(1);
    multiply({.m = m,
              .n = cols,
              .x = bf16 ? static_cast<const void*>(x16.data()) : x.data(),
              .w = &packed,
              .first = first,
              .bias = with_bias ? bias.data() + first : nullptr,
              .out = out.data(),
              .ldo = ldo,
              .epilogue = epilogue,
              .scratch = Scratch(memory, 0)});
    for (int i = 0; i < m; ++i)
      for (std::size_t j = 0; j < ldo; ++j) {
        const std::size_t at = i * ldo + j;
        if (j >= static_cast<std::size_t>(cols)) {
          EXPECT_EQ(out[at], before[at]);
          continue;
        }
        double sum = with_bias ? bias[first + j] : 0, magnitude = 1;
        for (int p = 0; p < k; ++p) {
          const double term = static_cast<double>(x[i * k + p]) * w[(first + j) * k + p];
          sum += term;
          magnitude += std::abs(term);
        }
        if (epilogue == Epilogue::kGelu) sum = gelu(sum);
        if (epilogue == Epilogue::kAdd) sum += before[at];
        // A float sum of k terms is off by at most k x 2^-24 of their magnitudes; GELU's slope
        // stays under 1.13.
        EXPECT_NEAR(out[at], sum, 1.2 * magnitude * (k + 8) * 6e-8 + 1e-6)
            << m << "x" << n << "x" << k;
      }
  }
}

TEST(Gemm, EqualsDoubleReference) {
  for (const NumberType type : {NumberType::kF32, NumberType::kBf16}) {
    for (const int m : {1, 2, 3, 5, 16, 17, 65})
      for (const int n : {1, 2, 20, 48, 64, 65, 200})
        for (const int k : {1, 12, 36, 64, 100})
          for (const Epilogue e : {Epilogue::kStore, Epilogue::kGelu, Epilogue::kAdd})
            check_gemm(m, n, k, e, m % 2 == 0, type);
    check_gemm(37, 130, 768, Epilogue::kGelu, true, type);
    check_gemm(20, 70, 1500, Epilogue::kStore, true, type);  // several blocks of units
    check_gemm(3, 1000, 3072, Epilogue::kAdd, true, type);
  }
}

TEST(Gemm, TwelveBitWeightsEqualDoubleReference) {
  for (const int m : {1, 2, 3, 4, 5, 6, 7, 13, 65})
    for (const int n : {1, 20, 64, 65, 200})
      for (const int k : {1, 2, 12, 64, 100, 770})
        check_gemm(m, n, k, m % 2 ? Epilogue::kStore : Epilogue::kAdd, m % 2 == 0,
                   NumberType::kBf16, gemm, Packing::k12Bit);
  for (const int m : {1, 3, 20})
    check_gemm(m, 130, 3072, Epilogue::kGelu, true, NumberType::kBf16, gemm, Packing::k12Bit);
  // stays plain
  check_gemm(3, 70, 64, Epilogue::kGelu, true, NumberType::kF32, gemm, Packing::k12Bit);
}

float from_bf16(std::uint16_t value) {
  const std::uint32_t bits = static_cast<std::uint32_t>(value) << 16;
  float f;
  std::memcpy(&f, &bits, sizeof(f));
  return f;
}

// Every bfloat16 there is, under largest magnitudes from the least to the greatest.
TEST(Bf16In12Bits, KeepsWhatItPromises) {
  for (const int top : {0x0000, 0x0001, 0x0080, 0x0100, 0x067f, 0x0700, 0x0c00, 0x3f80, 0x3fff,
                        0x4000, 0x42aa, 0x7f7f}) {
    const int units = 512;
    AlignedArray<std::uint32_t> in(units * kColumnBlock), out(units * kColumnBlock);
    auto *values = reinterpret_cast<std::uint16_t*>(in.data()),
         *unpacked = reinterpret_cast<std::uint16_t*>(out.data());
    for (int i = 0; i < 0x10000; ++i)
      values[i] = static_cast<std::uint16_t>((i & 0x7fff) <= top ? i : top);
    AlignedArray<std::byte> block(block_bytes_12bit(units));
    pack_12bit(in.data(), units, block.data());
    const auto to = [&](int unit) {
      return UnpackedUnits{reinterpret_cast<char*>(out.data() + unit * kColumnBlock), 64, 256};
    };
    unpack_12bit(block.data(), 0, 100, to(0));
    unpack_12bit(block.data(), 100, units - 100, to(100));
    const int lowest = (top >> 8) - 6;
    const float smallest = lowest > 0 ? from_bf16(static_cast<std::uint16_t>(lowest << 8)) : 0.f,
                largest = from_bf16(static_cast<std::uint16_t>(top));
    EXPECT_LE(smallest, largest * 0x1p-12f);
    for (int i = 0; i < 0x10000; ++i) {
      const float before = from_bf16(values[i]), after = from_bf16(unpacked[i]);
      if (std::abs(before) >= smallest)
        ASSERT_EQ(before, after) << i << " under " << top;
      else if (std::abs(before) >= smallest / 2)
        ASSERT_EQ(after, std::copysign(smallest, before)) << i << " under " << top;
      else
        ASSERT_EQ(unpacked[i], 0) << i << " under " << top;
    }
  }
}

// It has a body for each instruction set.
TEST(Gemm, EqualsDoubleReferenceOnEveryIsa) {
  for_each_isa([] {
    for (const int m : {1, 4, 7})
      for (const int n : {15, 16, 33, 80})
        for (const int k : {3, 4, 65, 400})
          for (const Epilogue e : {Epilogue::kStore, Epilogue::kGelu, Epilogue::kAdd})
            check_gemm(m, n, k, e, n % 2 == 0, NumberType::kF32);
  });
}

void check_int8_sums(int m, int n, int k, const std::vector<std::uint8_t>& x,
                     const std::vector<std::int8_t>& w, Multiply multiply) {
  const PackedWeights packed = pack(NumberType::kInt8, w.data(), n, k);
  // Scales of 1 and sums below 2^24: exact in floats.
  const std::vector<float> x_scales(m, 1.f), x_offsets(m, 0.f), w_scales(n, 1.f), w_sums(n, 1.f);
  std::vector<float> out(m * n);
  WorkerScratch memory(1);
  multiply({.m = m,
            .n = n,
            .x = x.data(),
            .w = &packed,
            .x_scales = x_scales.data(),
            .x_offsets = x_offsets.data(),
            .w_scales = w_scales.data(),
            .w_sums = w_sums.data(),
            .out = out.data(),
            .ldo = static_cast<std::size_t>(n),
            .scratch = Scratch(memory, 0)});
  for (int i = 0; i < m; ++i)
    for (int j = 0; j < n; ++j) {
      std::int32_t sum = 0;
      for (int p = 0; p < k; ++p) sum += x[i * k + p] * w[j * k + p];
      ASSERT_EQ(out[i * n + j], static_cast<float>(sum)) << m << "x" << n << "x" << k;
    }
}

void check_int8_sums(int m, int n, int k, Multiply multiply) {
  std::mt19937 generator(1);
  std::vector<std::uint8_t> x(m * k);
  std::vector<std::int8_t> w(n * k);
  for (auto& v : x) v = static_cast<std::uint8_t>(generator());
  for (auto& v : w) v = static_cast<std::int8_t>(static_cast<int>(generator() % 255) - 127);
  check_int8_sums(m, n, k, x, w, multiply);
}

TEST(Gemm, Int8SumsAreExact) {
  for (const int m : {1, 3, 13, 33})
    for (const int n : {1, 64, 130})
      for (const int k : {1, 30, 64, 768, 2100}) check_int8_sums(m, n, k, gemm);
}

// Kernels without VNNI add up in 16 bits what is sure to fit: up to weights of 63 by the least x,
// four of which come to -2^15 exactly.
TEST(Gemm, Int8SumsOfExtremesAreExact) {
  for (const int k : {8, 30, 768})
    for (const int weight : {-127, -65, -64, 62, 63, 64, 127})
      for (const int value : {0, 127, 128, 255})
        check_int8_sums(3, 33, k,
                        std::vector<std::uint8_t>(3 * k, static_cast<std::uint8_t>(value)),
                        std::vector<std::int8_t>(33 * k, static_cast<std::int8_t>(weight)), gemm);
}

// Units of 4 weights go in pairs where both are small, and alone where none is left that fits; 600
// units are more than one block of them. Here 1 weight in 20 is as large as the largest.
TEST(Gemm, Int8SumsOfNormalWeightsAreExact) {
  std::mt19937 generator(1);
  std::normal_distribution<float> normal(0, 30);
  for (const int m : {1, 2, 7, 26})
    for (const int n : {5, 130})
      for (const int k : {2, 31, 768, 2400}) {
        std::vector<std::uint8_t> x(m * k);
        std::vector<std::int8_t> w(n * k);
        for (auto& v : x) v = generator() % 2 ? 0 : 255;
        for (auto& v : w)
          v = static_cast<std::int8_t>(
              generator() % 20 ? std::clamp(normal(generator), -127.f, 127.f) : 127);
        check_int8_sums(m, n, k, x, w, gemm);
      }
}

// What four weights add to a sum of 16 bits, whatever x is: x takes a weight 0 to 127 times, or 1
// to 128 times with its bits inverted.
std::pair<int, int> range_of(std::initializer_list<signed char> weights) {
  std::pair<int, int> range{0, 0};
  for (const signed char w : weights) {
    range.first += std::min({0, 127 * w, 128 * ~w});
    range.second += std::max({0, 127 * w, 128 * ~w});
  }
  return range;
}

TEST(UnitPairs, FitSixteenBitsAndLeaveNoUnitOut) {
  constexpr int kColumns = 16, kBytes = 4 * kColumns;
  std::mt19937 generator(1);
  std::normal_distribution<float> normal(0, 36);
  const struct {
    int n, pairs_min, pairs_max;
    std::function<int()> weight;
  } cases[] = {
      {384, 188, 192, [&] { return static_cast<int>(normal(generator)); }},
      {384, 0, 0, [&] { return generator() % 2 ? 127 : -127; }},
      {7, 3, 3, [] { return 63; }},
      {7, 3, 3, [] { return -64; }},
      {6, 0, 0, [] { return 64; }},
      {384, 1, 191, [&] { return static_cast<int>(generator() % 200) - 100; }},
      {1, 0, 0, [] { return 0; }},
  };
  for (const auto& c : cases) {
    std::vector<signed char> weights(static_cast<std::size_t>(c.n) * kBytes);
    for (auto& w : weights) w = static_cast<signed char>(std::clamp(c.weight(), -127, 127));
    std::vector<std::uint32_t> units(weights.size() / 4);
    std::memcpy(units.data(), weights.data(), weights.size());
    std::vector<std::uint16_t> order(static_cast<std::size_t>(c.n));
    const int pairs = pair_units(units.data(), c.n, order.data());
    EXPECT_GE(pairs, c.pairs_min) << c.n;
    EXPECT_LE(pairs, c.pairs_max) << c.n;
    for (int i = 0; i < pairs; ++i) {
      const signed char *a = weights.data() + order[2 * i] * kBytes,
                        *b = weights.data() + order[2 * i + 1] * kBytes;
      for (int at = 0; at < kBytes; at += 2) {
        const auto [least, largest] = range_of({a[at], a[at + 1], b[at], b[at + 1]});
        ASSERT_GE(least, -32768);
        ASSERT_LE(largest, 32767);
      }
    }
    std::sort(order.begin(), order.end());
    for (int u = 0; u < c.n; ++u) ASSERT_EQ(order[u], u);
  }
}

#if defined(__x86_64__)
// The same body that runs on matrix units where there are some.
TEST(GemmByTiles, EmulatedEqualsDoubleReference) {
  if (!has_isa(Isa::kAvx512Bf16))
    GTEST_SKIP() << "weights are not packed for matrix units on this machine";
  for (const int m : {1, 7, 16, 17, 31, 32, 33, 65})
    for (const int n : {1, 64, 130})
      for (const int k : {32, 96, 1568})  // 1, 3 and 49 steps: one block, one, and two
        check_gemm(m, n, k, m % 2 ? Epilogue::kStore : Epilogue::kAdd, n == 64, NumberType::kBf16,
                   gemm_by_tiles<EmulatedTiles, NumberType::kBf16>,
                   n == 1 ? Packing::kPlain : Packing::k12Bit);
  for (const int m : {1, 16, 33})
    for (const int n : {1, 130})
      for (const int k : {64, 576, 3136})
        check_int8_sums(m, n, k, gemm_by_tiles<EmulatedTiles, NumberType::kInt8>);
}
#endif

}  // namespace
}  // namespace blip::kernels
