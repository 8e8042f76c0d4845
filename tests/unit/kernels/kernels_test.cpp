// Every kernel, on every instruction set this machine has, against a double-precision reference.
#include <gtest/gtest.h>

#include <cmath>
#include <hwy/targets.h>
#include <random>
#include <vector>

#include "core/aligned.h"
#include "kernels/gemm.h"
#include "kernels/vector.h"

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
      const auto x = random_values(n, 1, 3.f), gain = random_values(n, 2), bias = random_values(n, 3);
      std::vector<float> out(n);
      layer_norm(x.data(), gain.data(), bias.data(), 1e-6f, n, out.data());
      double mean = 0, variance = 0;
      for (const float v : x) mean += v / n;
      for (const float v : x) variance += (v - mean) * (v - mean) / n;
      for (int i = 0; i < n; ++i)
        EXPECT_NEAR(out[i], (x[i] - mean) / std::sqrt(variance + 1e-6) * gain[i] + bias[i], 2e-5) << n << " " << i;
      std::vector<float> in_place = x;
      layer_norm(in_place.data(), gain.data(), bias.data(), 1e-6f, n, in_place.data());
      EXPECT_EQ(in_place, out);
    }
  });
}

struct AttentionCase {
  int queries, count, head_dim, first_visible;
};

void check_attention(const AttentionCase& c) {
  const std::size_t ldq = c.head_dim * 3 + 5, ldo = c.head_dim * 2 + 3;
  const std::size_t key_stride = round_up(c.count + 20, kLanes), value_stride = round_up(c.head_dim, kLanes);
  const auto q = random_values(c.queries * ldq, 1), k = random_values(c.count * c.head_dim, 2, 2.f), v = random_values(c.count * c.head_dim, 3);
  AlignedArray<float> keys(c.head_dim * key_stride, 1e30f), values(c.count * value_stride, 0.f);
  for (int j = 0; j < c.count; ++j)
    for (int d = 0; d < c.head_dim; ++d) {
      keys[d * key_stride + j] = k[j * c.head_dim + d];
      values[j * value_stride + d] = v[j * c.head_dim + d];
    }
  std::vector<float> out(c.queries * ldo, -7.f);
  AlignedArray<float> scratch(attention_scratch(c.queries, c.count, c.head_dim));
  const float scale = 1.f / std::sqrt(static_cast<float>(c.head_dim));
  attention({q.data(), ldq, c.queries, keys.data(), key_stride, values.data(), value_stride, c.count, c.head_dim, c.first_visible, scale,
             out.data(), ldo, scratch.data()});
  for (int i = 0; i < c.queries; ++i) {
    const int visible = c.first_visible == kAllVisible ? c.count : std::min(c.count, c.first_visible + i + 1);
    std::vector<double> p(visible);
    double top = -1e300, sum = 0;
    for (int j = 0; j < visible; ++j) {
      for (int d = 0; d < c.head_dim; ++d) p[j] += static_cast<double>(q[i * ldq + d]) * k[j * c.head_dim + d];
      top = std::max(top, p[j] *= scale);
    }
    for (auto& x : p) sum += x = std::exp(x - top);
    for (int d = 0; d < c.head_dim; ++d) {
      double expected = 0;
      for (int j = 0; j < visible; ++j) expected += p[j] / sum * v[j * c.head_dim + d];
      EXPECT_NEAR(out[i * ldo + d], expected, 2e-5) << "query " << i << " dim " << d << " of " << c.queries << "x" << c.count << "x" << c.head_dim;
    }
    for (std::size_t d = c.head_dim; d < ldo; ++d) EXPECT_EQ(out[i * ldo + d], -7.f);  // nothing written past the head
  }
}

TEST(Attention, EqualsDoubleReference) {
  for_each_isa([] {
    for (const int queries : {1, 2, 3, 4, 5, 6, 7, 11, 12, 48})
      for (const int count : {1, 2, 15, 16, 17, 33, 65})
        for (const int head_dim : {1, 8, 12, 16, 24, 64, 80}) check_attention({queries, count, head_dim, kAllVisible});
    check_attention({48, 577, 64, kAllVisible});
    check_attention({3, 901, 64, kAllVisible});
  });
}

TEST(Attention, CausalSeesNoFurther) {
  for_each_isa([] {
    for (const int before : {0, 1, 5, 16})
      for (const int queries : {1, 4, 17}) check_attention({queries, before + queries, 24, before});
  });
}

void check_gemm(int m, int n, int k, Epilogue epilogue, bool with_bias) {
  const std::size_t ldx = k + 3, ldw = n + 5, ldo = n + 7;
  const auto x = random_values(m * ldx, 1), w = random_values(k * ldw, 2), bias = random_values(n, 3), before = random_values(m * ldo, 4);
  std::vector<float> out = before;
  gemm({m, n, k, x.data(), ldx, w.data(), ldw, with_bias ? bias.data() : nullptr, out.data(), ldo, epilogue});
  for (int i = 0; i < m; ++i)
    for (std::size_t j = 0; j < ldo; ++j) {
      const std::size_t at = i * ldo + j;
      if (j >= static_cast<std::size_t>(n)) {
        EXPECT_EQ(out[at], before[at]);
        continue;
      }
      double sum = with_bias ? bias[j] : 0, magnitude = 1;
      for (int p = 0; p < k; ++p) {
        const double term = static_cast<double>(x[i * ldx + p]) * w[p * ldw + j];
        sum += term;
        magnitude += std::abs(term);
      }
      if (epilogue == Epilogue::kGelu) sum = gelu(sum);
      if (epilogue == Epilogue::kAdd) sum += before[at];
      // A float sum of k terms is off by at most k x 2^-24 of their magnitudes; GELU's slope stays under 1.13.
      EXPECT_NEAR(out[at], sum, 1.2 * magnitude * (k + 8) * 6e-8 + 1e-6) << m << "x" << n << "x" << k;
    }
}

TEST(Gemm, EqualsDoubleReference) {
  for (const int m : {1, 2, 3, 5, 16, 17, 65})
    for (const int n : {1, 2, 20, 48, 64, 65})
      for (const int k : {1, 12, 36, 64, 100})
        for (const Epilogue e : {Epilogue::kStore, Epilogue::kGelu, Epilogue::kAdd}) check_gemm(m, n, k, e, m % 2 == 0);
  check_gemm(37, 130, 768, Epilogue::kGelu, true);
  check_gemm(3, 1000, 3072, Epilogue::kAdd, true);
}

}  // namespace
}  // namespace blip::kernels
