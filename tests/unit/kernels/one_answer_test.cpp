// A row's result is the same bits alone and in company, whichever kernel serves so many rows.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <random>
#include <utility>
#include <vector>

#include "core/aligned.h"
#include "core/denormals.h"
#include "emulated_tiles.h"
#include "io/half.h"
#include "kernels/attention_panels.h"
#include "kernels/gemm.h"
#include "kernels/gemm_avx512.h"
#include "kernels/isa.h"
#include "kernels/vector.h"

#if defined(__x86_64__)
#include "kernels/attention_bf16-inl.h"
#include "kernels/gemm_amx-inl.h"
#endif

namespace blip::kernels {
namespace {

std::vector<float> random_values(std::size_t n, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(n);
  for (float& v : values)
    v = normal(generator) * std::exp(static_cast<float>(generator() % 9) - 4.f);
  return values;
}

std::vector<std::uint16_t> halves(const std::vector<float>& values) {
  std::vector<std::uint16_t> out(values.size());
  to_bf16(values.data(), static_cast<int>(values.size()), out.data());
  return out;
}

// A layer and rows for it.
struct Product {
  Product(NumberType number, int rows, int columns, int depth, Packing packing)
      : type(number),
        m(rows),
        n(columns),
        k(depth),
        weights(type, n, k, packing),
        bias(random_values(n, 1)),
        scales(random_values(n, 2)),
        sums(random_values(n, 3)),
        x_scales(random_values(m, 4)),
        x_offsets(random_values(m, 5)),
        x(random_values(static_cast<std::size_t>(m) * k, 6)),
        w(random_values(static_cast<std::size_t>(n) * k, 7)) {
    x16 = halves(x);
    const auto w16 = halves(w);
    w8.resize(w.size());
    x8.resize(x.size());
    for (std::size_t i = 0; i < w.size(); ++i)
      w8[i] = static_cast<std::int8_t>(std::clamp(w[i] * 8, -127.f, 127.f));
    for (std::size_t i = 0; i < x.size(); ++i)
      x8[i] = static_cast<std::uint8_t>(std::min(std::fabs(x[i]) * 8, 255.f));
    const void* all = type == NumberType::kF32    ? static_cast<const void*>(w.data())
                      : type == NumberType::kBf16 ? static_cast<const void*>(w16.data())
                                                  : w8.data();
    weights.pack(0, n, all);
  }
  const void* row(int r) const {
    const auto at = static_cast<std::size_t>(r) * static_cast<std::size_t>(k);
    return type == NumberType::kF32    ? static_cast<const void*>(x.data() + at)
           : type == NumberType::kBf16 ? static_cast<const void*>(x16.data() + at)
                                       : x8.data() + at;
  }
  // Rows from `first` on by columns from c0 on, as the bytes of floats or bfloat16s; what kAdd adds
  // to is a row's own.
  template <class Multiply>
  std::vector<float> run(int first, int count, int c0, int c1, Epilogue epilogue, bool bf16,
                         Multiply multiply) const {
    const std::size_t columns = static_cast<std::size_t>(c1 - c0);
    std::vector<float> out(static_cast<std::size_t>(count) * columns, 0.f);
    if (epilogue == Epilogue::kAdd)
      for (int r = 0; r < count; ++r)
        for (int c = c0; c < c1; ++c)
          out[static_cast<std::size_t>(r) * columns + static_cast<std::size_t>(c - c0)] =
              std::sin(static_cast<float>((first + r) * 977 + c));
    const bool bytes = type == NumberType::kInt8;
    WorkerScratch memory(1);
    multiply(GemmTile{.m = count,
                      .n = c1 - c0,
                      .x = row(first),
                      .w = &weights,
                      .first = c0,
                      .x_scales = bytes ? x_scales.data() + first : nullptr,
                      .x_offsets = bytes ? x_offsets.data() + first : nullptr,
                      .w_scales = bytes ? scales.data() + c0 : nullptr,
                      .w_sums = bytes ? sums.data() + c0 : nullptr,
                      .bias = bias.data() + c0,
                      .out = out.data(),
                      .ldo = columns,
                      .epilogue = epilogue,
                      .out_bf16 = bf16,
                      .scratch = Scratch(memory, 0)});
    if (!bf16) return out;
    std::vector<float> wide(out.size());
    for (std::size_t i = 0; i < out.size(); ++i) {
      std::uint16_t half;
      std::memcpy(&half, reinterpret_cast<const char*>(out.data()) + 2 * i, 2);
      wide[i] = io::bf16_to_f32(half);
    }
    return wide;
  }

