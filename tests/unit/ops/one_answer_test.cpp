// Layers and attention give a row the same bits whatever the threads, the rows beside it and the
// pictures beside its own.
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "ops/absorbed.h"
#include "ops/attention.h"
#include "ops/linear.h"

namespace blip::ops {
namespace {

std::vector<float> random_values(std::size_t n, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(n);
  for (float& v : values) v = normal(generator);
  return values;
}

RowSource rows_of(const std::vector<float>& weight, int in) {
  return [&weight, in](int first, int count, float* out) {
    std::copy_n(weight.data() + first * in, count * in, out);
  };
}

// fc2(gelu(fc1(x))) of rows `first` to first + count.
std::vector<float> mlp(ThreadPool& pool, const std::vector<float>& x, int first, int count,
                       int width, const Linear& fc1, const Linear& fc2) {
  OperandBuffer in, wide;
  std::vector<float> out(static_cast<std::size_t>(count * width));
  const ConstMatrix rows(x.data() + first * width, count, width);
  linear(pool, linear_gelu(pool, to_operand(pool, rows, fc1.type(), in), fc1, wide), fc2,
         Matrix(out.data(), count, width));
  return out;
}

TEST(OneAnswer, FeedForwardRowsAreTheSameInAnyCompany) {
  constexpr int kWidth = 64, kWide = 256, kRows = 300;
  const auto x = random_values(kRows * kWidth, 1), w1 = random_values(kWidth * kWide, 2),
             w2 = random_values(kWide * kWidth, 3), bias = random_values(kWide, 4);
  for (const NumberType type : {NumberType::kF32, NumberType::kBf16, NumberType::kInt8}) {
    ThreadPool one(1);
    const Linear fc1(one, rows_of(w1, kWidth), bias, kWidth, kWide, type, Packing::k12Bit),
        fc2(one, rows_of(w2, kWide), {}, kWide, kWidth, type);
    const auto all = mlp(one, x, 0, kRows, kWidth, fc1, fc2);
    for (const int threads : {1, 2, 3, 5}) {
      ThreadPool pool(threads);
      for (const int rows : {1, 2, 3, 4, 9, 40, 48, 100, 200, kRows})
        for (const int first : {0, kRows - rows}) {
          const auto part = mlp(pool, x, first, rows, kWidth, fc1, fc2);
          EXPECT_EQ(
              std::memcmp(part.data(), all.data() + first * kWidth, part.size() * sizeof(float)), 0)
              << "type " << static_cast<int>(type) << ", " << threads << " threads, " << rows
              << " rows from " << first;
        }
    }
  }
}

// Rows of some pictures look at their tokens.
TEST(OneAnswer, AbsorbedAttentionIsTheSameInAnyCompany) {
  constexpr int kHeads = 3, kDim = 32, kWidth = 96, kTokens = 300, kPictures = 4, kRowsEach = 2;
  const auto key = random_values(kHeads * kDim * kWidth, 1),
             value = random_values(kHeads * kDim * kWidth, 2),
             bias = random_values(kHeads * kDim, 3);
  const auto q = random_values(kPictures * kRowsEach * kHeads * kDim, 4);
  for (const NumberType type : {NumberType::kF32, NumberType::kBf16, NumberType::kInt8}) {
    const NumberType seen = type == NumberType::kF32 ? NumberType::kF32 : NumberType::kBf16;
    ThreadPool one(1);
    const AbsorbedWeights weights(one, key, value, bias, kHeads, kDim, kWidth, type);
    std::vector<KeyValues> pictures;
    OperandBuffer buffer;
    for (unsigned p = 0; p < kPictures; ++p) {
      const auto tokens = random_values(kTokens * kWidth, 10 + p);
      pictures.push_back(
          own_keys_values(one, ConstMatrix(tokens.data(), kTokens, kWidth), seen, buffer));
    }
    const auto run = [&](ThreadPool& pool, int first, int count) {
      std::vector<AbsorbedItem> items;
      for (int p = 0; p < count; ++p)
        items.push_back({p * kRowsEach, kRowsEach, &pictures[static_cast<std::size_t>(first + p)]});
      const int rows = count * kRowsEach, cols = kHeads * kDim;
      std::vector<float> out(static_cast<std::size_t>(rows * cols));
      AbsorbedScratch scratch;
      absorbed_attention(pool, weights,
                         ConstMatrix(q.data() + first * kRowsEach * cols, rows, cols), items,
                         Matrix(out.data(), rows, cols), scratch);
      return out;
    };
    const auto all = run(one, 0, kPictures);
    for (const int threads : {1, 2, 3, 8})
      for (int count = 1; count <= kPictures; ++count)
        for (int first = 0; first + count <= kPictures; ++first) {
          ThreadPool pool(threads);
          const auto part = run(pool, first, count);
          EXPECT_EQ(std::memcmp(part.data(), all.data() + first * kRowsEach * kHeads * kDim,
                                part.size() * sizeof(float)),
                    0)
              << "type " << static_cast<int>(type) << ", " << threads << " threads, pictures "
              << first << " + " << count;
        }
  }
}

}  // namespace
}  // namespace blip::ops
