#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "ops/absorbed.h"
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

TEST(RowParts, GiveEveryThreadWork) {
  EXPECT_EQ(row_parts(1, 768, 2, {6, 2}).count, 1);
  EXPECT_EQ(row_parts(577, 768, 2, {6, 2}).count, 4);
  EXPECT_EQ(row_parts(577, 768, 2, {16, 1}).count, 2);
  // 12 blocks of columns for 64 threads: 577 rows in as many shares of 48 as there are
  EXPECT_EQ(row_parts(577, 768, 64, {6, 2}).count, 12);
  EXPECT_EQ(row_parts(577, 3072, 64, {6, 2}).count, 6);
  for (int m = 1; m < 700; m += 37)
    for (int n = 1; n < 3100; n += 411)
      for (int threads = 1; threads <= 16; ++threads) {
        for (const kernels::RowShares shares : {kernels::RowShares{6, 2}, {16, 1}}) {
          const RowParts p = row_parts(m, n, threads, shares);
          const int blocks = (n + kernels::kColumnBlock - 1) / kernels::kColumnBlock;
          EXPECT_EQ(p.unit, shares.unit);
          EXPECT_GE(p.count, 1);
          EXPECT_LE(p.count, (m + shares.unit - 1) / shares.unit);
          EXPECT_GE(p.count * blocks, std::min(threads, std::max(blocks, m / 48 * blocks)));
        }
      }
}

RowSource rows_of(const std::vector<float>& weight, int in) {
  return [&weight, in](int first, int count, float* out) {
    std::copy_n(weight.data() + first * in, count * in, out);
  };
}

// y = gelu?(x W + b) in double.
std::vector<double> reference(const std::vector<float>& x, const std::vector<float>& w,
                              const std::vector<float>& b, int m, int in, int out, bool gelu) {
  std::vector<double> y(m * out);
  for (int i = 0; i < m; ++i)
    for (int j = 0; j < out; ++j) {
      double sum = b[j];
      for (int k = 0; k < in; ++k) sum += static_cast<double>(x[i * in + k]) * w[j * in + k];
      y[i * out + j] = gelu ? 0.5 * sum * (1 + std::erf(sum / std::sqrt(2.0))) : sum;
    }
  return y;
}

// Largest difference over the largest value.
double error(const std::vector<float>& got, const std::vector<double>& expected) {
  double worst = 0, top = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    worst = std::max(worst, std::abs(got[i] - expected[i]));
    top = std::max(top, std::abs(expected[i]));
  }
  return worst / top;
}

struct TypeCase {
  NumberType type;
  // of one product of normally distributed factors, relative to the largest output
  double tolerance;
};
const TypeCase kTypes[] = {
    {NumberType::kF32, 1e-5}, {NumberType::kBf16, 1e-2}, {NumberType::kInt8, 2e-2}};

TEST(Linear, ShowsEveryTileOnceAndWhole) {
  for (const auto& [type, tolerance] : kTypes) {
    for (const int threads : {1, 3})
      for (const int m : {1, 5, 300})
        for (const int out : {60, 129, 1000}) {
          ThreadPool pool(threads);
          const int in = 36, unit = 128;
          const auto w = random_values(in * out, 1), b = random_values(out, 2),
                     x = random_values(m * in, 3);
          const Linear layer(pool, rows_of(w, in), b, in, out, type);
          OperandBuffer buffer;
          std::vector<float> values(m * out), seen(m * out, 0.f);
          linear_then(pool, to_operand(pool, ConstMatrix(x.data(), m, in), type, buffer), layer,
                      Matrix(values.data(), m, out), unit,
                      [&](int row, int rows, int column, int columns) {
                        EXPECT_EQ(column % unit, 0);
                        EXPECT_EQ(columns, std::min(unit, out - column));
                        for (int r = row; r < row + rows; ++r)
                          for (int c = column; c < column + columns; ++c)
                            seen[r * out + c] += values[r * out + c];
                      });
          EXPECT_LT(error(values, reference(x, w, b, m, in, out, false)), tolerance);
          EXPECT_EQ(seen, values) << static_cast<int>(type) << " " << threads << " threads, " << m
                                  << " x " << out;
        }
  }
}

