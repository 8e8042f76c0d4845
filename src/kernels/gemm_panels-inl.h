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
//   P::add(sums, i): the sums with the integer i added to all, where P::kRowStarts says so.
//
//   P::kRows: rows of a register tile.
//
//   P::kStep: bytes from one unit of x to the next, 4 or 8.
//
//   P::kUnitsAtOnce: 1, or units that P::add_units takes at a time.
//
//   P::kFewRows, P::kGroup, P::kLines, P::kJoined: as in PanelKernel; SingleUnits has those of
//   most. Where kGroup is 2, a vector of sums is of both rows, "row" below means a group, and
//   P::load and P::store take the bytes from one row of it to the next.
//
//   P::pack_row, P::kSignedRows, P::kPaired: as in PanelKernel. Where kPaired, P::dot_pair(sums,
//   row, column, row, column): the products of two units.
//
//   P::renew: see chain_panels.

#define BLIP_UNROLL _Pragma("GCC unroll 16")

template <class P>
constexpr int kPanelVectors = kPanel / P::kLanes;
// Bytes of a vector of units.
template <class P>
constexpr int kVectorBytes = P::kLanes * 4 * (P::kJoined ? P::kLines : 1);

template <class P, int Rows, int Vectors>
using TileSums = typename P::Sums[Rows][Vectors];

