// Matrix products over panels (gemm_panels.h): one body for every instruction set, over what each
// makes of a unit.
#include "kernels/gemm_panels.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "core/aligned.h"
#include "core/vector_targets.h"  // before Highway
#include "kernels/gemm_finish.h"
#include "kernels/isa.h"
#include "kernels/narrow_bf16.h"
#include "kernels/panel_kernel.h"
#include "kernels/read_ahead.h"
#include "kernels/vector.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/gemm_panels.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace blip::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#define BLIP_PANEL_INLINE HWY_INLINE
#define BLIP_PANEL_FUNCTION

// On processors with AVX-512 this serves what its own product has no instructions for, by AVX2's
// vectors.
using Floats = HWY_CAPPED(float, HWY_ARCH_X86 ? 8 : kPanel);
using Words = hn::RebindToUnsigned<Floats>;
using Integers = hn::RebindToSigned<Floats>;
constexpr int kVectorLanes = static_cast<int>(hn::MaxLanes(Floats()));

// Rows that share a panel's loads. Their sums hide the latency of a multiply-add, 4 cycles on two
// ports, from 8 on, and must fit the registers beside a row of the panel and the rows' values: 4 x
// 4 of NEON's 32, 6 x 2 of AVX2's 16, 3 x 4 of SSE4's.
#if HWY_ARCH_X86
constexpr int kTileRows = kVectorLanes >= 8 ? 6 : 3;
#else
constexpr int kTileRows = 4;
#endif

// Nothing that compilers know of the vector stays so.
template <class V>
HWY_INLINE void renew_vector(V& v) {
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_SSSE3
  asm volatile("" : "+x"(v.raw));
#elif HWY_ARCH_ARM
  asm volatile("" : "+w"(v));
#else
  asm volatile("" : "+m"(v));
#endif
}

struct FloatSums {
  using Sums = hn::Vec<Floats>;
  static constexpr int kLanes = kVectorLanes, kRows = kTileRows, kUnitsAtOnce = 1, kStep = 4;
  static constexpr bool kSignedRows = false;
  static HWY_INLINE Sums load(const char* p) {
    return hn::LoadU(Floats(), reinterpret_cast<const float*>(p));
  }
  static HWY_INLINE void store(char* p, Sums sums) {
    hn::StoreU(sums, Floats(), reinterpret_cast<float*>(p));
  }
  static HWY_INLINE Sums splat(const std::int32_t* p) {
    return hn::Set(Floats(), static_cast<float>(*p));
  }
  static HWY_INLINE Sums dot(Sums sums, Sums row, Sums column) {
    return hn::MulAdd(column, row, sums);
  }
  static HWY_INLINE void renew(Sums& v) { renew_vector(v); }
};

struct F32 : FloatSums {
  static constexpr int kPlanes = 1, kParts = 1, kValues = 1;
  static constexpr std::nullptr_t pack_row = nullptr;
  template <int Part>
  static HWY_INLINE Sums column(const char* p) {
    return load(p);
  }
  template <int Part>
  static HWY_INLINE Sums row(const char* p, std::size_t) {
    return hn::Set(Floats(), *reinterpret_cast<const float*>(p));
  }
#if HWY_TARGET == HWY_NEON
  // NEON multiplies by one lane of a register, so four terms of a row need one load.
  static constexpr int kUnitsAtOnce = 4;

  template <int Term, int Rows, int Vectors>
  static HWY_INLINE void add_lane(const PanelBlock& b, const Sums (&rows)[Rows], const char* panel,
                                  Sums (&sums)[Rows][Vectors]) {
    constexpr int kVectors = kPanel / kLanes;
    _Pragma("GCC unroll 16") for (int v = 0; v < Vectors; ++v) {
      const auto column = load(panel + static_cast<std::size_t>(v / kVectors) * b.panel_stride +
                               Term * b.unit_stride + v % kVectors * kLanes * 4);
      _Pragma("GCC unroll 16") for (int r = 0; r < Rows; ++r) sums[r][v] =
          hn::MulAdd(column, hn::Broadcast<Term>(rows[r]), sums[r][v]);
    }
  }