TEST(Linear, EveryTypeAndThreadCount) {
  for (const auto& [type, tolerance] : kTypes) {
    for (const int threads : {1, 2, 3, 7})
      for (const int m : {1, 3, 9, 100, 300})
        for (const int out : {2, 65, 200, 600}) {
          ThreadPool pool(threads);
          const int in = 33;
          const auto w = random_values(in * out, 1), b = random_values(out, 2),
                     x = random_values(m * in, 3), before = random_values(m * (out + 5), 4);
          const Linear layer(pool, rows_of(w, in), b, in, out, type);
          OperandBuffer buffer;
          const Operand operand = to_operand(pool, ConstMatrix(x.data(), m, in), type, buffer);
          const auto expected = reference(x, w, b, m, in, out, false);

          std::vector<float> tight(m * out);
          linear(pool, operand, layer, Matrix(tight.data(), m, out));
          EXPECT_LT(error(tight, expected), tolerance)
              << static_cast<int>(type) << " " << threads << " threads, " << m << " x " << out;

          std::vector<float> strided = before, added(m * out);
          linear(pool, operand, layer, Matrix(strided.data(), m, out, out + 5), Epilogue::kAdd);
          for (int i = 0; i < m; ++i) {
            for (int j = 0; j < out; ++j)
              added[i * out + j] = strided[i * (out + 5) + j] - before[i * (out + 5) + j];
            for (int j = out; j < out + 5; ++j)
              EXPECT_EQ(strided[i * (out + 5) + j], before[i * (out + 5) + j]);
          }
          EXPECT_LT(error(added, expected), tolerance + 1e-5);
        }
  }
}

// Two layers with gelu between, the way the towers chain them.
TEST(Linear, GeluFeedsTheNextLayer) {
  ThreadPool pool(2);
  for (const auto& [type, tolerance] : kTypes) {
    for (const int m : {1, 5, 130}) {
      const int in = 40, hidden = 200, out = 24;
      const auto w1 = random_values(in * hidden, 1), b1 = random_values(hidden, 2),
                 w2 = random_values(hidden * out, 3), b2 = random_values(out, 4);
      const auto x = random_values(m * in, 5);
      const Linear first(pool, rows_of(w1, in), b1, in, hidden, type),
          second(pool, rows_of(w2, hidden), b2, hidden, out, type);
      OperandBuffer a, b;
      std::vector<float> y(m * out);
      const Operand wide =
          linear_gelu(pool, to_operand(pool, ConstMatrix(x.data(), m, in), type, a), first, b);
      EXPECT_EQ(wide.rows, m);
      EXPECT_EQ(wide.cols, hidden);
      linear(pool, wide, second, Matrix(y.data(), m, out));
      const auto between = reference(x, w1, b1, m, in, hidden, true);
      const auto expected =
          reference({between.begin(), between.end()}, w2, b2, m, hidden, out, false);
      EXPECT_LT(error(y, expected), 2 * tolerance) << static_cast<int>(type) << " " << m;
    }
  }
}

