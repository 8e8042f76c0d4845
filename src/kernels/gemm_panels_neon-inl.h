// Policies of gemm_panels_arm.cpp for every 64-bit ARM processor.

struct FloatSums : SingleUnits {
  using Sums = float32x4_t;
  static constexpr int kLanes = 4, kRows = 6, kStep = 4;
  static constexpr bool kSignedRows = false;
  static Sums load(const char* p) { return vld1q_f32(reinterpret_cast<const float*>(p)); }
  static void store(char* p, Sums sums) { vst1q_f32(reinterpret_cast<float*>(p), sums); }
  static Sums dot(Sums sums, Sums row, Sums column) { return vfmaq_f32(sums, column, row); }
  static void renew(Sums& v) { asm volatile("" : "+w"(v)); }
  static Sums load_row(const char* p) { return load(p); }
  template <int Lane>
  static Sums dot_lane(Sums sums, Sums column, Sums row) {
    return vfmaq_laneq_f32(sums, column, row, Lane);
  }
};

struct F32 : FloatSums {
  static constexpr int kPlanes = 1, kParts = 1, kValues = 1, kUnitsAtOnce = 4;
  static constexpr std::nullptr_t pack_row = nullptr;
  template <int Part>
  static Sums column(const char* p) {
    return load(p);
  }
  template <int Part>
  static Sums row(const char* p, std::size_t) {
    return vld1q_dup_f32(reinterpret_cast<const float*>(p));
  }
  template <int Rows, int Vectors>
  static BLIP_PANEL_INLINE void add_units(const PanelBlock& b, const char* x, const char* panel,
                                          Sums (&sums)[Rows][Vectors]) {
    Lanes<F32, Rows, Vectors>::add(b, x, panel, sums);
  }
};

// Two bfloat16s to a unit, converted in registers. The second comes before the first, as AVX-512's
// dot product has it, so that the sums are the same.
struct Bf16 : FloatSums {
  // The converted columns and what converts them take registers too.
  static constexpr int kRows = 4;
  static constexpr int kPlanes = 2, kParts = 2, kStep = 8, kValues = 2, kUnitsAtOnce = 2;
  template <int Part>
  static Sums converted(uint32x4_t units) {
    return vreinterpretq_f32_u32(Part == 0 ? vandq_u32(units, vdupq_n_u32(0xffff0000u))
                                           : vshlq_n_u32(units, 16));
  }
  template <int Part>
  static Sums column(const char* p) {
    return converted<Part>(vld1q_u32(reinterpret_cast<const std::uint32_t*>(p)));
  }
  template <int Part>
  static Sums row(const char* p, std::size_t) {
    return vld1q_dup_f32(reinterpret_cast<const float*>(p + (Part == 0 ? 4 : 0)));
  }
  static std::int32_t pack_row(const void* x, int k, char* out, std::size_t) {
    const auto* values = static_cast<const std::uint16_t*>(x);
    auto* floats = reinterpret_cast<std::uint32_t*>(out);
    for (int i = 0; i < k; ++i) floats[i] = std::uint32_t{values[i]} << 16;
    if (k % 2) floats[k] = 0;
    return 0;
  }
  template <int Unit, int Rows, int Vectors>
  static BLIP_PANEL_INLINE void add_pair(const PanelBlock& b, const Sums (&rows)[Rows],
                                         const char* panel, Sums (&sums)[Rows][Vectors]) {
    constexpr int kVectors = kPanel / kLanes;
    BLIP_ARM_UNROLL for (int p = 0; p < Vectors / kVectors; ++p) {
      uint32x4_t line[kVectors];
      BLIP_ARM_UNROLL for (int i = 0; i < kVectors; ++i) line[i] =
          vld1q_u32(reinterpret_cast<const std::uint32_t*>(
              panel + static_cast<std::size_t>(p) * b.panel_stride + Unit * b.unit_stride +
              i * kLanes * 4));
      BLIP_ARM_UNROLL for (int i = 0; i < kVectors; ++i) {
        const int v = p * kVectors + i;
        const Sums second = converted<0>(line[i]), first = converted<1>(line[i]);
        BLIP_ARM_UNROLL for (int r = 0; r < Rows; ++r) sums[r][v] =
            dot_lane<2 * Unit + 1>(sums[r][v], second, rows[r]);
        BLIP_ARM_UNROLL for (int r = 0; r < Rows; ++r) sums[r][v] =
            dot_lane<2 * Unit>(sums[r][v], first, rows[r]);
      }
    }
  }
  template <int Rows, int Vectors>
  static BLIP_PANEL_INLINE void add_units(const PanelBlock& b, const char* x, const char* panel,
                                          Sums (&sums)[Rows][Vectors]) {
    Sums rows[Rows];
    BLIP_ARM_UNROLL for (int r = 0; r < Rows; ++r) rows[r] =
        load(x + static_cast<std::size_t>(r) * b.ldx);
    add_pair<0>(b, rows, panel, sums);
    add_pair<1>(b, rows, panel, sums);
  }
};

// Products of signed bytes in 16 bits, of which two fit one: x is less 128, 2 x 128 x 127.
struct ByteProducts : SingleUnits {
  static constexpr int kLanes = 4, kPlanes = 1, kParts = 1;
  static constexpr bool kSignedRows = true;
  static int32x4_t load_sums(const char* p) {
    return vld1q_s32(reinterpret_cast<const std::int32_t*>(p));
  }
  static void store_sums(char* p, int32x4_t sums) {
    vst1q_s32(reinterpret_cast<std::int32_t*>(p), sums);
  }
  static int8x16_t bytes(const char* p) {
    return vld1q_s8(reinterpret_cast<const std::int8_t*>(p));
  }
  static int8x16_t broadcast(const char* p) {
    return vreinterpretq_s8_s32(vld1q_dup_s32(reinterpret_cast<const std::int32_t*>(p)));
  }
};

