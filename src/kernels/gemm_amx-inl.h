// The product by AMX tiles, over PackedWeights' blocks: a unit row of 256 bytes holds 64
// columns, so 16 unit rows are four tiles side by side.
#pragma once

#include <algorithm>
#include <cassert>

#include "core/aligned.h"
#include "kernels/bf16_12bit.h"
#include "kernels/gemm_finish.h"
#include "kernels/tiles.h"

namespace blip::kernels {

inline constexpr std::size_t kUnitRowBytes = 256;  // 64 columns of one unit
inline constexpr std::size_t kStepBytes =
    kUnitRowBytes * kTileRowsMax;  // of one step: 64 bytes of each row of x
inline constexpr int kPanelRows = 2 * kTileRowsMax;
// Steps of a block of weights, which all rows pass over before the next. With 48 a panel's sums
// stay in registers for the whole depth of all of BLIP-base's layers in 8 bits; the block's 192 KB
// lie in the L2 cache. Measured against 24, which carries 8 KB of sums to and fro between blocks:
// 8 to 14 % faster where a layer has so many; and 24 was 5 to 10 % faster than 8 and 12, which
// would stay in the L1 cache.
inline constexpr int kBlockSteps = 48;

// What vectors do between the tiles' instructions, a little at each step of a panel: they fetch the
// weights that follow into the L2 cache, and turn the sums of the panel before into its outputs.
// The tiles wait for the caches half of their time; so that costs next to nothing.
class Meanwhile {
 public:
  explicit Meanwhile(const GemmTile& tile) : tile_(tile) {}

  // The next panel has `steps` steps, during which `bytes` from `next` on are to be fetched.
  void begin(int steps, const char* next, std::size_t bytes) {
    next_ = next;
    lines_ = per_step(static_cast<int>((bytes + 63) / 64), steps);
    rows_ = per_step(last_ - row_, steps);
  }

  void step() {
    for (int line = 0; line < lines_; ++line, next_ += 64) __builtin_prefetch(next_, 0, 2);
    finish_rows(rows_);
  }

  // The rest of the panel before, which step() may have left.
  void finish() { finish_rows(last_ - row_); }

  // sums[rows, 64] of the tile's rows from `row` on, to be finished while the next panel is
  // computed. They stay where they are until then.
  void finish_later(const char* sums, int row, int rows, int column) {
    sums_ = sums;
    row_ = row;
    last_ = row + rows;
    column_ = column;
  }

 private:
  static int per_step(int things, int steps) { return (things + steps - 1) / steps; }

  void finish_rows(int count) {
    count = std::min(count, last_ - row_);
    if (count <= 0) return;
    finish_tile(tile_, sums_, row_, count, column_);
    sums_ += static_cast<std::size_t>(count) * kUnitRowBytes;
    row_ += count;
  }

  const GemmTile& tile_;
  const char *next_ = nullptr, *sums_ = nullptr;
  int lines_ = 0, rows_ = 0;  // a step
  int row_ = 0, last_ = 0, column_ = 0;
};

// The four sums of a panel: two side by side, two more `second` bytes behind them.
template <class Tiles>
void begin_sums(bool first, const char* sums, std::size_t second) {
  if (first) {
    Tiles::template zero<0>();
    Tiles::template zero<1>();
    Tiles::template zero<2>();
    Tiles::template zero<3>();
  } else {
    Tiles::template load<0>(sums, kUnitRowBytes);
    Tiles::template load<1>(sums + kTileBytes, kUnitRowBytes);
    Tiles::template load<2>(sums + second, kUnitRowBytes);
    Tiles::template load<3>(sums + second + kTileBytes, kUnitRowBytes);
  }
}

template <class Tiles>
void keep_sums(char* sums, std::size_t second) {
  Tiles::template store<0>(sums, kUnitRowBytes);
  Tiles::template store<1>(sums + kTileBytes, kUnitRowBytes);
  Tiles::template store<2>(sums + second, kUnitRowBytes);
  Tiles::template store<3>(sums + second + kTileBytes, kUnitRowBytes);
}

// sums[32, 64] (+)= x w: two row tiles, 32 columns at a time, so that each tile that is loaded is
// multiplied twice.
template <class Tiles, NumberType type>
void two_tile_panel(int steps, const char* x, std::size_t ldx, const char* w, bool first,
                    char* sums, Meanwhile& meanwhile) {
  constexpr std::size_t kLower = kTileRowsMax * kUnitRowBytes;
  const char* x_lower = x + kTileRowsMax * ldx;
  for (int half = 0; half < 2; ++half, w += 2 * kTileBytes, sums += 2 * kTileBytes) {
    begin_sums<Tiles>(first, sums, kLower);
    for (int s = 0; s < steps; ++s) {
      const char* columns = w + static_cast<std::size_t>(s) * kStepBytes;
      Tiles::template load<4>(x + s * kTileBytes, ldx);
      Tiles::template load<6>(columns, kUnitRowBytes);
      Tiles::template dot<type, 0, 4, 6>();
      Tiles::template load<7>(columns + kTileBytes, kUnitRowBytes);
      Tiles::template dot<type, 1, 4, 7>();
      Tiles::template load<5>(x_lower + s * kTileBytes, ldx);
      Tiles::template dot<type, 2, 5, 6>();
      Tiles::template dot<type, 3, 5, 7>();
      meanwhile.step();
    }
    keep_sums<Tiles>(sums, kLower);
  }
}

// sums[up to 16, 64] (+)= x w
template <class Tiles, NumberType type>
void one_tile_panel(int steps, const char* x, std::size_t ldx, const char* w, bool first,
                    char* sums, Meanwhile& meanwhile) {
  constexpr std::size_t kRight = 2 * kTileBytes;
  begin_sums<Tiles>(first, sums, kRight);
  for (int s = 0; s < steps; ++s, w += kStepBytes) {
    Tiles::template load<4>(x + s * kTileBytes, ldx);
    Tiles::template load<5>(w, kUnitRowBytes);
    Tiles::template dot<type, 0, 4, 5>();
    Tiles::template load<6>(w + kTileBytes, kUnitRowBytes);
    Tiles::template dot<type, 1, 4, 6>();
    Tiles::template load<7>(w + 2 * kTileBytes, kUnitRowBytes);
    Tiles::template dot<type, 2, 4, 7>();
    Tiles::template load<5>(w + 3 * kTileBytes, kUnitRowBytes);
    Tiles::template dot<type, 3, 4, 5>();
    meanwhile.step();
  }
  keep_sums<Tiles>(sums, kRight);
}

// The registers' shapes for the rows of one panel.
template <class Tiles>
class PanelShapes {
 public:
  ~PanelShapes() { Tiles::release(); }
  void set(int rows) {
    if (rows == rows_) return;
    rows_ = rows;
    Tiles::configure(rows > kTileRowsMax ? tile_shapes(kTileRowsMax, rows - kTileRowsMax)
                                         : tile_shapes(rows, 0));
  }

