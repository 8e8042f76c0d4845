// Matrix products over panels (gemm_panels.h): what is packed, and which part of it a kernel gets
// next. The kernels are one body (gemm_panels-inl.h) for every instruction set, over what each
// makes of a unit.
#include "kernels/gemm_panels.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/aligned.h"
#include "kernels/bf16_12bit.h"
#include "kernels/gemm_finish.h"
#include "kernels/isa.h"
#include "kernels/panel_kernel.h"
#include "kernels/read_ahead.h"
#include "kernels/unit_pairs.h"
#include "kernels/vector.h"

namespace blip::kernels {
namespace {

constexpr std::size_t kUnitBytes = 4;
constexpr int kPanels = kColumnBlock / kPanel;
// Bytes of a row before those of the next of its group.
constexpr std::size_t kGroupBytes = 8;
// Units of a panel that all rows pass over before the next, where a row takes 4 bytes a unit; half
// as many where it takes 8. A panel of 48 KB comes from the L2 cache as fast as it is multiplied,
// and the sums are put aside and taken up again seldom. Measured on a Zen 3 against 192 units,
// which stay in the L1 cache: f32 8 % faster, bfloat16 and bytes 1 to 4 %. On ARM, where it was not
// measured, they stay there.
#if defined(__aarch64__)
constexpr int kBlockUnits = 192;
#else
constexpr int kBlockUnits = 768;
#endif
// The same of 12-bit weights, which are unpacked for it.
constexpr int kUnpackedBlockUnits = 192;
// Rows that lie so many bytes apart, or multiples of it, share few places of an L1 cache (64 sets
// of lines), and are moved apart: f32 by 3072 takes 10 to 15 % less.
constexpr std::size_t kSamePlaces = 2048;

}  // namespace

#if defined(__aarch64__)

const PanelKernel& panel_kernel_of(NumberType type, bool ordered) {
  return arm_panels(type, ordered);
}
const PanelKernel& key_kernel() { return arm_keys(); }

#else

const PanelKernel& panel_kernel_of(NumberType type, bool) {
  if (type == NumberType::kInt8 && isa() == Isa::kAvx2Vnni) return vnni_panels();
  return vector_panels(type);
}

const PanelKernel& key_kernel() {
  return isa() == Isa::kAvx2Vnni || has_isa(Isa::kAvx512Vnni) ? vnni_keys() : vector_keys();
}

#endif

namespace {

int block_units(const PanelKernel& kernel) { return kBlockUnits / kernel.planes; }

// Of a row, completed by zeros to what the kernel takes at a time.
int units_of(const PanelKernel& kernel, NumberType type, int k) {
  const int once = static_cast<int>(kUnitBytes) * kernel.lines;
  return round_up(k * static_cast<int>(size_of(type)), once) / static_cast<int>(kUnitBytes);
}

// A panel of bytes begins with what its sums begin with; one for a paired kernel goes on with the
// number of pairs in each block of units and the order of all units, numbered within their block,
// of 2 bytes each.
std::size_t starts_bytes(NumberType type) { return type == NumberType::kInt8 ? kPanelUnit : 0; }

int blocks_of(const PanelKernel& kernel, int units) {
  return (units + block_units(kernel) - 1) / block_units(kernel);
}

std::size_t header_bytes(const PanelKernel& kernel, NumberType type, int units) {
  const std::size_t order =
      kernel.paired
          ? static_cast<std::size_t>(blocks_of(kernel, units) + units) * sizeof(std::uint16_t)
          : 0;
  return starts_bytes(type) + round_up(order, kPanelUnit);
}

const PanelKernel& kernel_of(NumberType type, Packing packing) {
  return panel_kernel_of(type, packing == Packing::kOrdered);
}

std::size_t panel_bytes(const PanelKernel& kernel, NumberType type, int k) {
  const int units = units_of(kernel, type, k);
  return header_bytes(kernel, type, units) + static_cast<std::size_t>(units) * kPanelUnit;
}

// Rows as the kernel reads them.
struct PackedRows {
  const char* data;
  std::size_t ld, plane;  // bytes; ld: of a group
  const std::int32_t* starts;
};

// Some rows of the tile. In its scratch.
PackedRows pack_rows(const GemmTile& t, int first, int count, const PanelKernel& kernel) {
  const NumberType type = t.w->type();
  const std::size_t used = static_cast<std::size_t>(t.w->k()) * size_of(type);
  const std::size_t whole = static_cast<std::size_t>(units_of(kernel, type, t.w->k())) * kUnitBytes;
  const char* x = static_cast<const char*>(t.x) + static_cast<std::size_t>(first) * used;
  const bool same_places = count > kernel.rows && used % kSamePlaces == 0;
  if (!kernel.pack_row && used == whole && !same_places) return {x, used, 0, nullptr};
  const int groups = (count + kernel.group - 1) / kernel.group;
  // A line more, so that rows do not lie in the same places of the cache.
  const std::size_t plane = (whole + 63) / 64 * 64,
                    ld = plane * static_cast<std::size_t>(kernel.planes * kernel.group) + 64;
  const std::size_t bytes = static_cast<std::size_t>(groups) * ld;
  char* out = t.scratch.get<char>(ScratchUse::kPackedRows,
                                  bytes + static_cast<std::size_t>(count) * sizeof(std::int32_t));
  auto* starts = reinterpret_cast<std::int32_t*>(out + bytes);
  for (int r = 0; r < groups * kernel.group; ++r) {
    // An incomplete group has its last row more than once.
    const char* from = x + static_cast<std::size_t>(std::min(r, count - 1)) * used;
    char* row = out + static_cast<std::size_t>(r / kernel.group) * ld +
                static_cast<std::size_t>(r % kernel.group) * kGroupBytes;
    if (kernel.pack_row) {
      const std::int32_t start = kernel.pack_row(from, t.w->k(), row, plane);
      if (kernel.row_starts) starts[r] = start;
    } else {
      std::memset(row + whole - kUnitBytes, 0, kUnitBytes);
      std::memcpy(row, from, used);
    }
  }
  return {out, ld, plane, starts};
}

// One block of columns by the rows from `first` on.
struct Columns {
  const GemmTile& tile;
  const PanelKernel& kernel;
  int column, first, count;
  PackedRows rows;
};

// Some units of the columns' panels.
struct Panels {
  const char *data, *starts;  // starts: what the sums of the first begin with
  std::size_t stride, start_stride;
  const char* orders = nullptr;  // of a paired kernel, as far apart as the panels
};

// Units of 12-bit weights that are unpacked at a time: 16 KB, which stay in the L1 cache for few
// rows.
constexpr int kUnpackedUnits = 64;

Panels panels_of(const Columns& c, int unit, int n) {
  const NumberType type = c.tile.w->type();
  const char* block = static_cast<const char*>(c.tile.w->columns(c.tile.first + c.column));
  if (c.tile.w->packing() == Packing::k12Bit) {
    const std::size_t stride = static_cast<std::size_t>(n) * kPanelUnit;
    char* out = c.tile.scratch.get<char>(ScratchUse::kUnpacked, kPanels * stride);
    unpack_12bit(reinterpret_cast<const std::byte*>(block), unit, n, {out, stride, kPanelUnit});
    return {out, kZeros, stride, 0};
  }
  const int k = c.tile.w->k();
  const std::size_t starts = starts_bytes(type), bytes = panel_bytes(c.kernel, type, k);
  const char* units = block + header_bytes(c.kernel, type, units_of(c.kernel, type, k));
  return {units + static_cast<std::size_t>(unit) * kPanelUnit, starts ? block : kZeros, bytes,
          starts ? bytes : 0, c.kernel.paired ? block + starts : nullptr};
}

void multiply_columns(const Columns& c, char* sums) {
  const GemmTile& t = c.tile;
  const bool packed_12bit = t.w->packing() == Packing::k12Bit;
  const int lines = c.kernel.lines, units = units_of(c.kernel, t.w->type(), t.w->k()),
            used = (std::min(kColumnBlock, t.n - c.column) + kPanel - 1) / kPanel;
  const bool few = c.count <= c.kernel.rows;  // memory is read from one end to the other
  const int block = packed_12bit              ? (few ? kUnpackedUnits : kUnpackedBlockUnits)
                    : few && !c.kernel.paired ? units
                                              : block_units(c.kernel),
            at_once = c.count <= c.kernel.few_rows ? 2 : 1;
  // As much of one panel as of two.
  const std::size_t ahead = c.kernel.paired ? 2 * kReadAhead : kReadAhead;
  for (int unit = 0; unit < units; unit += block) {
    const int n = std::min(block, units - unit);
    const Panels panels = panels_of(c, unit, n);
    for (int p = 0; p < used; p += at_once) {
      const auto panel = static_cast<std::size_t>(p);
      const auto* pairs = reinterpret_cast<const std::uint16_t*>(
          panels.orders ? panels.orders + panel * panels.stride : nullptr);
      c.kernel.multiply(
          {.rows = c.count,
           .panels = std::min(at_once, used - p),
           .units = n / lines,
           .x = c.rows.data + static_cast<std::size_t>(unit / lines * c.kernel.step),
           .ldx = c.rows.ld,
           .plane = c.rows.plane,
           .panel = panels.data + panel * panels.stride,
           .panel_stride = panels.stride,
           .unit_stride = static_cast<std::size_t>(lines) * kPanelUnit,
           .start = unit == 0 ? panels.starts + panel * panels.start_stride : nullptr,
           .start_stride = panels.start_stride,
           .row_starts = c.rows.starts,
           .sums = sums + panel * kPanel * kUnitBytes,
           .lds = kColumnBlock * kUnitBytes,
           .ahead = few && !packed_12bit ? ahead : 0,
           .next = few ? nullptr
                       : panels.data + (panel + static_cast<std::size_t>(at_once)) * panels.stride,
           .order = pairs ? pairs + blocks_of(c.kernel, units) + unit : nullptr,
           .pairs = pairs ? pairs[unit / block] : 0});
    }
  }
  finish_tile(t, sums, c.first, c.count, c.column);
}

// Of a core, as the system tells it.
std::size_t l2_cache_bytes() {
  static const std::size_t bytes = [] {
#if defined(_SC_LEVEL2_CACHE_SIZE)
    if (const long found = ::sysconf(_SC_LEVEL2_CACHE_SIZE); found > 0)
      return static_cast<std::size_t>(found);
#endif
    return std::size_t{512} << 10;
  }();
  return bytes;
}

// Puts the units of a panel in the order of a paired kernel; counts, then order, as header_bytes
// says.
void order_units(const PanelKernel& kernel, int n, std::uint32_t* units, char* header) {
  auto* counts = reinterpret_cast<std::uint16_t*>(header);
  auto* order = counts + blocks_of(kernel, n);
  std::vector<std::uint32_t> copy(static_cast<std::size_t>(block_units(kernel)) * kPanel);
  for (int first = 0; first < n; first += block_units(kernel)) {
    const int count = std::min(block_units(kernel), n - first);
    std::uint32_t* block = units + static_cast<std::size_t>(first) * kPanel;
    std::uint16_t* places = order + first;
    *counts++ = static_cast<std::uint16_t>(pair_units(block, count, places));
    std::copy_n(block, static_cast<std::size_t>(count) * kPanel, copy.data());
    for (int u = 0; u < count; ++u)
      std::copy_n(copy.data() + static_cast<std::size_t>(places[u]) * kPanel, kPanel,
                  block + static_cast<std::size_t>(u) * kPanel);
  }
}

}  // namespace

bool joins_units(NumberType type) { return panel_kernel_of(type).joined; }

void join_units(int n, int columns, std::uint32_t* units) {
  const auto stride = static_cast<std::size_t>(columns);
  for (int u = 0; u + 1 < n; u += 2, units += 2 * stride)
    for (std::size_t panel = 0; panel < stride; panel += kPanel) {
      std::uint32_t both[2 * kPanel];
      for (std::size_t c = 0; c < kPanel; ++c) {
        both[2 * c] = units[panel + c];
        both[2 * c + 1] = units[stride + panel + c];
      }
      std::copy_n(both, kPanel, units + panel);
      std::copy_n(both + kPanel, kPanel, units + stride + panel);
    }
}

std::size_t panel_block_bytes(NumberType type, Packing packing, int k) {
  return kPanels * panel_bytes(kernel_of(type, packing), type, k);
}

void pack_panels(NumberType type, Packing packing, int count, int k, const void* rows, void* out) {
  const PanelKernel& kernel = kernel_of(type, packing);
  const std::size_t row = static_cast<std::size_t>(k) * size_of(type);
  const bool sums_columns = type == NumberType::kInt8 && kernel.signed_rows;
  for (int j = 0; j < count; j += kPanel) {
    char* panel = static_cast<char*>(out) +
                  static_cast<std::size_t>(j / kPanel) * panel_bytes(kernel, type, k);
    const char* from = static_cast<const char*>(rows) + static_cast<std::size_t>(j) * row;
    const int columns = std::min(kPanel, count - j);
    const int count_units = units_of(kernel, type, k);
    auto* units = reinterpret_cast<std::uint32_t*>(panel + header_bytes(kernel, type, count_units));
    pack_units(from, columns, row, units, kPanel);
    if (kernel.joined) join_units(count_units, kPanel, units);
    if (kernel.paired) order_units(kernel, count_units, units, panel + starts_bytes(type));
    if (!sums_columns) continue;
    for (int c = 0; c < columns; ++c, from += row) {
      std::int32_t sum = 0;
      for (int i = 0; i < k; ++i) sum += static_cast<signed char>(from[i]);
      reinterpret_cast<std::int32_t*>(panel)[c] = 128 * sum;
    }
  }
}

void gemm_panels(const GemmTile& t) {
  const PanelKernel& kernel = kernel_of(t.w->type(), t.w->packing());
  const PackedRows packed = pack_rows(t, 0, t.m, kernel);
  char* memory =
      t.scratch.get<char>(ScratchUse::kSums, static_cast<std::size_t>(round_up(t.m, kernel.group)) *
                                                 kColumnBlock * kUnitBytes);
  for (int column = first_column(t); column < t.n; column = next_column(t, column)) {
    fetch_for_finish(t, 0, t.m <= kernel.rows ? t.m : 0, column);
    multiply_columns({t, kernel, column, 0, t.m, packed}, memory);
  }
}

// A block of them takes three fifths of the L2 cache, beside two panels.
int panel_rows_at_once(NumberType type, int k) {
  const PanelKernel& kernel = kernel_of(type, Packing::kPlain);
  const auto row = static_cast<std::size_t>(
                       std::min(units_of(kernel, type, k), block_units(kernel)) * kernel.planes) *
                   kUnitBytes;
  const auto rows =
      static_cast<int>(std::min<std::size_t>(l2_cache_bytes() * 3 / 5 / row, 1 << 20));
  return std::max(kPanelRowUnit, rows);
}

bool has_fast_bytes() { return panel_kernel_of(NumberType::kInt8).fast; }

Chain panel_chain(NumberType type, int rounds) { return panel_kernel_of(type).chain(rounds); }

}  // namespace blip::kernels
