#include "kernels/gemm_avx512.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "core/aligned.h"
#include "kernels/bf16_12bit.h"
#include "kernels/gemm_finish.h"
#include "kernels/isa.h"
#include "kernels/read_ahead.h"
#include "kernels/target.h"

#if defined(__x86_64__)
#include <immintrin.h>

namespace blip::kernels {
namespace {

constexpr int kTileRows = 6;
constexpr std::size_t kUnitRow = 256;  // bytes of 64 columns of one unit, and of 64 sums
constexpr int kUnitsPerChunk = 8;      // between two bursts of prefetching

// What to fetch while a tile is computed: weights into the L2 cache, and the rows of the next tile.
// Few tiles fetch some lines at every unit: a burst for several units waits for the processor's
// queue of fetches (a token's products took 1.3 times as long with bursts of 32, and twice as long
// with bursts into the L1 cache, whose queue is shorter). Handed over by reference: a copy would
// wait for the stores of the tile before.
struct Prefetch {
  const char* next;
  int lines_per_unit;   // 0: too many tiles for that
  int lines_per_chunk;  // if so
  const char* rows;     // kTileRows of them, as far apart as the tile's own; null: none
};

// The weights of a tile.
struct StoredWeights {
  const char* units;
  const char* table;  // of 12-bit ones: where their block begins
};

BLIP_TARGET_BEGIN("avx512f,avx512bw,avx512dq,avx512vl")
namespace f32 {
using Sums = __m512;
inline Sums zero() { return _mm512_setzero_ps(); }
inline Sums load(const char* p) { return _mm512_loadu_ps(p); }
inline void store(char* p, Sums sums) { _mm512_storeu_ps(p, sums); }
inline Sums dot(Sums sums, __m512i x, __m512i w) {
  return _mm512_fmadd_ps(_mm512_castsi512_ps(x), _mm512_castsi512_ps(w), sums);
}
#include "kernels/gemm_avx512-inl.h"
}  // namespace f32
BLIP_TARGET_END

BLIP_TARGET_BEGIN("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")
namespace bf16 {
using Sums = __m512;
inline Sums zero() { return _mm512_setzero_ps(); }
inline Sums load(const char* p) { return _mm512_loadu_ps(p); }
inline void store(char* p, Sums sums) { _mm512_storeu_ps(p, sums); }
inline Sums dot(Sums sums, __m512i x, __m512i w) {
  return _mm512_dpbf16_ps(sums, (__m512bh)x, (__m512bh)w);
}
#include "kernels/bf16_12bit-inl.h"
#include "kernels/gemm_avx512-inl.h"

struct TwelveBitWeights {
  const char* units;
  __m512i upper;
  void load(int unit, __m512i (&column)[kTileVectors]) const {
    unpack_unit_12bit(units + static_cast<std::size_t>(unit) * k12BitUnitRow, upper, column);
  }
};

// Sums in the order of AMX tiles (SumOrder::kTiles).
constexpr int kStepUnits = 16;

template <int Rows, class Weights>
inline void add_step(__m512 (&total)[Rows][kTileVectors], const char* x, std::size_t ldx,
                     const Weights& w, int first, const Prefetch& fetch, const char*& next) {
  const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
  __m512 even[Rows][kTileVectors], odd[Rows][kTileVectors];
#pragma GCC unroll 2
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < kTileVectors; ++v) even[r][v] = odd[r][v] = zero();
  for (int unit = first; unit < first + kStepUnits; ++unit) {
    for (int line = 0; line < fetch.lines_per_unit; ++line, next += 64)
      _mm_prefetch(next, _MM_HINT_T1);
    __m512i column[kTileVectors];
    w.load(unit, column);
    __m512 x_even[Rows], x_odd[Rows];
#pragma GCC unroll 2
    for (int r = 0; r < Rows; ++r) {
      std::uint32_t pair;
      std::memcpy(&pair, x + static_cast<std::size_t>(r) * ldx + static_cast<std::size_t>(unit) * 4,
                  sizeof(pair));
      x_even[r] = _mm512_castsi512_ps(_mm512_set1_epi32(static_cast<int>(pair << 16)));
      x_odd[r] = _mm512_castsi512_ps(_mm512_set1_epi32(static_cast<int>(pair & 0xffff0000u)));
    }
#pragma GCC unroll 4
    for (int v = 0; v < kTileVectors; ++v) {
      const __m512 w_even = _mm512_castsi512_ps(_mm512_slli_epi32(column[v], 16)),
                   w_odd = _mm512_castsi512_ps(_mm512_and_si512(column[v], upper));
#pragma GCC unroll 2
      for (int r = 0; r < Rows; ++r) {
        even[r][v] = _mm512_fmadd_ps(x_even[r], w_even, even[r][v]);
        odd[r][v] = _mm512_fmadd_ps(x_odd[r], w_odd, odd[r][v]);
      }
    }
  }
#pragma GCC unroll 2
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < kTileVectors; ++v)
      total[r][v] = _mm512_add_ps(total[r][v], _mm512_add_ps(even[r][v], odd[r][v]));
}

template <int Rows, class Weights>
void step_tile(int units, const char* x, std::size_t ldx, const Weights& w, bool first,
               char* partial, const Prefetch& fetch) {
  __m512 total[Rows][kTileVectors];
  for (int r = 0; r < Rows; ++r)
    for (int v = 0; v < kTileVectors; ++v)
      total[r][v] = first ? zero() : load(partial + (r * kTileVectors + v) * 64);
  const char* next = fetch.next;
  for (int unit = 0; unit < units; unit += kStepUnits)
    add_step(total, x, ldx, w, unit, fetch, next);
  for (int r = 0; r < Rows; ++r)
    for (int v = 0; v < kTileVectors; ++v)
      store(partial + (r * kTileVectors + v) * 64, total[r][v]);
}

void plain_steps(int rows, int units, const char* x, std::size_t ldx, const StoredWeights& w,
                 bool first, char* partial, const Prefetch& fetch) {
  (rows == 1 ? step_tile<1, PlainWeights>
             : step_tile<kTileOrderRows, PlainWeights>)(units, x, ldx, PlainWeights{w.units}, first,
                                                        partial, fetch);
}

void steps_12bit(int rows, int units, const char* x, std::size_t ldx, const StoredWeights& w,
                 bool first, char* partial, const Prefetch& fetch) {
  (rows == 1 ? step_tile<1, TwelveBitWeights>
             : step_tile<kTileOrderRows, TwelveBitWeights>)(units, x, ldx,
                                                            TwelveBitWeights{w.units,
                                                                             upper_bytes(w.table)},
                                                            first, partial, fetch);
}

void tile_12bit(int rows, int units, const char* x, std::size_t ldx, const StoredWeights& w,
                bool first, char* partial, const Prefetch& fetch) {
  any_tile(rows, units, x, ldx, TwelveBitWeights{w.units, upper_bytes(w.table)}, first, partial,
           fetch);
}
}  // namespace bf16
BLIP_TARGET_END

