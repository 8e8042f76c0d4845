#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "ops/attention.h"
#include "ops/layer_norm.h"
#include "ops/linear.h"

namespace blip::ops {
namespace {

std::vector<float> random_values(std::size_t n, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(n);
  for (auto& v : values) v = normal(generator);
  return values;
}

TEST(TileGrid, UsesEveryThreadWhereItCan) {
  EXPECT_EQ(tile_grid(577, 768, 2).rows * tile_grid(577, 768, 2).cols, 2);
  EXPECT_EQ(tile_grid(1, 768, 4).rows, 1);
  EXPECT_EQ(tile_grid(1, 768, 4).cols, 4);
  EXPECT_EQ(tile_grid(1, 20, 8).cols, 1);  // 20 columns are one unit
  for (int m = 1; m < 700; m += 37)
    for (int n = 1; n < 3100; n += 411)
      for (int threads = 1; threads <= 16; ++threads) {
        const Grid g = tile_grid(m, n, threads);
        EXPECT_GE(g.rows, 1);
        EXPECT_GE(g.cols, 1);
        EXPECT_LE(g.rows * g.cols, threads);
      }
}

TEST(Linear, EqualsReferenceForAnyThreads) {
  for (const int threads : {1, 2, 3, 7})
    for (const int m : {1, 3, 9, 100})
      for (const int out : {2, 65, 200}) {
        ThreadPool pool(threads);
        const int in = 33;
        const auto w = random_values(in * out, 1), b = random_values(out, 2), x = random_values(m * in, 3);
        const Linear layer(w, b, in, out);
        std::vector<float> y(m * out);
        linear(pool, ConstMatrix(x.data(), m, in), layer, Matrix(y.data(), m, out));
        for (int i = 0; i < m; ++i)
          for (int j = 0; j < out; ++j) {
            double sum = b[j];
            for (int k = 0; k < in; ++k) sum += static_cast<double>(x[i * in + k]) * w[j * in + k];
            ASSERT_NEAR(y[i * out + j], sum, 1e-4) << threads << " threads, " << m << " x " << out;
          }
      }
}

TEST(LayerNorm, RowsAreIndependent) {
  ThreadPool pool(3);
  const int rows = 100, width = 24;
  LayerNorm norm{AlignedArray<float>(width, 1.f), AlignedArray<float>(width, 0.5f), 1e-12f};
  const auto x = random_values(rows * width, 1);
  std::vector<float> y(x.size());
  layer_norm(pool, ConstMatrix(x.data(), rows, width), norm, Matrix(y.data(), rows, width));
  for (int r = 0; r < rows; ++r) {
    double mean = 0, square = 0;
    for (int i = 0; i < width; ++i) mean += y[r * width + i] / width;
    for (int i = 0; i < width; ++i) square += std::pow(y[r * width + i] - mean, 2) / width;
    EXPECT_NEAR(mean, 0.5, 1e-5);
    EXPECT_NEAR(square, 1.0, 1e-4);
  }
}

// Appending token by token, in one go, by heads, or by copying a cache gives the same attention.
TEST(KeyValues, GrowsAndCopies) {
  ThreadPool pool(2);
  const int heads = 3, head_dim = 10, n = 21, width = heads * head_dim;
  const auto k = random_values(n * width, 1), v = random_values(n * width, 2), q = random_values(4 * width, 3);
  const ConstMatrix keys(k.data(), n, width), values(v.data(), n, width), queries(q.data(), 4, width);
  KeyValues whole(heads, head_dim, n), grown(heads, head_dim, n + 30), by_heads(heads, head_dim, n), copy(heads, head_dim, 64);
  whole.append(keys, values);
  for (int i = 0; i < n; ++i) grown.append(keys.row_range(i, 1), values.row_range(i, 1));
  append(pool, by_heads, keys, values);
  copy.append(values, keys);  // stale content
  copy.copy_from(grown);
  std::vector<float> expected(4 * width), got(4 * width);
  const auto run = [&](const KeyValues& kv, std::vector<float>& out) {
    EXPECT_EQ(kv.count(), n);
    const AttentionItem item{queries, &kv, Matrix(out.data(), 4, width)};
    attention(pool, std::span(&item, 1));
  };
  run(whole, expected);
  for (const KeyValues* kv : {&grown, &by_heads, &copy}) {
    run(*kv, got);
    EXPECT_EQ(got, expected);
  }
  double difference = 0;
  for (int i = 0; i < width; ++i) difference += std::abs(expected[i] - expected[width + i]);
  EXPECT_GT(difference, 0.1);  // different queries get different answers
}

// 100 queries are cut into blocks; causal masks must follow the blocks.
TEST(Attention, CausalAcrossBlocks) {
  ThreadPool pool(2);
  const int n = 100, width = 8;
  const auto k = random_values(n * width, 1), v = random_values(n * width, 2), q = random_values(n * width, 3);
  KeyValues kv(2, 4, n);
  kv.append(ConstMatrix(k.data(), n, width), ConstMatrix(v.data(), n, width));
  std::vector<float> out(n * width);
  const AttentionItem item{ConstMatrix(q.data(), n, width), &kv, Matrix(out.data(), n, width), 0};
  attention(pool, std::span(&item, 1));
  for (int i = 0; i < width; ++i) EXPECT_NEAR(out[i], v[i], 1e-6);  // the first query sees the first key alone
  for (int row : {1, 47, 48, 49, 96, 99})
    for (int h = 0; h < 2; ++h) {
      std::vector<double> p(row + 1);
      double sum = 0;
      for (int j = 0; j <= row; ++j) {
        for (int d = 0; d < 4; ++d) p[j] += q[row * width + h * 4 + d] * k[j * width + h * 4 + d] / 2.0;
        sum += p[j] = std::exp(p[j]);
      }
      for (int d = 0; d < 4; ++d) {
        double expected = 0;
        for (int j = 0; j <= row; ++j) expected += p[j] / sum * v[j * width + h * 4 + d];
        EXPECT_NEAR(out[row * width + h * 4 + d], expected, 1e-5) << row;
      }
    }
}

}  // namespace
}  // namespace blip::ops