// Two units at a time: the second's products are added to the first's, then neighbours to one of
// two sums of each column. Six instructions for 32 products; of one unit at a time it takes eight.
// The sums take twice the registers, 16 for 2 rows, beside 8 of columns.
struct Bytes : ByteProducts {
  static constexpr int kLines = 2, kRows = 2, kFewRows = 1, kStep = 8, kValues = 8,
                       kUnitsAtOnce = 2;
  struct Pair {
    int8x16_t first, second;
  };
  struct Sums {
    int32x4_t low, high;  // of columns 0, 0, 1, 1 and 2, 2, 3, 3
  };
  static Sums split(int32x4_t sums) {
    const int32x4_t zero = vdupq_n_s32(0);
    return {vzip1q_s32(sums, zero), vzip2q_s32(sums, zero)};
  }
  static Sums load(const char* p) { return split(load_sums(p)); }
  static void store(char* p, const Sums& sums) { store_sums(p, vpaddq_s32(sums.low, sums.high)); }
  template <int Part>
  static Pair column(const char* p) {
    return {bytes(p), bytes(p + kPanelUnit)};
  }
  template <int Part>
  static Pair row(const char* p, std::size_t) {
    return {broadcast(p), broadcast(p + 4)};
  }
  static Sums dot(const Sums& sums, const Pair& x, const Pair& w) {
    const int16x8_t low = vmull_s8(vget_low_s8(x.first), vget_low_s8(w.first)),
                    high = vmull_high_s8(x.first, w.first);
    return {
        vpadalq_s16(sums.low, vmlal_s8(low, vget_low_s8(x.second), vget_low_s8(w.second))),
        vpadalq_s16(sums.high, vmlal_high_s8(high, x.second, w.second)),
    };
  }
  // The same for two vectors of columns, so that what needs a result comes four instructions after
  // it for processors that execute in order.
  static BLIP_PANEL_INLINE void dots(Sums& sums, Sums& more, const Pair& x, const Pair& w,
                                     const Pair& v) {
    int16x8_t products[4] = {
        vmull_s8(vget_low_s8(x.first), vget_low_s8(w.first)), vmull_high_s8(x.first, w.first),
        vmull_s8(vget_low_s8(x.first), vget_low_s8(v.first)), vmull_high_s8(x.first, v.first)};
    products[0] = vmlal_s8(products[0], vget_low_s8(x.second), vget_low_s8(w.second));
    products[1] = vmlal_high_s8(products[1], x.second, w.second);
    products[2] = vmlal_s8(products[2], vget_low_s8(x.second), vget_low_s8(v.second));
    products[3] = vmlal_high_s8(products[3], x.second, v.second);
    sums = {vpadalq_s16(sums.low, products[0]), vpadalq_s16(sums.high, products[1])};
    more = {vpadalq_s16(more.low, products[2]), vpadalq_s16(more.high, products[3])};
  }
  template <int Rows, int Vectors>
  static BLIP_PANEL_INLINE void add_units(const PanelBlock& b, const char* x, const char* panel,
                                          Sums (&sums)[Rows][Vectors]) {
    constexpr int kVectors = kPanel / kLanes;
    BLIP_ARM_UNROLL for (int u = 0; u < kUnitsAtOnce; ++u) {
      Pair rows[Rows];
      BLIP_ARM_UNROLL for (int r = 0; r < Rows; ++r) rows[r] =
          row<0>(x + static_cast<std::size_t>(r) * b.ldx + u * kStep, 0);
      BLIP_ARM_UNROLL for (int v = 0; v < Vectors; v += 2) {
        const char* p = panel + static_cast<std::size_t>(v / kVectors) * b.panel_stride +
                        static_cast<std::size_t>(u) * b.unit_stride + v % kVectors * kLanes * 4;
        const Pair first = column<0>(p), second = column<0>(p + kLanes * 4);
        BLIP_ARM_UNROLL for (int r = 0; r < Rows; ++r)
            dots(sums[r][v], sums[r][v + 1], rows[r], first, second);
      }
    }
  }
  static void renew(Sums& v) { asm volatile("" : "+w"(v.low), "+w"(v.high)); }
  static void renew(Pair& v) { asm volatile("" : "+w"(v.first), "+w"(v.second)); }
  static std::int32_t pack_row(const void* x, int k, char* out, std::size_t) {
    pack_signed(x, k, out, 8, whole_values(k, kValues));
    return 0;
  }
};

// Keys are kept 128 above theirs, and their units are as far apart as there are keys: one by one.
struct Keys : ByteProducts {
  using Sums = int32x4_t;
  static constexpr int kRows = 4, kStep = 4, kValues = 4, kUnitsAtOnce = 1;
  static Sums load(const char* p) { return load_sums(p); }
  static void store(char* p, Sums sums) { store_sums(p, sums); }
  template <int Part>
  static int8x16_t column(const char* p) {
    return veorq_s8(bytes(p), vdupq_n_s8(-128));
  }
  template <int Part>
  static int8x16_t row(const char* p, std::size_t) {
    return broadcast(p);
  }
  static Sums dot(Sums sums, int8x16_t x, int8x16_t w) {
    const int16x8_t low = vmull_s8(vget_low_s8(x), vget_low_s8(w)), high = vmull_high_s8(x, w);
    return vpadalq_s16(sums, vpaddq_s16(low, high));
  }
  template <class V>
  static void renew(V& v) {
    asm volatile("" : "+w"(v));
  }
  static std::int32_t pack_row(const void* x, int k, char* out, std::size_t) {
    pack_signed(x, k, out, 8, whole_values(k, kValues));
    return 0;
  }
};