BLIP_TARGET_BEGIN("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")
namespace int8 {
using Sums = __m512i;
inline Sums zero() { return _mm512_setzero_si512(); }
inline Sums load(const char* p) { return _mm512_loadu_si512(p); }
inline void store(char* p, Sums sums) { _mm512_storeu_si512(p, sums); }
inline Sums dot(Sums sums, __m512i x, __m512i w) { return _mm512_dpbusd_epi32(sums, x, w); }
#include "kernels/gemm_avx512-inl.h"
}  // namespace int8
BLIP_TARGET_END

using TileFunction = void (*)(int rows, int units, const char* x, std::size_t ldx,
                              const StoredWeights& w, bool first, char* partial,
                              const Prefetch& fetch);

TileFunction tile_function(NumberType type, bool packed_12bit, SumOrder order) {
  if (type == NumberType::kBf16 && order == SumOrder::kTiles)
    return packed_12bit ? bf16::steps_12bit : bf16::plain_steps;
  if (packed_12bit) return bf16::tile_12bit;
  switch (type) {
    case NumberType::kF32:
      return f32::plain_tile;
    case NumberType::kBf16:
      return bf16::plain_tile;
    case NumberType::kInt8:
      return int8::plain_tile;
  }
  return nullptr;
}

// Units of a block of weights that all rows pass over before the next: 96 KB, which stay in the L2
// cache; a tile reads 21 bytes of them a cycle. Sums are kept between blocks. Measured against 96
// units, which stay in the L1 cache: 2 % faster in bfloat16, 0.5 % in f32 and 8 bits.
constexpr int kBlockUnits = 384;
// Tiles whose sums are finished together, while they are in the L1 cache (12 KB).
constexpr int kFinishTiles = 8;
// Up to so many tiles unpack 12-bit weights each for itself, while they multiply; for more, a block
// is unpacked once. Measured up to 5: 10 to 15 % faster.
constexpr int kUnpackingTiles = 8;
// Rows of more bytes do not stay in the L2 cache (1 MB and up) from one block of columns to the
// next, and are fetched ahead.
constexpr std::size_t kNearRows = 640 << 10;

}  // namespace