template <class P, int Part, int Rows, int Panels>
BLIP_PANEL_INLINE void add_part(const PanelBlock& b, const char* x, const char* panel,
                                TileSums<P, Rows, Panels * kPanelVectors<P>>& sums) {
  constexpr int kVectors = kPanelVectors<P>, kAll = Panels * kVectors;
  decltype(P::template column<Part>(panel)) column[kAll];
  BLIP_UNROLL for (int v = 0; v < kAll; ++v) column[v] =
      P::template column<Part>(panel + static_cast<std::size_t>(v / kVectors) * b.panel_stride +
                               v % kVectors * kVectorBytes<P>);
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

// P::kUnitsAtOnce of them.
template <class P, int Rows, int Panels>
BLIP_PANEL_INLINE void add_step(const PanelBlock& b, const char*& x, const char*& panel,
                                TileSums<P, Rows, Panels * kPanelVectors<P>>& sums) {
  if constexpr (P::kUnitsAtOnce > 1)
    P::template add_units<Rows, Panels * kPanelVectors<P>>(b, x, panel, sums);
  else
    add_unit<P, Rows, Panels>(b, x, panel, sums);
  x += P::kUnitsAtOnce * P::kStep;
  panel += P::kUnitsAtOnce * b.unit_stride;
}

template <class P, int Rows, int Panels>
BLIP_PANEL_INLINE void add_units(const PanelBlock& b, int units, const char*& x, const char*& panel,
                                 TileSums<P, Rows, Panels * kPanelVectors<P>>& sums) {
  if constexpr (P::kUnitsAtOnce > 1)
    for (; units >= P::kUnitsAtOnce; units -= P::kUnitsAtOnce)
      add_step<P, Rows, Panels>(b, x, panel, sums);
  for (; units > 0; --units, x += P::kStep, panel += b.unit_stride)
    add_unit<P, Rows, Panels>(b, x, panel, sums);
}

// What a vector of sums begins with.
template <class P>
BLIP_PANEL_INLINE typename P::Sums first_sums(const PanelBlock& b, int row, int v) {
  constexpr int kVectors = kPanelVectors<P>;
  const auto at = [](int i) { return static_cast<std::size_t>(i) * P::kLanes * 4; };
  const auto start = [&] {
    return b.start + static_cast<std::size_t>(v / kVectors) * b.start_stride + at(v % kVectors);
  };
  const char* sums = b.sums + static_cast<std::size_t>(row) * b.lds + at(v);
  if constexpr (P::kRowStarts)
    return b.start ? P::add(P::load(start()), b.row_starts[row]) : P::load(sums);
  else if constexpr (P::kGroup > 1)
    return b.start ? P::load(start(), 0) : P::load(sums, b.lds);
  else
    return b.start ? P::load(start()) : P::load(sums);
}

template <class P>
BLIP_PANEL_INLINE void store_sums(const PanelBlock& b, int row, int v,
                                  const typename P::Sums& sums) {
  char* to =
      b.sums + static_cast<std::size_t>(row) * b.lds + static_cast<std::size_t>(v) * P::kLanes * 4;
  if constexpr (P::kGroup > 1)
    P::store(to, b.lds, sums);
  else
    P::store(to, sums);
}

// Units between two bursts of fetching: a line of a row.
constexpr int kChunk = 16;
// Lines of a row or group that go with them.
template <class P>
constexpr int kRowLines = P::kStep > 4 ? kChunk* P::kStep / 64 : P::kPlanes;

// Rows `first` to first + Rows * P::kGroup of the block.
template <class P, int Rows, int Panels>
BLIP_PANEL_INLINE void panel_tile(const PanelBlock& b, int first, const char* next) {
  constexpr int kVectors = kPanelVectors<P>, kAll = Panels * kVectors;
  TileSums<P, Rows, kAll> sums;
  BLIP_UNROLL for (int r = 0; r < Rows; ++r) BLIP_UNROLL for (int v = 0; v < kAll; ++v) sums[r][v] =
      first_sums<P>(b, first + r * P::kGroup, v);
  const char *x = b.x + static_cast<std::size_t>(first / P::kGroup) * b.ldx, *panel = b.panel;
  int units = b.units;
  if (b.ahead && first == 0) {
    constexpr int kLines = P::kUnitsAtOnce * P::kLines;
    for (; units >= P::kUnitsAtOnce; units -= P::kUnitsAtOnce) {
      BLIP_UNROLL for (int p = 0; p < Panels; ++p) BLIP_UNROLL for (int i = 0; i < kLines; ++i)
          __builtin_prefetch(panel + static_cast<std::size_t>(p) * b.panel_stride + b.ahead +
                                 static_cast<std::size_t>(i) * kPanelUnit,
                             0, 2);
      add_step<P, Rows, Panels>(b, x, panel, sums);
    }
  }
  for (; units >= kChunk; units -= kChunk) {
    if (next) {
      __builtin_prefetch(next, 0, 2);
      next += kPanelUnit;
      for (int p = 0; p < kRowLines<P>; ++p)
        BLIP_UNROLL for (int r = 0; r < Rows; ++r)
            __builtin_prefetch(x + static_cast<std::size_t>(Rows + r) * b.ldx +
                                   static_cast<std::size_t>(p) * (P::kStep == 4 ? b.plane : 64),
                               0, 3);
    }
    add_units<P, Rows, Panels>(b, kChunk, x, panel, sums);
  }
  add_units<P, Rows, Panels>(b, units, x, panel, sums);
  BLIP_UNROLL for (int r = 0; r < Rows; ++r) BLIP_UNROLL for (int v = 0; v < kAll; ++v)
      store_sums<P>(b, first + r * P::kGroup, v, sums[r][v]);
}

// Two units of the panel, by those of x at x_first and x_second.
template <class P, int Rows>
BLIP_PANEL_INLINE void add_pair(const PanelBlock& b, const char* x_first, const char* x_second,
                                const char* panel, TileSums<P, Rows, kPanelVectors<P>>& sums) {
  BLIP_UNROLL for (int r = 0; r < Rows; ++r) {
    const std::size_t at = static_cast<std::size_t>(r) * b.ldx;
    const auto first = P::template row<0>(x_first + at, b.plane),
               second = P::template row<0>(x_second + at, b.plane);
    BLIP_UNROLL for (int v = 0; v < kPanelVectors<P>; ++v) {
      const char* column = panel + v * kVectorBytes<P>;
      sums[r][v] = P::dot_pair(sums[r][v], first, P::template column<0>(column), second,
                               P::template column<0>(column + b.unit_stride));
    }
  }
}

// panel_tile of a paired kernel.
template <class P, int Rows>
BLIP_PANEL_INLINE void paired_tile(const PanelBlock& b, int first, const char* next) {
  constexpr int kVectors = kPanelVectors<P>;
  TileSums<P, Rows, kVectors> sums;
  BLIP_UNROLL for (int r = 0; r < Rows; ++r) BLIP_UNROLL for (int v = 0; v < kVectors; ++v)
      sums[r][v] = first_sums<P>(b, first + r, v);
  const char *x = b.x + static_cast<std::size_t>(first) * b.ldx, *panel = b.panel;
  const auto unit_of_x = [&](int i) { return x + static_cast<std::size_t>(b.order[i]) * P::kStep; };
  const bool ahead = b.ahead && first == 0;
  for (int i = 0; i < 2 * b.pairs; i += 2, panel += 2 * b.unit_stride) {
    if (ahead) {
      __builtin_prefetch(panel + b.ahead, 0, 2);
      __builtin_prefetch(panel + b.ahead + kPanelUnit, 0, 2);
    } else if (next && i % kChunk == 0) {
      __builtin_prefetch(next + static_cast<std::size_t>(i / kChunk) * kPanelUnit, 0, 2);
      for (int p = 0; p < P::kPlanes; ++p)
        BLIP_UNROLL for (int r = 0; r < Rows; ++r) __builtin_prefetch(
            x + static_cast<std::size_t>(Rows + r) * b.ldx + static_cast<std::size_t>(p) * b.plane +
                static_cast<std::size_t>(i) * P::kStep,
            0, 3);
    }
    add_pair<P, Rows>(b, unit_of_x(i), unit_of_x(i + 1), panel, sums);
  }
  for (int i = 2 * b.pairs; i < b.units; ++i, panel += b.unit_stride) {
    if (ahead) __builtin_prefetch(panel + b.ahead, 0, 2);
    add_unit<P, Rows, 1>(b, unit_of_x(i), panel, sums);
  }
  BLIP_UNROLL for (int r = 0; r < Rows; ++r) BLIP_UNROLL for (int v = 0; v < kVectors; ++v)
      store_sums<P>(b, first + r, v, sums[r][v]);
}

// Rows: groups of them.
template <class P, int Rows>
BLIP_PANEL_FUNCTION void panel_rows(const PanelBlock& b, int first, const char* next) {
  if constexpr (P::kPaired)
    paired_tile<P, Rows>(b, first, next);
  else if constexpr (Rows * P::kGroup <= P::kFewRows)
    b.panels == 2 ? panel_tile<P, Rows, 2>(b, first, next) : panel_tile<P, Rows, 1>(b, first, next);
  else
    panel_tile<P, Rows, 1>(b, first, next);
}

// The same of `groups`, 0 to Rows.
template <class P, int Rows>
BLIP_PANEL_FUNCTION void last_rows(const PanelBlock& b, int first, int groups) {
  if constexpr (Rows > 0)
    groups == Rows ? panel_rows<P, Rows>(b, first, nullptr)
                   : last_rows<P, Rows - 1>(b, first, groups);
}

template <class P>
BLIP_PANEL_FUNCTION void multiply_panels(const PanelBlock& b) {
  constexpr int kGroups = P::kRows / P::kGroup;
  int first = 0;
  const char* next = b.next;
  for (; first + P::kRows <= b.rows; first += P::kRows) {
    panel_rows<P, kGroups>(b, first, next);
    if (next) next += static_cast<std::size_t>(b.units / kChunk) * kPanelUnit;
  }
  constexpr int kLast = P::kGroup == 1 ? kGroups - 1 : kGroups;  // an incomplete group is one too
  last_rows<P, kLast>(b, first, (b.rows - first + P::kGroup - 1) / P::kGroup);
}

// A tile's products of what is in registers. P::renew makes compilers take a vector for new.
template <class P>
BLIP_PANEL_FUNCTION Chain chain_panels(int rounds) {
  constexpr int kVectors = kPanelVectors<P>, kRows = P::kRows / P::kGroup;
  alignas(64) char memory[2 * kPanelUnit] = {};
  asm volatile("" ::"r"(memory) : "memory");
  TileSums<P, kRows, kVectors> sums;
  BLIP_UNROLL for (int r = 0; r < kRows; ++r) BLIP_UNROLL for (int v = 0; v < kVectors; ++v)
      P::renew(sums[r][v] = P::load(memory));
  const auto row = P::template row<0>(memory, kPanelUnit);
  auto column = P::template column<0>(memory);
  for (int i = 0; i < rounds; ++i) {
    BLIP_UNROLL for (int r = 0; r < kRows; ++r) BLIP_UNROLL for (int v = 0; v < kVectors; ++v) {
      P::renew(column);
      if constexpr (P::kPaired) {
        auto second = column;
        P::renew(second);
        sums[r][v] = P::dot_pair(sums[r][v], row, column, row, second);
      } else {
        sums[r][v] = P::dot(sums[r][v], row, column);
      }
    }
  }
  float sum = 0;
  BLIP_UNROLL for (int r = 0; r < kRows; ++r) BLIP_UNROLL for (int v = 0; v < kVectors; ++v) {
    P::store(memory, sums[r][v]);
    sum += static_cast<float>(memory[0]);
  }
  return {sum, P::kRows * kPanel * P::kValues * (P::kPaired ? 2 : 1) / P::kParts};
}

template <class P>
constexpr PanelKernel make_panel_kernel() {
  return {P::kRows,   P::kFewRows, P::kGroup,          P::kLines,      P::kJoined,
          P::kPlanes, P::kStep,    P::kParts < 4,      P::kSignedRows, P::kRowStarts,
          P::kPaired, P::pack_row, multiply_panels<P>, chain_panels<P>};
}

#undef BLIP_UNROLL