  NumberType type;
  int m, n, k;
  PackedWeights weights;
  std::vector<float> bias, scales, sums, x_scales, x_offsets, x, w;
  std::vector<std::uint16_t> x16;
  std::vector<std::uint8_t> x8;
  std::vector<std::int8_t> w8;
};

bool same_bits(const float* a, const float* b, std::size_t n) {
  return std::memcmp(a, b, n * sizeof(float)) == 0;
}

// Every other block of a tile's columns, from the last one back.
class EveryOther final : public ColumnBlocks {
 public:
  EveryOther(int n, int odd) : block_((n + kColumnBlock - 1) / kColumnBlock - 1 - odd) {}
  int next() override {
    const int block = std::exchange(block_, block_ - 2);
    return block < 0 ? kNone : block * kColumnBlock;
  }

 private:
  int block_;
};

// Two threads that share a tile.
void gemm_in_two(const GemmTile& tile) {
  for (const int odd : {0, 1}) {
    EveryOther blocks(tile.n, odd);
    GemmTile half = tile;
    half.blocks = &blocks;
    gemm(half);
  }
}

void check_company(const Product& p, Epilogue epilogue, bool bf16) {
  const auto all = p.run(0, p.m, 0, p.n, epilogue, bf16, gemm);
  for (const int count : {1, 2, 3, 4, 6, 7, 8, 9, 15, 17, 32, 33})
    for (const int first : {0, 1, 5, p.m - count}) {
      const auto part = p.run(first, count, 0, p.n, epilogue, bf16, gemm);
      ASSERT_TRUE(same_bits(
          part.data(), all.data() + static_cast<std::size_t>(first) * static_cast<std::size_t>(p.n),
          part.size()))
          << count << " rows of " << p.m << " from " << first << ", k " << p.k << ", type "
          << static_cast<int>(p.type) << ", epilogue " << static_cast<int>(epilogue);
    }
  for (const int count : {1, 5, p.m}) {
    const auto part = p.run(0, count, 0, p.n, epilogue, bf16, gemm_in_two);
    ASSERT_TRUE(same_bits(part.data(), all.data(), part.size())) << count << " rows";
  }
  // Some of the columns alone.
  for (int c0 = 0; c0 < p.n; c0 += kColumnBlock) {
    const int c1 = std::min(p.n, c0 + kColumnBlock);
    const auto part = p.run(0, 5, c0, c1, epilogue, bf16, gemm);
    for (int r = 0; r < 5; ++r)
      ASSERT_TRUE(same_bits(part.data() + static_cast<std::size_t>(r * (c1 - c0)),
                            all.data() + static_cast<std::size_t>(r * p.n + c0),
                            static_cast<std::size_t>(c1 - c0)));
  }
}

TEST(OneAnswer, RowsOfAProductAreTheSameInAnyCompany) {
  const FlushDenormals flush;
  for (const NumberType type : {NumberType::kF32, NumberType::kBf16, NumberType::kInt8}) {
    for (const int k : {20, 33, 64, 768, 1664})
      for (const Packing packing : {Packing::kPlain, Packing::k12Bit}) {
        const Product product(type, 70, 150, k, packing);
        check_company(product, Epilogue::kStore, false);
        check_company(product, Epilogue::kGelu, true);
        if (packing == Packing::kPlain) check_company(product, Epilogue::kAdd, false);
      }
  }
}

// Multiply-adds in one rounding, as everywhere but on SSE4 and plain code, whose sums of bytes
// alone are exact.
bool has_multiply_add() {
#if defined(__x86_64__)
  return has_isa(Isa::kAvx2);
#elif defined(__aarch64__)
  return true;
#else
  return false;
#endif
}

float rough_gelu(float x) {
  const float z = std::min(std::max(x, -4.f), 4.f), t = z * z;
  float p = std::fma(2.27804833e-8f, t, -1.59854960e-6f);
  for (const float c :
       {4.79543851e-5f, -8.14003462e-4f, 8.77232384e-3f, -6.45729527e-2f, 3.97883207e-1f})
    p = std::fma(p, t, c);
  return x * std::fma(p, z, 0.5f);
}

// What an output of a layer of bytes is, step by step: on every instruction set.
float byte_output(const Product& p, int row, int column, Epilogue epilogue) {
  std::int32_t sum = 0;
  const auto k = static_cast<std::size_t>(p.k);
  for (std::size_t i = 0; i < k; ++i)
    sum += p.x8[static_cast<std::size_t>(row) * k + i] *
           p.w8[static_cast<std::size_t>(column) * k + i];
  const auto r = static_cast<std::size_t>(row), c = static_cast<std::size_t>(column);
  const float base = std::fma(-p.x_offsets[r], p.sums[c], p.bias[c]);
  const float y = std::fma(static_cast<float>(sum) * p.scales[c], p.x_scales[r], base);
  if (epilogue == Epilogue::kGelu) return rough_gelu(y);
  return epilogue == Epilogue::kAdd ? y + std::sin(static_cast<float>(row * 977 + column)) : y;
}

// Run with every BLIP_FORCE_ISA, which makes them the same as each other.
TEST(OneAnswer, LayersOfBytesAreTheSameOnEveryInstructionSet) {
  if (!has_multiply_add()) GTEST_SKIP() << "this level rounds twice in a multiply-add";
  const FlushDenormals flush;
  for (const int k : {20, 33, 64, 768, 1664})
    for (const Epilogue epilogue : {Epilogue::kStore, Epilogue::kGelu, Epilogue::kAdd}) {
      const Product p(NumberType::kInt8, 20, 150, k, Packing::kPlain);
      const bool bf16 = epilogue == Epilogue::kGelu;
      const auto out = p.run(0, p.m, 0, p.n, epilogue, bf16, gemm);
      for (int r = 0; r < p.m; ++r)
        for (int c = 0; c < p.n; ++c) {
          const float expected = byte_output(p, r, c, epilogue);
          ASSERT_EQ(out[static_cast<std::size_t>(r * p.n + c)],
                    bf16 ? io::bf16_to_f32(io::f32_to_bf16(expected)) : expected)
              << "row " << r << ", column " << c << ", k " << k << ", epilogue "
              << static_cast<int>(epilogue);
        }
    }
}

TEST(OneAnswer, RoundingToBytesIsTheSameOnEveryInstructionSet) {
  for (const int n : {1, 15, 16, 100, 768}) {
    const auto x = random_values(static_cast<std::size_t>(n), 11);
    std::vector<std::uint8_t> out(x.size());
    const ByteScale got = to_uint8(x.data(), n, out.data());
    const float max = std::max(0.f, *std::max_element(x.begin(), x.end())),
                min = std::min(0.f, *std::min_element(x.begin(), x.end()));
    const float scale = (max - min) / 255.f, inverse = 1.f / scale,
                zero = std::nearbyint(-min * inverse);
    ASSERT_EQ(got.scale, scale);
    ASSERT_EQ(got.offset, scale * zero);
    for (std::size_t i = 0; i < x.size(); ++i)
      ASSERT_EQ(out[i], std::clamp(std::nearbyint(x[i] * inverse) + zero, 0.f, 255.f))
          << i << " of " << n;
  }
}

// Sums of 16 lanes, whatever a vector has, halved into each other.
float lanes_sum(std::array<float, 16> lanes) {
  for (std::size_t half = 8; half > 0; half /= 2)
    for (std::size_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  return lanes[0];
}

TEST(OneAnswer, LayerNormIsTheSameOnEveryInstructionSet) {
  if (!has_multiply_add()) GTEST_SKIP() << "this level rounds twice in a multiply-add";
  for (const int n : {16, 64, 768, 1024}) {
    const auto size = static_cast<std::size_t>(n);
    const auto x = random_values(size, 12), gain = random_values(size, 13),
               bias = random_values(size, 14);
    std::vector<float> out(size);
    layer_norm(x.data(), gain.data(), bias.data(), 1e-6f, n, out.data());
    std::array<float, 16> sums{}, squares{};
    for (std::size_t i = 0; i < size; ++i) sums[i % 16] += x[i];
    const float mean = lanes_sum(sums) / static_cast<float>(n);
    for (std::size_t i = 0; i < size; ++i)
      squares[i % 16] = std::fma(x[i] - mean, x[i] - mean, squares[i % 16]);
    const float scale = 1.f / std::sqrt(lanes_sum(squares) / static_cast<float>(n) + 1e-6f);
    for (std::size_t i = 0; i < size; ++i)
      ASSERT_EQ(out[i], std::fma((x[i] - mean) * scale, gain[i], bias[i])) << i << " of " << n;
  }
}

#if defined(__x86_64__)
// Few rows by vectors, many by matrix units: the same bits, on machines without the latter too.
TEST(OneAnswer, FewRowsAddUpAsMatrixUnitsDo) {
  if (!has_avx512_gemm(NumberType::kBf16)) GTEST_SKIP() << "this machine has no AVX-512 bfloat16";
  const FlushDenormals flush;
  int differ = 0;
  for (const int k : {32, 64, 768, 1664})
    for (const Packing packing : {Packing::kPlain, Packing::k12Bit}) {
      const Product p(NumberType::kBf16, 20, 130, k, packing);
      const auto tiles = p.run(0, p.m, 0, p.n, Epilogue::kStore, false,
                               gemm_by_tiles<EmulatedTiles, NumberType::kBf16>);
      for (const int count : {1, kTileOrderRows})
        for (int first = 0; first + count <= p.m; first += count) {
          const auto few = p.run(first, count, 0, p.n, Epilogue::kStore, false,
                                 [](const GemmTile& t) { gemm_avx512(t, SumOrder::kTiles); });
          ASSERT_TRUE(same_bits(
              few.data(),
              tiles.data() + static_cast<std::size_t>(first) * static_cast<std::size_t>(p.n),
              few.size()))
              << "k " << k << ", row " << first;
          const auto pairs = p.run(first, count, 0, p.n, Epilogue::kStore, false,
                                   [](const GemmTile& t) { gemm_avx512(t, SumOrder::kUnits); });
          differ += !same_bits(few.data(), pairs.data(), few.size());
        }
    }
  EXPECT_GT(differ, 0);  // else nothing was tested
}
#endif

// Queries by packed keys and values of one head.
struct Heads {
  Heads(NumberType number, int keys, int dim)
      : type(number),
        count(keys),
        head_dim(dim),
        stride(static_cast<std::size_t>(round_up(keys, kBf16Keys))),
        width(static_cast<std::size_t>(round_up(dim, kLanes))) {
    const auto k = random_values(stride * static_cast<std::size_t>(round_up(dim, 2)), 8),
               v = random_values(stride * width, 9);
    q = random_values(64 * static_cast<std::size_t>(dim), 10);
    for (float& x : q) x *= 0.1f;
    q16 = halves(q);
    if (type == NumberType::kF32) {
      fill(key_bytes, k.data(), k.size() * 4);
      fill(value_bytes, v.data(), v.size() * 4);
      return;
    }
    auto k16 = halves(k), v16 = halves(v);
    for (int r = count; r < static_cast<int>(stride); ++r)  // rows past the last are zero
      for (std::size_t d = 0; d < width; ++d)
        v16[static_cast<std::size_t>(r / 2) * width * 2 + 2 * d + static_cast<std::size_t>(r % 2)] =
            0;
    fill(key_bytes, k16.data(), k16.size() * 2);
    fill(value_bytes, v16.data(), v16.size() * 2);
  }
  static void fill(AlignedArray<std::byte>& to, const void* from, std::size_t bytes) {
    std::memcpy(to.reserve(bytes), from, bytes);
  }

  std::vector<float> run(int first, int queries, void (*kernel)(const AttentionBlock&),
                         int causal_offset = kAllVisible) const {
    std::vector<float> out(static_cast<std::size_t>(queries * head_dim));
    AlignedArray<float> scratch(attention_scratch(queries, count, head_dim));
    const auto at = static_cast<std::size_t>(first * head_dim);
    kernel(
        {.q = type == NumberType::kF32 ? static_cast<const void*>(q.data() + at) : q16.data() + at,
         .ldq = static_cast<std::size_t>(head_dim),
         .queries = queries,
         .keys = key_bytes.data(),
         .key_stride = stride,
         .values = value_bytes.data(),
         .value_stride = width,
         .count = count,
         .head_dim = head_dim,
         .causal_offset = causal_offset,
         .scale = 0.125f,
         .out = out.data(),
         .ldo = static_cast<std::size_t>(head_dim),
         .scratch = scratch.data()});
    return out;
  }

  NumberType type;
  int count, head_dim;
  std::size_t stride, width;
  std::vector<float> q;
  std::vector<std::uint16_t> q16;
  AlignedArray<std::byte> key_bytes, value_bytes;
};

void check_queries(const Heads& heads, void (*kernel)(const AttentionBlock&), bool causal) {
  constexpr int kQueries = 40;
  const int visible = causal ? heads.count - kQueries : kAllVisible;
  const auto all = heads.run(0, kQueries, kernel, visible);
  for (const int queries : {1, 2, 3, 4, 5, 16, 17, 32})
    for (const int first : {0, 1, kQueries - queries}) {
      const auto part = heads.run(first, queries, kernel, causal ? visible + first : kAllVisible);
      ASSERT_TRUE(same_bits(
          part.data(), all.data() + static_cast<std::size_t>(first * heads.head_dim), part.size()))
          << queries << " queries from " << first << ", " << heads.count << " keys, head "
          << heads.head_dim << (causal ? ", causal" : "");
    }
}

TEST(OneAnswer, QueriesOfAttentionAreTheSameInAnyCompany) {
  const FlushDenormals flush;
  for (const int head_dim : {20, 32, 64, 96})
    for (const int count : {40, 65, 577}) {
      for (const bool causal : {false, true}) {
        check_queries(Heads(NumberType::kF32, count, head_dim), attention, causal);
        check_queries(Heads(NumberType::kBf16, count, head_dim), attention_bf16, causal);
      }
#if defined(__x86_64__)
      if (has_isa(Isa::kAvx512Bf16) && head_dim % 32 == 0)
        check_queries(Heads(NumberType::kBf16, count, head_dim),
                      attention_detail::attend<attention_detail::TileProduct<EmulatedTiles>>, true);
#endif
    }
}

#if defined(__x86_64__)
// Of bfloat16 and of bytes: the same bits with AVX-512's bfloat16 products and without.
TEST(OneAnswer, AttentionIsTheSameOnEveryInstructionSet) {
  if (!has_isa(Isa::kAvx512Bf16)) GTEST_SKIP() << "this machine has no AVX-512 bfloat16";
  const FlushDenormals flush;
  const auto vectors = attention_detail::attend<attention_detail::VectorProduct>;
  for (const int head_dim : {20, 64, 96})
    for (const int count : {40, 65, 577}) {
      const Heads heads(NumberType::kBf16, count, head_dim);
      for (const int queries : {1, 2, 7, 48})
        for (const int visible : {kAllVisible, count - 10}) {
          const auto expected = heads.run(0, queries, vectors, visible),
                     out = heads.run(0, queries, attention_by_panels, visible);
          ASSERT_TRUE(same_bits(out.data(), expected.data(), out.size()))
              << queries << " queries, " << count << " keys, head " << head_dim;
        }
    }
}

TEST(OneAnswer, KeysOfBytesAreTheSameOnEveryInstructionSet) {
  if (!has_isa(Isa::kAvx512Bf16)) GTEST_SKIP() << "this machine has no AVX-512 bfloat16";
  const FlushDenormals flush;
  for (const int head_dim : {4, 36, 64, 132})
    for (const int count : {1, 16, 65, 577}) {
      const auto dims = static_cast<std::size_t>(head_dim), stride = dims + 6,
                 padded = static_cast<std::size_t>(round_up(count, kLanes));
      const auto keys = halves(random_values(static_cast<std::size_t>(count) * stride, 15));
      std::vector<std::uint32_t> packed[2] = {std::vector<std::uint32_t>(dims / 4 * padded),
                                              std::vector<std::uint32_t>(dims / 4 * padded)};
      std::vector<float> scales[2] = {std::vector<float>(padded), std::vector<float>(padded)};
      pack_byte_keys(keys.data(), stride, count, head_dim, packed[0].data(), padded,
                     scales[0].data());
      pack_byte_keys_by_panels(keys.data(), stride, count, head_dim, packed[1].data(), padded,
                               scales[1].data());
      ASSERT_EQ(scales[0], scales[1]);
      for (std::size_t unit = 0; unit < dims / 4; ++unit)
        for (std::size_t key = 0; key < static_cast<std::size_t>(count); ++key)
          ASSERT_EQ(packed[0][unit * padded + key], packed[1][unit * padded + key])
              << key << " of " << count;
    }
}
#endif

TEST(Convert, Bf16KeepsWhatIsNoNumber) {
  const FlushDenormals flush;
  std::vector<float> x;
  for (const std::uint32_t bits :
       {0x7f800000u, 0xff800000u, 0x7f800001u, 0x7fffffffu, 0xffffffffu, 0xff800001u, 0x7fc00000u,
        0x7f7fffffu, 0x7f7f7fffu, 0x3f808000u}) {
    float value;
    std::memcpy(&value, &bits, sizeof(value));
    for (int i = 0; i < 7; ++i) x.push_back(value);  // whole vectors and what is left over
  }
  const auto out = halves(x);
  for (std::size_t i = 0; i < x.size(); ++i) EXPECT_EQ(out[i], io::f32_to_bf16(x[i])) << i;
}

}  // namespace
}  // namespace blip::kernels