bool has_avx512_gemm(NumberType type) {
  switch (type) {
    case NumberType::kF32:
      return has_isa(Isa::kAvx512);
    case NumberType::kBf16:
      return has_isa(Isa::kAvx512Bf16);
    case NumberType::kInt8:
      return has_isa(Isa::kAvx512Vnni);
  }
  return false;
}

void gemm_avx512(const GemmTile& t, SumOrder order) {
  const int units = (t.w->k() * static_cast<int>(size_of(t.w->type())) + 3) / 4;
  const std::size_t row_bytes = static_cast<std::size_t>(units) * 4;
  assert(t.w->blocked());
  assert(order == SumOrder::kUnits || t.w->type() != NumberType::kBf16 ||
         (t.m <= kTileOrderRows && units % bf16::kStepUnits == 0));
  const char* x = static_cast<const char*>(t.x);
  const int tiles = (t.m + kTileRows - 1) / kTileRows;
  const bool far_rows = static_cast<std::size_t>(t.m) * row_bytes > kNearRows;
  const bool one_block = units <= kBlockUnits;
  char* partials = t.scratch.get<char>(
      ScratchUse::kSums,
      static_cast<std::size_t>(one_block ? kFinishTiles : tiles) * kTileRows * kUnitRow);
  const std::size_t ahead =
      t.m == 1 || t.w->type() == NumberType::kF32 ? kReadAhead : kReadFarAhead;
  const bool packed_12bit = t.w->packing() == Packing::k12Bit;
  const bool unpack_first = packed_12bit && tiles > kUnpackingTiles;
  const auto multiply = tile_function(t.w->type(), packed_12bit && !unpack_first, order);
  const std::size_t unit_row = packed_12bit ? k12BitUnitRow : kUnitRow;
  for (int column = first_column(t); column < t.n; column = next_column(t, column)) {
    // 12-bit weights begin with one
    const char* table = static_cast<const char*>(t.w->columns(t.first + column));
    const char* w = table + (packed_12bit ? k12BitTable : 0);
    for (int unit = 0; unit < units; unit += kBlockUnits) {
      const int block = std::min(kBlockUnits, units - unit);
      const char* stored = w + static_cast<std::size_t>(unit) * unit_row;
      const std::size_t block_bytes = static_cast<std::size_t>(block) * unit_row;
      StoredWeights weights{stored, table};
      if (unpack_first) {
        auto* unpacked = t.scratch.get<std::uint32_t>(
            ScratchUse::kUnpacked, static_cast<std::size_t>(kBlockUnits) * kColumnBlock);
        unpack_12bit(reinterpret_cast<const std::byte*>(table), unit, block, unpacked);
        weights.units = reinterpret_cast<const char*>(unpacked);
      }
      // The tiles of this block fetch the next one, which follows in memory, share and share alike;
      // a lone tile prefetches its own rows.
      const std::size_t share = round_up((block_bytes + tiles - 1) / tiles, 64);
      const int share_lines = static_cast<int>(share / 64),
                chunks = std::max(1, block / kUnitsPerChunk);
      const int per_unit = share_lines / block, per_chunk = (share_lines + chunks - 1) / chunks;
      for (int i = 0; i < tiles; ++i) {
        const int row = i * kTileRows, rows = std::min(kTileRows, t.m - row);
        char* partial = partials + static_cast<std::size_t>(one_block ? i % kFinishTiles : i) *
                                       kTileRows * kUnitRow;
        const Prefetch fetch{
            tiles == 1 ? stored + ahead : stored + block_bytes + i * share, per_unit, per_chunk,
            far_rows ? x + (row + kTileRows) * row_bytes + static_cast<std::size_t>(unit) * 4
                     : nullptr};
        const char* tile_x = x + row * row_bytes + static_cast<std::size_t>(unit) * 4;
        if (unit + block == units) fetch_for_finish(t, row, rows, column);
        multiply(rows, block, tile_x, row_bytes, weights, unit == 0, partial, fetch);
        if (unit + block == units && (i % kFinishTiles == kFinishTiles - 1 || i == tiles - 1)) {
          const int behind = i % kFinishTiles * kTileRows;  // rows before this tile's that wait too
          finish_tile(t, partial - static_cast<std::size_t>(behind) * kUnitRow, row - behind,
                      behind + rows, column);
        }
      }
    }
  }
}

}  // namespace blip::kernels

#else

namespace blip::kernels {

bool has_avx512_gemm(NumberType) { return false; }
void gemm_avx512(const GemmTile&, SumOrder) { assert(false); }

}  // namespace blip::kernels

#endif
