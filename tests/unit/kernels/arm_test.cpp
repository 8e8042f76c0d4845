// What 64-bit ARM's products are, bit by bit, and which of them run.
#include <gtest/gtest.h>

#include "kernels/isa.h"

#if defined(__aarch64__)
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "core/denormals.h"
#include "kernels/gemm.h"
#include "kernels/panel_kernel.h"

namespace blip::kernels {
namespace {

// The tests are run by processors whose best level the caller knows.
TEST(Arm, LevelIsTheProcessors) {
  // NOLINTNEXTLINE(concurrency-mt-unsafe)
  const char* expected = std::getenv("BLIP_TEST_ISA");
  if (!expected) GTEST_SKIP() << "BLIP_TEST_ISA names no level";
  EXPECT_STREQ(to_string(isa()), expected);
}

TEST(Arm, EveryLevelHasItsOwnProducts) {
  const PanelKernel &bytes = arm_panels(NumberType::kInt8), &bf16 = arm_panels(NumberType::kBf16);
  EXPECT_EQ(bytes.group, has_isa(Isa::kI8mm) ? 2 : 1);
  EXPECT_EQ(bytes.joined, has_isa(Isa::kI8mm));
  EXPECT_EQ(bytes.rows, has_isa(Isa::kDotProd) ? 6 : 2);
  EXPECT_EQ(bf16.joined, has_isa(Isa::kNeonBf16));
  // What attention multiplies by adds up in AVX-512's order, on every level.
  EXPECT_FALSE(arm_panels(NumberType::kBf16, true).joined);
  EXPECT_FALSE(has_isa(Isa::kAvx2));
}

float widened(std::uint16_t x) {
  const std::uint32_t bits = std::uint32_t{x} << 16;
  float f;
  std::memcpy(&f, &bits, sizeof(f));
  return f;
}

// To the float towards zero, whose last bit is set where that is not all: what BFMMLA rounds to.
// Denormal numbers are zero.
float round_to_odd(double x, bool more = false) {
  float f = static_cast<float>(x);
  if (std::abs(static_cast<double>(f)) > std::abs(x)) f = std::nextafter(f, 0.f);
  if (std::abs(f) < 0x1p-126f) return std::copysign(0.f, static_cast<float>(x));
  std::uint32_t bits;
  std::memcpy(&bits, &f, sizeof(bits));
  if (more || static_cast<double>(f) != x) bits |= 1;
  std::memcpy(&f, &bits, sizeof(f));
  return f;
}

// Of numbers of alike magnitudes the sum of two floats is exact in a double.
float add_to_odd(float a, float b) {
  const double sum = static_cast<double>(a) + b;
  const double rest = sum - a;
  EXPECT_EQ(rest, static_cast<double>(b));
  return round_to_odd(sum);
}

float matrix_sum(const std::uint16_t* x, const std::uint16_t* w, int k) {
  float sum = 0;
  for (int i = 0; i < k; i += 2) {
    const bool pair = i + 1 < k;
    const float first = round_to_odd(static_cast<double>(widened(x[i])) * widened(w[i])),
                second =
                    pair ? round_to_odd(static_cast<double>(widened(x[i + 1])) * widened(w[i + 1]))
                         : 0.f;
    sum = add_to_odd(sum, add_to_odd(first, second));
  }
  return sum;
}

// The second of each pair before the first, in one rounding each: as AVX-512's instruction.
float pair_sum(const std::uint16_t* x, const std::uint16_t* w, int k) {
  float sum = 0;
  for (int i = 0; i < k; i += 2) {
    if (i + 1 < k) sum = std::fma(widened(w[i + 1]), widened(x[i + 1]), sum);
    sum = std::fma(widened(w[i]), widened(x[i]), sum);
  }
  return sum;
}

// Magnitudes of 1 to 4, either sign.
std::vector<std::uint16_t> random_bf16(std::size_t n, unsigned seed) {
  std::mt19937 generator(seed);
  std::vector<std::uint16_t> values(n);
  for (auto& v : values)
    v = static_cast<std::uint16_t>(0x3f80 + generator() % 256 + (generator() % 2 ? 0x8000 : 0));
  return values;
}

TEST(Arm, Bf16SumsAreAsDefined) {
  const FlushDenormals flush;
  for (const int k : {1, 2, 3, 4, 5, 7, 8, 64, 770})
    for (const Packing packing : {Packing::kPlain, Packing::k12Bit, Packing::kOrdered}) {
      const bool matrix = has_isa(Isa::kNeonBf16) && packing != Packing::kOrdered;
      const auto expected = matrix ? matrix_sum : pair_sum;
      const int m = 9, n = 85;
      const auto size = [](int a, int b) {
        return static_cast<std::size_t>(a) * static_cast<std::size_t>(b);
      };
      const auto x = random_bf16(size(m, k), 1), w = random_bf16(size(n, k), 2);
      PackedWeights packed(NumberType::kBf16, n, k, packing);
      packed.pack(0, n, w.data());
      for (const int rows : {1, 2, 5, 9}) {
        std::vector<float> out(size(m, n));
        WorkerScratch memory(1);
        gemm({.m = rows,
              .n = n,
              .x = x.data(),
              .w = &packed,
              .out = out.data(),
              .ldo = static_cast<std::size_t>(n),
              .scratch = Scratch(memory, 0)});
        for (int r = 0; r < rows; ++r)
          for (int c = 0; c < n; ++c)
            ASSERT_EQ(out[size(r, n) + static_cast<std::size_t>(c)],
                      expected(x.data() + size(r, k), w.data() + size(c, k), k))
                << "row " << r << " of " << rows << ", column " << c << ", k " << k;
      }
    }
}

}  // namespace
}  // namespace blip::kernels
#endif
