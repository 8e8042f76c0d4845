// The product over panels, for any number type and instruction set: included, inside a namespace,
// where functions are compiled for the instructions in question. A policy P says how numbers are
// multiplied:
//
//   P::Sums: a vector of sums, of P::kLanes columns.
//
//   P::load, P::store: from and to memory.
//
//   P::kParts: 1, 2 or 4 products that a unit of 4 bytes, P::kValues numbers, is taken apart into.
//
//   P::column<part>(p): a vector of units of the panel.
//
//   P::row<part>(p, plane): a row's unit in all lanes; p is in the first of P::kPlanes copies.
//
//   P::dot(sums, row, column): the sums with the products added.
//
//   P::splat(p): sums that are all the integer at p.
//
//   P::kRows: rows of a register tile.
//
//   P::kStep: bytes from one unit of x to the next, 4 or 8.
//
//   P::kUnitsAtOnce: 1, or units that P::add_units takes at a time.
//
//   P::pack_row, P::kSignedRows: as in PanelKernel. P::renew: see chain_panels.

#define BLIP_UNROLL _Pragma("GCC unroll 16")

template <class P>
constexpr int kPanelVectors = kPanel / P::kLanes;

template <class P, int Rows, int Vectors>
using TileSums = typename P::Sums[Rows][Vectors];

template <class P, int Part, int Rows, int Panels>
BLIP_PANEL_INLINE void add_part(const PanelBlock& b, const char* x, const char* panel,
                                TileSums<P, Rows, Panels * kPanelVectors<P>>& sums) {
  constexpr int kVectors = kPanelVectors<P>, kAll = Panels * kVectors;
  decltype(P::template column<Part>(panel)) column[kAll];
  BLIP_UNROLL for (int v = 0; v < kAll; ++v) column[v] =
      P::template column<Part>(panel + static_cast<std::size_t>(v / kVectors) * b.panel_stride +
                               v % kVectors * P::kLanes * 4);
  BLIP_UNROLL for (int r = 0; r < Rows; ++r) {
    const auto row = P::template row<Part>(x + static_cast<std::size_t>(r) * b.ldx, b.plane);
    BLIP_UNROLL for (int v = 0; v < kAll; ++v) sums[r][v] = P::dot(sums[r][v], row, column[v]);
  }
}

template <class P, int Rows, int Panels>
BLIP_PANEL_INLINE void add_unit(const PanelBlock& b, const char* x, const char* panel,
                                TileSums<P, Rows, Panels * kPanelVectors<P>>& sums) {
  add_part<P, 0, Rows, Panels>(b, x, panel, sums);
  if constexpr (P::kParts > 1) add_part<P, 1, Rows, Panels>(b, x, panel, sums);
  if constexpr (P::kParts > 2) add_part<P, 2, Rows, Panels>(b, x, panel, sums);
  if constexpr (P::kParts > 2) add_part<P, 3, Rows, Panels>(b, x, panel, sums);
}

template <class P, int Rows, int Panels>
BLIP_PANEL_INLINE void add_units(const PanelBlock& b, int units, const char*& x, const char*& panel,
                                 TileSums<P, Rows, Panels * kPanelVectors<P>>& sums) {
  if constexpr (P::kUnitsAtOnce > 1)
    for (; units >= P::kUnitsAtOnce; units -= P::kUnitsAtOnce, x += P::kUnitsAtOnce * 4,
                                     panel += P::kUnitsAtOnce * b.unit_stride)
      P::template add_units<Rows, Panels * kPanelVectors<P>>(b, x, panel, sums);
  for (; units > 0; --units, x += P::kStep, panel += b.unit_stride)
    add_unit<P, Rows, Panels>(b, x, panel, sums);
}

// Units between two bursts of fetching: a line of a row.
constexpr int kChunk = 16;

