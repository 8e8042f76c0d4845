// For ARM's policies of the product over panels: a row's 16 bytes are loaded once, and multiplied
// lane by lane. Included inside a namespace, where functions are compiled for the instructions in
// question.
//
//   P::load_row(p): 16 bytes of a row.
//
//   P::dot_lane<lane>(sums, column, row): the sums with the products added by one lane of the row.

template <class P, int Rows, int Vectors>
struct Lanes {
  static constexpr int kVectors = kPanel / P::kLanes;
  // Whether the next lane's columns fit the registers too, so that processors that execute in order
  // need not wait for them.
  static constexpr bool kAhead = Rows * Vectors + Rows + 2 * Vectors <= 30;
  using Row = decltype(P::load_row(nullptr));
  using Column = decltype(P::template column<0>(nullptr));
  using Sums = typename P::Sums[Rows][Vectors];

  static BLIP_PANEL_INLINE Column load(const PanelBlock& b, const char* panel, int lane, int v) {
    return P::template column<0>(panel + static_cast<std::size_t>(v / kVectors) * b.panel_stride +
                                 static_cast<std::size_t>(lane) * b.unit_stride +
                                 v % kVectors * P::kLanes * 4);
  }

  // columns: the lane's, where they are loaded ahead.
  template <int Lane>
  static BLIP_PANEL_INLINE void add_lane(const PanelBlock& b, const Row (&rows)[Rows],
                                         const char* panel, const Column (&columns)[Vectors],
                                         Sums& sums) {
    Column next[Vectors];
    if constexpr (kAhead && Lane < 3)
      BLIP_ARM_UNROLL for (int v = 0; v < Vectors; ++v) next[v] = load(b, panel, Lane + 1, v);
    BLIP_ARM_UNROLL for (int v = 0; v < Vectors; ++v) {
      const Column column = kAhead ? columns[v] : load(b, panel, Lane, v);
      BLIP_ARM_UNROLL for (int r = 0; r < Rows; ++r) sums[r][v] =
          P::template dot_lane<Lane>(sums[r][v], column, rows[r]);
    }
    if constexpr (Lane < 3) add_lane<Lane + 1>(b, rows, panel, next, sums);
  }

  // Four units, one to a lane.
  static BLIP_PANEL_INLINE void add(const PanelBlock& b, const char* x, const char* panel,
                                    Sums& sums) {
    Row rows[Rows];
    BLIP_ARM_UNROLL for (int r = 0; r < Rows; ++r) rows[r] =
        P::load_row(x + static_cast<std::size_t>(r) * b.ldx);
    Column columns[Vectors];
    if constexpr (kAhead)
      BLIP_ARM_UNROLL for (int v = 0; v < Vectors; ++v) columns[v] = load(b, panel, 0, v);
    add_lane<0>(b, rows, panel, columns, sums);
  }
};
