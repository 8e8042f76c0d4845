#include "kernels/machine_speed.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <vector>

#include "core/large_memory.h"
#include "kernels/gemm.h"
#include "kernels/gemm_avx512.h"
#include "kernels/gemm_panels.h"
#include "kernels/isa.h"
#include "kernels/target.h"
#include "kernels/tiles.h"
#include "kernels/vector.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace blip::kernels {
namespace {

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// 24 independent sums hide the latency; nothing is loaded. Each returns something that depends on
// all of them. In rows, as compilers keep small loops in registers, larger ones in memory.
constexpr int kSumRows = 4, kRowSums = 6, kSums = kSumRows * kRowSums;

#if defined(__x86_64__)
BLIP_TARGET_BEGIN("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")
float bf16_chain(int rounds) {
  __m512 sums[kSumRows][kRowSums];
  for (auto& row : sums)
    for (auto& sum : row) sum = _mm512_set1_ps(1.f);
  const __m512bh x = (__m512bh)_mm512_set1_epi32(0x3f803f80),
                 y = (__m512bh)_mm512_set1_epi32(0x33803380);
  for (int i = 0; i < rounds; ++i) {
#pragma GCC unroll 4
    for (auto& row : sums)
#pragma GCC unroll 6
      for (auto& sum : row) sum = _mm512_dpbf16_ps(sum, x, y);
  }
  float result = 0;
  for (auto& row : sums)
    for (auto& sum : row) result += _mm512_reduce_add_ps(sum);
  return result;
}
BLIP_TARGET_END

BLIP_TARGET_BEGIN("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")
float int8_chain(int rounds) {
  __m512i sums[kSumRows][kRowSums];
  for (int r = 0; r < kSumRows; ++r)
    for (int v = 0; v < kRowSums; ++v) sums[r][v] = _mm512_set1_epi32(1);
  const __m512i x = _mm512_set1_epi32(0x01010101);
  for (int i = 0; i < rounds; ++i) {
#pragma GCC unroll 4
    for (int r = 0; r < kSumRows; ++r)
#pragma GCC unroll 6
      for (int v = 0; v < kRowSums; ++v) sums[r][v] = _mm512_dpbusd_epi32(sums[r][v], x, x);
  }
  __m512i total = _mm512_setzero_si512();
#pragma GCC unroll 4
  for (int r = 0; r < kSumRows; ++r)
#pragma GCC unroll 6
    for (int v = 0; v < kRowSums; ++v) total = _mm512_add_epi32(total, sums[r][v]);
  // one lane: all of them would overflow
  return static_cast<float>(_mm_cvtsi128_si32(_mm512_castsi512_si128(total)));
}
BLIP_TARGET_END
#endif

// What chains run on, and how long.
struct Chains {
  ThreadPool& pool;
  int rounds;
};

// Operations a second of `chain`, ops_per_round a round, on every thread at once; the best of five,
// as other work only slows.
template <class Chain>
double measure_chain(const Chains& on, double ops_per_round, const Chain& chain) {
  double best = 0;
  const int threads = on.pool.size();
  std::vector<float> sink(static_cast<std::size_t>(threads));
  for (int run = 0; run < 5; ++run) {
    const double start = seconds();
    on.pool.parallel_for(threads,
                         [&](int i, int) { sink[static_cast<std::size_t>(i)] = chain(on.rounds); });
    best = std::max(best, on.rounds * ops_per_round * threads / (seconds() - start));
  }
  return sink[0] == 12345.f ? 0 : best / 1e9;
}

#if defined(__x86_64__)
// With AMX tiles: four sums, as the kernels keep. Their operands stay in registers.
template <NumberType type>
float tile_chain(int rounds) {
  alignas(64) float memory[kTileRowsMax * kTileBytes / sizeof(float)] = {};
  HardwareTiles::configure(tile_shapes(kTileRowsMax, kTileRowsMax));
  HardwareTiles::load<0>(memory, kTileBytes);
  HardwareTiles::load<1>(memory, kTileBytes);
  HardwareTiles::load<2>(memory, kTileBytes);
  HardwareTiles::load<3>(memory, kTileBytes);
  HardwareTiles::zero<4>();
  HardwareTiles::zero<5>();
  HardwareTiles::zero<6>();
  HardwareTiles::zero<7>();
  for (int i = 0; i < rounds; ++i) {
    HardwareTiles::dot<type, 0, 4, 6>();
    HardwareTiles::dot<type, 1, 4, 7>();
    HardwareTiles::dot<type, 2, 5, 6>();
    HardwareTiles::dot<type, 3, 5, 7>();
  }
  HardwareTiles::store<0>(memory, kTileBytes);
  HardwareTiles::release();
  return memory[0];
}

double measure_tiles(const Chains& on, NumberType type) {
  // rounds are 64 cycles long, those of the other chains 12
  constexpr int kRounds = 32, kProducts = 4;
  const auto chain =
      type == NumberType::kBf16 ? tile_chain<NumberType::kBf16> : tile_chain<NumberType::kInt8>;
  const double values = 4.0 / static_cast<double>(size_of(type));  // in a unit
  return measure_chain(on, 2.0 * kProducts * 16 * 16 * 16 * values / kRounds,
                       [&](int rounds) { return chain(rounds / kRounds); });
}
#endif

constexpr std::size_t kReadBytes = std::size_t{256} << 20;

// Bytes of a thread's share: whole steps of or_words.
std::size_t share_of(int threads) {
  return kReadBytes / static_cast<std::size_t>(threads) / 512 * 512;
}

// As the products of this type multiply here.
double measure_rounded(const Chains& on, NumberType type) {
#if defined(__x86_64__)
  if (has_isa(Isa::kAmx)) return measure_tiles(on, type);
  if (has_avx512_gemm(type))
    return measure_chain(on, 2.0 * (type == NumberType::kBf16 ? 32 : 64) * kSums,
                         type == NumberType::kBf16 ? bf16_chain : int8_chain);
#endif
  return measure_chain(on, 2.0 * panel_chain(type, 0).values,
                       [&](int rounds) { return panel_chain(type, rounds).sum; });
}

}  // namespace