  template <int Rows, int Vectors>
  static HWY_INLINE void add_units(const PanelBlock& b, const char* x, const char* panel,
                                   Sums (&sums)[Rows][Vectors]) {
    Sums rows[Rows];
    _Pragma("GCC unroll 16") for (int r = 0; r < Rows; ++r) rows[r] =
        load(x + static_cast<std::size_t>(r) * b.ldx);
    add_lane<0>(b, rows, panel, sums);
    add_lane<1>(b, rows, panel, sums);
    add_lane<2>(b, rows, panel, sums);
    add_lane<3>(b, rows, panel, sums);
  }
#endif
};

// Two bfloat16s to a unit, widened in registers: a shift and a mask for as many multiply-adds as
// there are rows. The second comes before the first, as AVX-512's dot product has it, so that the
// sums are the same.
struct Bf16 : FloatSums {
  static constexpr int kPlanes = 2, kParts = 2, kStep = 8, kValues = 2;
  template <int Part>
  static HWY_INLINE Sums column(const char* p) {
    const Words d;
    const auto units = hn::LoadU(d, reinterpret_cast<const std::uint32_t*>(p));
    return hn::BitCast(
        Floats(), Part == 0 ? hn::And(units, hn::Set(d, 0xffff0000u)) : hn::ShiftLeft<16>(units));
  }
  template <int Part>
  static HWY_INLINE Sums row(const char* p, std::size_t) {
    return hn::Set(Floats(), *reinterpret_cast<const float*>(p + (Part == 0 ? 4 : 0)));
  }
  static void pack_row(const void* x, int k, char* out, std::size_t) {
    const auto* values = static_cast<const std::uint16_t*>(x);
    auto* floats = reinterpret_cast<std::uint32_t*>(out);
    for (int i = 0; i < k; ++i) floats[i] = std::uint32_t{values[i]} << 16;
    if (k % 2) floats[k] = 0;
  }
};

