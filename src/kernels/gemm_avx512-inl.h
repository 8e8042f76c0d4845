// The product's body, included once for each number type with BLIP_GEMM_TYPE (a name) and, in that
// namespace, the vector type Sums with zero(), load(), store() and dot(sums, x, w): sums += x w
// over the 4-byte units of x and w.

// Sums of a register tile: 6 (kTileRows) x 4 of them, 4 columns and a broadcast fill 29 of the 32
// registers. 24 sums hide the 4 cycles of a multiply-add on two ports three times over, and 10
// loads for 24 products leave the load ports half free for prefetching.
constexpr int kTileVectors = 4;
static_assert(kTileVectors * 16 == kColumnBlock);

struct PlainWeights {
  const char* units;
  void load(int unit, __m512i (&column)[kTileVectors]) const {
    const char* row = units + static_cast<std::size_t>(unit) * kUnitRow;
#pragma GCC unroll 4
    for (int v = 0; v < kTileVectors; ++v) column[v] = _mm512_load_si512(row + v * 64);
  }
};

template <int Rows, class Weights>
inline void add_unit(Sums (&sums)[Rows][kTileVectors], const char* x, std::size_t ldx,
                     const Weights& w, int unit) {
  __m512i column[kTileVectors];
  w.load(unit, column);
  x += static_cast<std::size_t>(unit) * 4;
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) {
    std::int32_t values;
    std::memcpy(&values, x + static_cast<std::size_t>(r) * ldx, sizeof(values));
    const __m512i broadcast = _mm512_set1_epi32(values);
#pragma GCC unroll 4
    for (int v = 0; v < kTileVectors; ++v) sums[r][v] = dot(sums[r][v], broadcast, column[v]);
  }
}

// partial[Rows, 64] (+)= x[Rows, units] w[units, 64]; ldx in bytes.
template <int Rows, class Weights>
void tile(int units, const char* x, std::size_t ldx, const Weights& w, bool first, char* partial,
          const Prefetch& fetch) {
  Sums sums[Rows][kTileVectors];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < kTileVectors; ++v)
      sums[r][v] = first ? zero() : load(partial + (r * kTileVectors + v) * 64);
  const char* next = fetch.next;
  int k = 0;
  if (fetch.lines_per_unit > 0) {
    for (; k < units; ++k) {
      for (int line = 0; line < fetch.lines_per_unit; ++line, next += 64)
        _mm_prefetch(next, _MM_HINT_T1);
      add_unit(sums, x, ldx, w, k);
    }
  }
  for (; k + kUnitsPerChunk <= units; k += kUnitsPerChunk) {
    for (int line = 0; line < fetch.lines_per_chunk; ++line, next += 64)
      _mm_prefetch(next, _MM_HINT_T0);
    // a chunk is half a line of each row: the upper rows at even chunks, the others at odd ones
    if (fetch.rows) {
      const char* row = fetch.rows +
                        static_cast<std::size_t>(k / kUnitsPerChunk % 2 ? kTileRows / 2 : 0) * ldx +
                        k * 4;
#pragma GCC unroll 3
      for (int r = 0; r < kTileRows / 2; ++r, row += ldx) _mm_prefetch(row, _MM_HINT_T0);
    }
    for (int u = 0; u < kUnitsPerChunk; ++u) add_unit(sums, x, ldx, w, k + u);
  }
  for (; k < units; ++k) add_unit(sums, x, ldx, w, k);
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < kTileVectors; ++v) store(partial + (r * kTileVectors + v) * 64, sums[r][v]);
}

template <class Weights>
inline void any_tile(int rows, int units, const char* x, std::size_t ldx, const Weights& w,
                     bool first, char* partial, const Prefetch& fetch) {
  switch (rows) {
    case 1:
      return tile<1>(units, x, ldx, w, first, partial, fetch);
    case 2:
      return tile<2>(units, x, ldx, w, first, partial, fetch);
    case 3:
      return tile<3>(units, x, ldx, w, first, partial, fetch);
    case 4:
      return tile<4>(units, x, ldx, w, first, partial, fetch);
    case 5:
      return tile<5>(units, x, ldx, w, first, partial, fetch);
    default:
      return tile<6>(units, x, ldx, w, first, partial, fetch);
  }
}

inline void plain_tile(int rows, int units, const char* x, std::size_t ldx, const StoredWeights& w,
                       bool first, char* partial, const Prefetch& fetch) {
  any_tile(rows, units, x, ldx, PlainWeights{w.units}, first, partial, fetch);
}