MemorySpeed::MemorySpeed(ThreadPool& pool)
    : pool_(pool),
      memory_(allocate_zeros(kReadBytes)),
      sums_(static_cast<std::size_t>(pool.size())) {
  const std::size_t share = share_of(pool.size());
  pool.parallel_for(pool.size(), [&](int i, int) {
    std::fill_n(memory_.get() + static_cast<std::size_t>(i) * share, share, std::byte{1});
  });
}

double MemorySpeed::read_gb_s() {
  const std::size_t share = share_of(pool_.size());
  const double start = seconds();
  pool_.parallel_for(pool_.size(), [&](int i, int) {
    const auto* words =
        reinterpret_cast<const std::uint64_t*>(memory_.get() + static_cast<std::size_t>(i) * share);
    sums_[static_cast<std::size_t>(i)] = or_words(words, share / sizeof(std::uint64_t));
  });
  return 1e-9 * static_cast<double>(share) * pool_.size() / (seconds() - start);
}

MachineSpeed measure_machine(ThreadPool& pool, MemorySpeed& memory, int cores) {
  // Some 10 ms: a sleeping thread has long woken up. More threads than cores share the rounds.
  constexpr double kRounds = 4e6;
  const Chains on{pool, static_cast<int>(kRounds * std::min(1.0, cores / double(pool.size())))};
  MachineSpeed speed;
  speed.f32_gops = measure_chain(on, 2.0 * multiply_add_chain(0).values,
                                 [](int rounds) { return multiply_add_chain(rounds).sum; });
  speed.bf16_gops = measure_rounded(on, NumberType::kBf16);
  speed.int8_gops = measure_rounded(on, NumberType::kInt8);
  for (int run = 0; run < 5; ++run) speed.read_gb_s = std::max(speed.read_gb_s, memory.read_gb_s());
  return speed;
}

}  // namespace blip::kernels