 private:
  int rows_ = 0;
};

template <class Tiles, NumberType type>
void gemm_by_tiles(const GemmTile& t) {
  const std::size_t row_bytes = static_cast<std::size_t>(t.w->k()) * size_of(type);
  assert(t.w->blocked() && row_bytes % kTileBytes == 0);
  const int steps = static_cast<int>(row_bytes / kTileBytes),
            panels = (t.m + kPanelRows - 1) / kPanelRows;
  const int blocks = (steps + kBlockSteps - 1) / kBlockSteps,
            block_steps = (steps + blocks - 1) / blocks;
  // Every panel's where blocks carry them on, and else two in turn: one is finished while the
  // other is computed.
  constexpr std::size_t kSums = kPanelRows * kUnitRowBytes;
  const int kept = blocks > 1 ? panels : 2;
  char* all_sums = t.scratch.get<char>(ScratchUse::kSums, static_cast<std::size_t>(kept) * kSums);
  const bool packed_12bit = t.w->packing() == Packing::k12Bit;
  PanelShapes<Tiles> shapes;
  Meanwhile meanwhile(t);
  int turn = 0;
  for (int column = first_column(t); column < t.n; column = next_column(t, column)) {
    const char* w = static_cast<const char*>(t.w->columns(t.first + column));
    for (int step = 0; step < steps; step += block_steps) {
      const int count = std::min(block_steps, steps - step);
      const int units = count * kTileRowsMax, first_unit = step * kTileRowsMax;
      const char *block = w + static_cast<std::size_t>(step) * kStepBytes,
                 *behind = block + static_cast<std::size_t>(count) * kStepBytes;
      if (packed_12bit) {
        auto* unpacked = t.scratch.get<std::uint32_t>(
            ScratchUse::kUnpacked,
            static_cast<std::size_t>(block_steps * kTileRowsMax) * kColumnBlock);
        unpack_12bit(reinterpret_cast<const std::byte*>(w), first_unit, units, unpacked);
        block = reinterpret_cast<const char*>(unpacked);
        behind = w + block_bytes_12bit(first_unit + units);
      }
      // The panels of this block fetch the next one, which follows in memory, share and share
      // alike.
      const std::size_t unit_row = packed_12bit ? k12BitUnitRow : kUnitRowBytes;
      const std::size_t share =
          round_up((static_cast<std::size_t>(units) * unit_row + panels - 1) / panels, 64);
      for (int i = 0; i < panels; ++i) {
        const int row = i * kPanelRows, rows = std::min(kPanelRows, t.m - row);
        char* sums = all_sums + static_cast<std::size_t>(blocks > 1 ? i : turn++ % kept) * kSums;
        const char* x = static_cast<const char*>(t.x) + static_cast<std::size_t>(row) * row_bytes +
                        static_cast<std::size_t>(step) * kTileBytes;
        const bool two = rows > kTileRowsMax;
        if (kept == 1) meanwhile.finish();  // these sums take the place of those that wait
        meanwhile.begin(two ? 2 * count : count, behind + i * share, share);
        shapes.set(rows);
        (two ? two_tile_panel<Tiles, type>
             : one_tile_panel<Tiles, type>)(count, x, row_bytes, block, step == 0, sums, meanwhile);
        meanwhile.finish();
        if (step + count == steps) meanwhile.finish_later(sums, row, rows, column);
      }
    }
  }
  meanwhile.finish();
}

}  // namespace blip::kernels