TEST(LayerNorm, OperandEqualsTheRoundedRows) {
  ThreadPool pool(2);
  const int rows = 70, width = 48;
  LayerNorm norm{AlignedArray<float>(width, 1.5f), AlignedArray<float>(width, -0.25f), 1e-6f};
  const auto x = random_values(rows * width, 1);
  std::vector<float> expected(x.size());
  layer_norm(pool, ConstMatrix(x.data(), rows, width), norm, Matrix(expected.data(), rows, width));
  for (const NumberType type : {NumberType::kF32, NumberType::kBf16, NumberType::kInt8}) {
    OperandBuffer a, b, c;
    auto kept = x;
    const Operand fresh = layer_norm(pool, ConstMatrix(x.data(), rows, width), norm, type, a);
    const Operand both = layer_norm_keep(pool, Matrix(kept.data(), rows, width), norm, type, b);
    const Operand converted = to_operand(pool, ConstMatrix(expected.data(), rows, width), type, c);
    EXPECT_EQ(kept, expected);
    for (int r = 0; r < rows; ++r) {
      EXPECT_EQ(std::memcmp(fresh.row(r), converted.row(r), width * kernels::size_of(type)), 0);
      EXPECT_EQ(std::memcmp(both.row(r), converted.row(r), width * kernels::size_of(type)), 0);
      if (type == NumberType::kInt8) {
        EXPECT_EQ(fresh.scales[r], converted.scales[r]);
        EXPECT_EQ(fresh.offsets[r], converted.offsets[r]);
      }
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
void check_grow_and_copy(NumberType type, int head_dim, int n = 21) {
  ThreadPool pool(2);
  const int heads = 3, width = heads * head_dim;
  const auto k = random_values(n * width, 1), v = random_values(n * width, 2),
             q = random_values(4 * width, 3);
  OperandBuffer memory[3];
  const Operand keys = to_operand(pool, ConstMatrix(k.data(), n, width), type, memory[0]),
                values = to_operand(pool, ConstMatrix(v.data(), n, width), type, memory[1]);
  const Operand queries = to_operand(pool, ConstMatrix(q.data(), 4, width), type, memory[2]);
  KeyValues whole(heads, head_dim, n, type), grown(heads, head_dim, n + 30, type),
      by_heads(heads, head_dim, n, type), copy(heads, head_dim, n + 43, type);
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

TEST(KeyValues, GrowsAndCopies) {
  constexpr int kLong = 1500;  // full and over 1 MB: few queries read it through first
  for (const NumberType type : {NumberType::kF32, NumberType::kBf16}) {
    for (const int head_dim : {7, 10, 64}) check_grow_and_copy(type, head_dim);
    check_grow_and_copy(type, 64, kLong);
  }
}

// Two texts, of 60 rows (more than a block of queries) and of 3, then one row of each at a time: as
// if all were appended first.
void check_appending(NumberType type, int threads) {
  ThreadPool pool(threads);
  const int heads = 5, width = heads * 64, steps = 4;
  // only fetched
  const Linear next(
      pool, [](int, int count, float* out) { std::fill_n(out, count * 64, 0.5f); }, {}, 64, 200);
  const Linear* const following[] = {&next, &next};
  struct Text {
    int count;
    std::vector<float> values[3], expected, got;
    OperandBuffer memory[3];
    Operand q, k, v;
    KeyValues grown;
  } texts[2];
  for (int t = 0; t < 2; ++t) {
    Text& text = texts[t];
    text.count = t ? 3 : 60;
    const int n = text.count + steps;
    Operand* operands[] = {&text.q, &text.k, &text.v};
    for (int i = 0; i < 3; ++i) {
      text.values[i] =
          random_values(static_cast<std::size_t>(n * width), static_cast<unsigned>(3 * t + i));
      *operands[i] =
          to_operand(pool, ConstMatrix(text.values[i].data(), n, width), type, text.memory[i]);
    }
    text.expected.resize(static_cast<std::size_t>(n * width));
    text.got.resize(text.expected.size());
    for (int row = 0; row < n; ++row) {
      KeyValues seen(heads, 64, n, type);
      seen.append(text.k.row_range(0, row + 1), text.v.row_range(0, row + 1));
      const AttentionItem item{text.q.row_range(row, 1), &seen,
                               Matrix(text.expected.data() + row * width, 1, width)};
      attention(pool, {&item, 1});
    }
    text.grown = KeyValues(heads, 64, n, type);
  }
  for (int step = 0; step <= steps; ++step) {
    std::vector<AttentionItem> items;
    for (Text& text : texts) {
      const int first = step ? text.count + step - 1 : 0, rows = step ? 1 : text.count;
      items.push_back({.q = text.q.row_range(first, rows),
                       .kv = &text.grown,
                       .out = Matrix(text.got.data() + first * width, rows, width),
                       .causal_offset = first,
                       .growing = &text.grown,
                       .k = text.k.row_range(first, rows),
                       .v = text.v.row_range(first, rows)});
    }
    attention(pool, items, following);
  }
  for (const Text& text : texts) {
    EXPECT_EQ(text.grown.count(), text.count + steps);
    for (std::size_t i = 0; i < text.got.size(); ++i)
      ASSERT_NEAR(text.got[i], text.expected[i], type == NumberType::kF32 ? 1e-5 : 2e-2)
          << "row " << i / static_cast<std::size_t>(width) << " of " << text.count;
  }
}

TEST(Attention, AppendsItsOwnRowsFirst) {
  for (const int threads : {1, 2, 7}) {
    check_appending(NumberType::kF32, threads);
    check_appending(NumberType::kBf16, threads);
  }
}

// 100 queries are cut into blocks; causal masks must follow the blocks.
TEST(Attention, CausalAcrossBlocks) {
  ThreadPool pool(2);
  const int n = 100, width = 8;
  const auto k = random_values(n * width, 1), v = random_values(n * width, 2),
             q = random_values(n * width, 3);
  KeyValues kv(2, 4, n);
  kv.append(ConstMatrix(k.data(), n, width), ConstMatrix(v.data(), n, width));
  std::vector<float> out(n * width);
  const AttentionItem item{ConstMatrix(q.data(), n, width), &kv, Matrix(out.data(), n, width), 0};
  attention(pool, std::span(&item, 1));
  // the first query sees the first key alone
  for (int i = 0; i < width; ++i) EXPECT_NEAR(out[i], v[i], 1e-6);
  for (int row : {1, 47, 48, 49, 96, 99})
    for (int h = 0; h < 2; ++h) {
      std::vector<double> p(row + 1);
      double sum = 0;
      for (int j = 0; j <= row; ++j) {
        for (int d = 0; d < 4; ++d)
          p[j] += q[row * width + h * 4 + d] * k[j * width + h * 4 + d] / 2.0;
        sum += p[j] = std::exp(p[j]);
      }
      for (int d = 0; d < 4; ++d) {
        double expected = 0;
        for (int j = 0; j <= row; ++j) expected += p[j] / sum * v[j * width + h * 4 + d];
        EXPECT_NEAR(out[row * width + h * 4 + d], expected, 1e-5) << row;
      }
    }
}

void check_weights(NumberType type, int head_dim, double tolerance) {
  ThreadPool pool(2);
  const int heads = 3, keys = 21, queries = 5, width = heads * head_dim;
  const auto k = random_values(keys * width, 4), v = random_values(keys * width, 5),
             q = random_values(queries * width, 6);
  KeyValues kv(heads, head_dim, keys + 2, type);
  OperandBuffer memory[3];
  kv.append(to_operand(pool, ConstMatrix(k.data(), keys, width), type, memory[0]),
            to_operand(pool, ConstMatrix(v.data(), keys, width), type, memory[1]));
  std::vector<float> out(queries * keys, 1.f);  // added to
  add_attention_weights(pool,
                        to_operand(pool, ConstMatrix(q.data(), queries, width), type, memory[2]),
                        kv, Matrix(out.data(), queries, keys));
  for (int i = 0; i < queries; ++i) {
    std::vector<double> expected(keys, 1.0);
    for (int h = 0; h < heads; ++h) {
      std::vector<double> p(keys);
      double sum = 0;
      for (int j = 0; j < keys; ++j) {
        for (int d = 0; d < head_dim; ++d)
          p[j] += double{q[i * width + h * head_dim + d]} * k[j * width + h * head_dim + d];
        sum += p[j] = std::exp(p[j] / std::sqrt(head_dim));
      }
      for (int j = 0; j < keys; ++j) expected[j] += p[j] / sum / heads;
    }
    for (int j = 0; j < keys; ++j)
      EXPECT_NEAR(out[i * keys + j], expected[j], tolerance)
          << "query " << i << " key " << j << " head_dim " << head_dim;
  }
}

// softmax((W_k x)^T q / sqrt(d)) (W_v x + b), head by head, in double.
std::vector<double> cross_reference(const std::vector<float>& q, const std::vector<float>& x,
                                    const std::vector<float>& key, const std::vector<float>& value,
                                    const std::vector<float>& bias, int n, int tokens, int heads,
                                    int d, int width) {
  const auto k = reference(x, key, std::vector<float>(static_cast<std::size_t>(heads * d)), tokens,
                           width, heads * d, false);
  const auto v = reference(x, value, bias, tokens, width, heads * d, false);
  std::vector<double> out(static_cast<std::size_t>(n * heads * d));
  for (int i = 0; i < n; ++i)
    for (int h = 0; h < heads; ++h) {
      std::vector<double> weights(static_cast<std::size_t>(tokens));
      double sum = 0;
      for (int t = 0; t < tokens; ++t) {
        double score = 0;
        for (int c = 0; c < d; ++c)
          score += q[(i * heads + h) * d + c] * k[(t * heads + h) * d + c];
        sum += weights[t] = std::exp(score / std::sqrt(d));
      }
      for (int t = 0; t < tokens; ++t)
        for (int c = 0; c < d; ++c)
          out[(i * heads + h) * d + c] += weights[t] / sum * v[(t * heads + h) * d + c];
    }
  return out;
}

struct AbsorbedCase {
  int heads, d, width, tokens;
};

// Two pictures with different numbers of tokens, the second's fewer than a thread's least share;
// odd widths, many and few threads.
TEST(AbsorbedAttention, IsCrossAttention) {
  for (const auto& [type, tolerance] : kTypes) {
    const NumberType cache = type != NumberType::kF32 ? NumberType::kBf16 : NumberType::kF32;
    for (const AbsorbedCase& c :
         {AbsorbedCase{3, 64, 192, 577}, {3, 16, 40, 101}, {2, 5, 27, 33}, {1, 70, 130, 300}})
      for (const int n : {1, 4, 5})
        for (const int threads : {1, 2, 7}) {
          ThreadPool pool(threads);
          const int dims = c.heads * c.d, second = 17;
          OperandBuffer buffer;
          const float scale = 1.f / std::sqrt(static_cast<float>(c.width));
          auto key = random_values(static_cast<std::size_t>(dims * c.width), 1),
               value = random_values(static_cast<std::size_t>(dims * c.width), 2);
          for (auto* weight : {&key, &value})
            for (float& w : *weight) w *= scale;
          const auto bias = random_values(static_cast<std::size_t>(dims), 3),
                     q = random_values(static_cast<std::size_t>(2 * n * dims), 4);
          const auto x = random_values(static_cast<std::size_t>(c.tokens * c.width), 5),
                     y = random_values(static_cast<std::size_t>(second * c.width), 6);
          const AbsorbedWeights weights(pool, key, value, bias, c.heads, c.d, c.width, type);
          const KeyValues a = own_keys_values(pool, ConstMatrix(x.data(), c.tokens, c.width), cache,
                                              buffer),
                          b = own_keys_values(pool, ConstMatrix(y.data(), second, c.width), cache,
                                              buffer);
          const std::vector<AbsorbedItem> items{{0, n, &a}, {n, n, &b}};
          std::vector<float> out(q.size(), NAN);
          const Linear* const following[] = {&weights.keys(), &weights.values()};  // only fetched
          AbsorbedScratch scratch;
          for (int again = 0; again < 2; ++again)
            absorbed_attention(pool, weights, ConstMatrix(q.data(), 2 * n, dims), items,
                               Matrix(out.data(), 2 * n, dims), scratch, following);
          const std::vector<float> first_q(q.begin(), q.begin() + n * dims),
              second_q(q.begin() + n * dims, q.end());
          auto expected =
              cross_reference(first_q, x, key, value, bias, n, c.tokens, c.heads, c.d, c.width);
          const auto rest =
              cross_reference(second_q, y, key, value, bias, n, second, c.heads, c.d, c.width);
          expected.insert(expected.end(), rest.begin(), rest.end());
          EXPECT_LT(error(out, expected), 2 * tolerance)
              << kernels::size_of(type) << " bytes, " << c.heads << " x " << c.d << ", " << c.width
              << ", n " << n << ", " << threads;
        }
  }
}

TEST(Attention, WeightsAreTheMeanSoftmaxOfTheHeads) {
  for (const int head_dim : {7, 64}) {
    check_weights(NumberType::kF32, head_dim, 1e-6);
    check_weights(NumberType::kBf16, head_dim, 2e-2);
  }
}

}  // namespace
}  // namespace blip::ops