// Rows `first` to first + Rows of the block.
template <class P, int Rows, int Panels>
BLIP_PANEL_INLINE void panel_tile(const PanelBlock& b, int first, const char* next) {
  constexpr int kVectors = kPanelVectors<P>, kAll = Panels * kVectors;
  TileSums<P, Rows, kAll> sums;
  const auto at = [&](int v) { return static_cast<std::size_t>(v) * P::kLanes * 4; };
  BLIP_UNROLL for (int r = 0; r < Rows; ++r) BLIP_UNROLL for (int v = 0; v < kAll; ++v) sums[r][v] =
      b.row_starts
          ? P::splat(b.row_starts + first + r)
          : P::load(b.start ? b.start + static_cast<std::size_t>(v / kVectors) * b.start_stride +
                                  at(v % kVectors)
                            : b.sums + static_cast<std::size_t>(first + r) * b.lds + at(v));
  const char *x = b.x + static_cast<std::size_t>(first) * b.ldx, *panel = b.panel;
  int units = b.units;
  if (b.ahead) {
    for (; units > 0; --units, x += P::kStep, panel += b.unit_stride) {
      BLIP_UNROLL for (int p = 0; p < Panels; ++p)
          __builtin_prefetch(panel + static_cast<std::size_t>(p) * b.panel_stride + b.ahead, 0, 2);
      add_unit<P, Rows, Panels>(b, x, panel, sums);
    }
  }
  for (; units >= kChunk; units -= kChunk) {
    if (next) {
      __builtin_prefetch(next, 0, 2);
      next += kPanelUnit;
      for (int p = 0; p < P::kPlanes; ++p)
        BLIP_UNROLL for (int r = 0; r < Rows; ++r)
            __builtin_prefetch(x + static_cast<std::size_t>(Rows + r) * b.ldx +
                                   static_cast<std::size_t>(p) * (P::kStep == 4 ? b.plane : 64),
                               0, 3);
    }
    add_units<P, Rows, Panels>(b, kChunk, x, panel, sums);
  }
  add_units<P, Rows, Panels>(b, units, x, panel, sums);
  BLIP_UNROLL for (int r = 0; r < Rows; ++r) BLIP_UNROLL for (int v = 0; v < kAll; ++v)
      P::store(b.sums + static_cast<std::size_t>(first + r) * b.lds + at(v), sums[r][v]);
}

template <class P, int Rows>
BLIP_PANEL_FUNCTION void panel_rows(const PanelBlock& b, int first) {
  if constexpr (Rows > P::kRows)
    return;
  else if constexpr (Rows <= kFewRows)
    b.panels == 2 ? panel_tile<P, Rows, 2>(b, first, nullptr)
                  : panel_tile<P, Rows, 1>(b, first, nullptr);
  else
    panel_tile<P, Rows, 1>(b, first, nullptr);
}

template <class P>
BLIP_PANEL_FUNCTION void multiply_panels(const PanelBlock& b) {
  int first = 0;
  const char* next = b.next;
  for (; first + P::kRows <= b.rows; first += P::kRows) {
    panel_tile<P, P::kRows, 1>(b, first, next);
    if (next) next += static_cast<std::size_t>(b.units / kChunk) * kPanelUnit;
  }
  switch (b.rows - first) {
    case 1:
      return panel_rows<P, 1>(b, first);
    case 2:
      return panel_rows<P, 2>(b, first);
    case 3:
      return panel_rows<P, 3>(b, first);
    case 4:
      return panel_rows<P, 4>(b, first);
    case 5:
      return panel_rows<P, 5>(b, first);
    default:
      return;
  }
}

// A tile's products of what is in registers. P::renew makes compilers take a vector for new.
template <class P>
BLIP_PANEL_FUNCTION Chain chain_panels(int rounds) {
  constexpr int kVectors = kPanelVectors<P>;
  alignas(64) char memory[2 * kPanelUnit] = {};
  asm volatile("" ::"r"(memory) : "memory");
  TileSums<P, P::kRows, kVectors> sums;
  BLIP_UNROLL for (int r = 0; r < P::kRows; ++r) BLIP_UNROLL for (int v = 0; v < kVectors; ++v)
      P::renew(sums[r][v] = P::load(memory));
  const auto row = P::template row<0>(memory, kPanelUnit);
  auto column = P::template column<0>(memory);
  for (int i = 0; i < rounds; ++i) {
    BLIP_UNROLL for (int r = 0; r < P::kRows; ++r) BLIP_UNROLL for (int v = 0; v < kVectors; ++v) {
      P::renew(column);
      sums[r][v] = P::dot(sums[r][v], row, column);
    }
  }
  float sum = 0;
  BLIP_UNROLL for (int r = 0; r < P::kRows; ++r) BLIP_UNROLL for (int v = 0; v < kVectors; ++v) {
    P::store(memory, sums[r][v]);
    sum += static_cast<float>(memory[0]);
  }
  return {sum, P::kRows * kPanel * P::kValues / P::kParts};
}

template <class P>
constexpr PanelKernel make_panel_kernel() {
  return {P::kRows,       P::kPlanes,  P::kStep,           P::kParts < 4,
          P::kSignedRows, P::pack_row, multiply_panels<P>, chain_panels<P>};
}

#undef BLIP_UNROLL