// Bytes. Full-range ones saturate in VPMADDUBSW, which adds two products of an unsigned byte and a
// signed one in 16 bits. Less 128, x is -128 to 127; its magnitude times w with x's sign stays
// within 2 x 128 x 127, which fits. Measured in registers on a Xeon with AVX2 alone in use, one
// thread, Gop/s: this 164 to 170, 16-bit products (VPMADDWD, both factors widened beforehand) 165
// to 173, weights in two parts 135 to 141, f32 124 to 127. So it is as fast as widened weights,
// which take twice the cache and have to be widened.
struct Bytes {
  using Sums = hn::Vec<Integers>;
  static constexpr int kLanes = kVectorLanes, kRows = kTileRows, kUnitsAtOnce = 1, kStep = 4,
                       kValues = 4;
  static constexpr bool kSignedRows = true;
  static HWY_INLINE Sums load(const char* p) {
    return hn::LoadU(Integers(), reinterpret_cast<const std::int32_t*>(p));
  }
  static HWY_INLINE void store(char* p, Sums sums) {
    hn::StoreU(sums, Integers(), reinterpret_cast<std::int32_t*>(p));
  }
  static HWY_INLINE Sums splat(const std::int32_t* p) { return hn::Set(Integers(), *p); }
  static HWY_INLINE Sums broadcast(const char* p) {
    std::int32_t unit;
    std::memcpy(&unit, p, sizeof(unit));
    return hn::Set(Integers(), unit);
  }
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_SSSE3
  static constexpr int kPlanes = 2, kParts = 1;
  struct Row {
    Sums value, magnitude;
  };
  template <int Part>
  static HWY_INLINE Sums column(const char* p) {
    return load(p);
  }
  template <int Part>
  static HWY_INLINE Row row(const char* p, std::size_t plane) {
    return {broadcast(p), broadcast(p + plane)};
  }
  static HWY_INLINE Sums dot(Sums sums, const Row& x, Sums w) {
    const auto one = hn::Set(hn::Repartition<std::int16_t, Integers>(), 1);
#if HWY_TARGET <= HWY_AVX2
    const auto pairs = _mm256_maddubs_epi16(x.magnitude.raw, _mm256_sign_epi8(w.raw, x.value.raw));
    return hn::Add(sums, Sums{_mm256_madd_epi16(pairs, one.raw)});
#else
    const auto pairs = _mm_maddubs_epi16(x.magnitude.raw, _mm_sign_epi8(w.raw, x.value.raw));
    return hn::Add(sums, Sums{_mm_madd_epi16(pairs, one.raw)});
#endif
  }
#elif HWY_TARGET == HWY_NEON
  // Products in 16 bits, of which two neighbours fit one: 2 x 128 x 127.
  static constexpr int kPlanes = 1, kParts = 1;
  template <int Part>
  static HWY_INLINE int8x16_t column(const char* p) {
    return vld1q_s8(reinterpret_cast<const std::int8_t*>(p));
  }
  template <int Part>
  static HWY_INLINE int8x16_t row(const char* p, std::size_t) {
    return vreinterpretq_s8_s32(broadcast(p).raw);
  }
  static HWY_INLINE Sums dot(Sums sums, int8x16_t x, int8x16_t w) {
    const int16x8_t low = vmull_s8(vget_low_s8(x), vget_low_s8(w)), high = vmull_high_s8(x, w);
    return Sums(vpadalq_s16(sums.raw, vpaddq_s16(low, high)));
  }
#else
  static constexpr int kPlanes = 1, kParts = 4;  // plain code
  template <int Part>
  static HWY_INLINE Sums part(Sums units) {
    return hn::ShiftRight<24>(hn::ShiftLeft<24 - 8 * Part>(units));
  }
  template <int Part>
  static HWY_INLINE Sums column(const char* p) {
    return part<Part>(load(p));
  }
  template <int Part>
  static HWY_INLINE Sums row(const char* p, std::size_t) {
    return part<Part>(broadcast(p));
  }
  static HWY_INLINE Sums dot(Sums sums, Sums x, Sums w) { return hn::Add(sums, hn::Mul(x, w)); }
#endif
  template <class V>
  static HWY_INLINE void renew(V& v) {
    renew_vector(v);
  }
  static void pack_row(const void* x, int k, char* out, std::size_t plane) {
    const auto* values = static_cast<const std::uint8_t*>(x);
    auto* signs = reinterpret_cast<std::int8_t*>(out);
    for (int i = 0; i < k; ++i) signs[i] = static_cast<std::int8_t>(values[i] ^ 0x80);
    for (int i = k; i % kValues != 0; ++i) signs[i] = 0;
    if constexpr (kPlanes == 2) {
      auto* magnitudes = reinterpret_cast<std::uint8_t*>(out + plane);
      for (int i = 0; i < k; ++i)
        magnitudes[i] = static_cast<std::uint8_t>(std::abs(static_cast<int>(values[i]) - 128));
      for (int i = k; i % kValues != 0; ++i) magnitudes[i] = 0;
    }
  }
};

// Keys are kept 128 above theirs.
struct Keys : Bytes {
  template <int Part>
  static HWY_INLINE auto column(const char* p) {
    const auto bits = hn::Set(Integers(), static_cast<std::int32_t>(0x80808080u));
#if HWY_TARGET == HWY_NEON
    return veorq_s8(Bytes::column<Part>(p), vreinterpretq_s8_s32(bits.raw));
#else
    if constexpr (kParts == 1)
      return hn::Xor(load(p), bits);
    else
      return part<Part>(hn::Xor(load(p), bits));
#endif
  }
};

#include "kernels/gemm_panels-inl.h"

#undef BLIP_PANEL_INLINE
#undef BLIP_PANEL_FUNCTION

const PanelKernel* key_kernel_here() {
  static constexpr PanelKernel kKeys = make_panel_kernel<Keys>();
  return &kKeys;
}

const PanelKernel* panel_kernel(NumberType type) {
  static constexpr PanelKernel kF32 = make_panel_kernel<F32>(), kBf16 = make_panel_kernel<Bf16>(),
                               kInt8 = make_panel_kernel<Bytes>();
  return type == NumberType::kF32 ? &kF32 : type == NumberType::kBf16 ? &kBf16 : &kInt8;
}

}  // namespace blip::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace blip::kernels {
namespace {

HWY_EXPORT(panel_kernel);
HWY_EXPORT(key_kernel_here);

constexpr std::size_t kUnitBytes = 4;
constexpr int kPanels = kColumnBlock / kPanel;
// Units of a panel that all rows pass over before the next: 12 KB, which leaves room for the rows
// in a 32 KB L1 cache.
constexpr int kBlockUnits = 192;

}  // namespace

const PanelKernel& panel_kernel_of(NumberType type) {
  if (type == NumberType::kInt8 && isa() == Isa::kAvx2Vnni) return vnni_panels();
  return *HWY_DYNAMIC_DISPATCH(panel_kernel)(type);
}

const PanelKernel& key_kernel() {
  return isa() == Isa::kAvx2Vnni ? vnni_keys() : *HWY_DYNAMIC_DISPATCH(key_kernel_here)();
}

namespace {

int units_of(NumberType type, int k) {
  return round_up(k * static_cast<int>(size_of(type)), static_cast<int>(kUnitBytes)) /
         static_cast<int>(kUnitBytes);
}

// A panel of bytes begins with what its sums begin with.
std::size_t header_of(NumberType type) { return type == NumberType::kInt8 ? kPanelUnit : 0; }

std::size_t panel_bytes(NumberType type, int k) {
  return header_of(type) + static_cast<std::size_t>(units_of(type, k)) * kPanelUnit;
}

// Rows as the kernel reads them.
struct PackedRows {
  const char* data;
  std::size_t ld, plane;  // bytes
};

// Some rows of the tile. Valid until the calling thread's next call.
PackedRows pack_rows(const GemmTile& t, int first, int count, const PanelKernel& kernel) {
  const NumberType type = t.w->type();
  const std::size_t used = static_cast<std::size_t>(t.w->k()) * size_of(type);
  const std::size_t whole = static_cast<std::size_t>(units_of(type, t.w->k())) * kUnitBytes;
  const char* x = static_cast<const char*>(t.x) + static_cast<std::size_t>(first) * used;
  if (!kernel.pack_row && used == whole) return {x, used, 0};
  static thread_local AlignedArray<char> memory;
  // A line more, so that rows do not lie in the same places of the cache.
  const std::size_t plane = (whole + 63) / 64 * 64,
                    ld = plane * static_cast<std::size_t>(kernel.planes) + 64;
  char* out = memory.reserve(static_cast<std::size_t>(count) * ld);
  for (int r = 0; r < count; ++r, x += used) {
    char* row = out + static_cast<std::size_t>(r) * ld;
    if (kernel.pack_row) {
      kernel.pack_row(x, t.w->k(), row, plane);
    } else {
      std::memset(row + whole - kUnitBytes, 0, kUnitBytes);
      std::memcpy(row, x, used);
    }
  }
  return {out, ld, plane};
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
};

// Units of narrow weights that are widened at a time: 16 KB, which stay in the L1 cache for few
// rows.
constexpr int kWidenedUnits = 64;

Panels panels_of(const Columns& c, int unit, int n) {
  const NumberType type = c.tile.w->type();
  const char* block = static_cast<const char*>(c.tile.w->columns(c.tile.first + c.column));
  if (c.tile.w->packing() == Packing::kNarrow) {
    static thread_local AlignedArray<char> wide;
    const std::size_t stride = static_cast<std::size_t>(n) * kPanelUnit;
    char* out = wide.reserve(kPanels * stride);
    widen_units(reinterpret_cast<const std::byte*>(block), unit, n, {out, stride, kPanelUnit});
    return {out, kZeros, stride, 0};
  }
  const std::size_t header = header_of(type), bytes = panel_bytes(type, c.tile.w->k());
  return {block + header + static_cast<std::size_t>(unit) * kPanelUnit, header ? block : kZeros,
          bytes, header ? bytes : 0};
}

void multiply_columns(const Columns& c, char* sums) {
  const GemmTile& t = c.tile;
  const bool narrow = t.w->packing() == Packing::kNarrow;
  const int units = units_of(t.w->type(), t.w->k()),
            used = (std::min(kColumnBlock, t.n - c.column) + kPanel - 1) / kPanel;
  const bool few = c.count <= c.kernel.rows;  // memory is read from one end to the other
  const int block = !few     ? kBlockUnits
                    : narrow ? kWidenedUnits
                             : units,
            panels_at_once = c.count <= kFewRows && used % 2 == 0 ? 2 : 1;
  for (int unit = 0; unit < units; unit += block) {
    const int n = std::min(block, units - unit);
    const Panels panels = panels_of(c, unit, n);
    for (int p = 0; p < used; p += panels_at_once) {
      const auto panel = static_cast<std::size_t>(p);
      c.kernel.multiply({.rows = c.count,
                         .panels = panels_at_once,
                         .units = n,
                         .x = c.rows.data + static_cast<std::size_t>(unit * c.kernel.step),
                         .ldx = c.rows.ld,
                         .plane = c.rows.plane,
                         .panel = panels.data + panel * panels.stride,
                         .panel_stride = panels.stride,
                         .unit_stride = kPanelUnit,
                         .start = unit == 0 ? panels.starts + panel * panels.start_stride : nullptr,
                         .start_stride = panels.start_stride,
                         .row_starts = nullptr,
                         .sums = sums + panel * kPanel * kUnitBytes,
                         .lds = kColumnBlock * kUnitBytes,
                         .ahead = few && !narrow ? kReadAhead : 0,
                         .next = few ? nullptr : panels.data + (panel + 1) * panels.stride});
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

// Rows whose packed form stays in the L2 cache beside the weights.
int rows_at_once(const GemmTile& t, const PanelKernel& kernel) {
  const std::size_t row = static_cast<std::size_t>(units_of(t.w->type(), t.w->k())) * kUnitBytes *
                          static_cast<std::size_t>(kernel.planes);
  const auto rows = static_cast<int>(std::min<std::size_t>(l2_cache_bytes() / 2 / row, 1 << 20));
  return std::max(kPanelRowUnit, rows / kPanelRowUnit * kPanelRowUnit);
}

}  // namespace

std::size_t panel_block_bytes(NumberType type, int k) { return kPanels * panel_bytes(type, k); }

void pack_panels(NumberType type, int count, int k, const void* rows, void* out) {
  const std::size_t row = static_cast<std::size_t>(k) * size_of(type);
  const bool sums_columns = type == NumberType::kInt8 && panel_kernel_of(type).signed_rows;
  for (int j = 0; j < count; j += kPanel) {
    char* panel =
        static_cast<char*>(out) + static_cast<std::size_t>(j / kPanel) * panel_bytes(type, k);
    const char* from = static_cast<const char*>(rows) + static_cast<std::size_t>(j) * row;
    const int columns = std::min(kPanel, count - j);
    pack_units(from, columns, row, reinterpret_cast<std::uint32_t*>(panel + header_of(type)),
               kPanel);
    if (!sums_columns) continue;
    for (int c = 0; c < columns; ++c, from += row) {
      std::int32_t sum = 0;
      for (int i = 0; i < k; ++i) sum += static_cast<signed char>(from[i]);
      reinterpret_cast<std::int32_t*>(panel)[c] = 128 * sum;
    }
  }
}

void gemm_panels(const GemmTile& t) {
  const PanelKernel& kernel = panel_kernel_of(t.w->type());
  static thread_local AlignedArray<char> sums;
  const int rows = rows_at_once(t, kernel);
  for (int first = 0; first < t.m; first += rows) {
    const int count = std::min(rows, t.m - first);
    const PackedRows packed = pack_rows(t, first, count, kernel);
    char* memory = sums.reserve(static_cast<std::size_t>(count) * kColumnBlock * kUnitBytes);
    for (int column = 0; column < t.n; column += kColumnBlock) {
      fetch_for_finish(t, first, count <= kernel.rows ? count : 0, column);
      multiply_columns({t, kernel, column, first, count, packed}, memory);
    }
  }
}

bool has_fast_bytes() { return panel_kernel_of(NumberType::kInt8).fast; }

Chain panel_chain(NumberType type, int rounds) { return panel_kernel_of(type).chain(rounds); }

}  // namespace blip::kernels
#endif  // HWY_ONCE
