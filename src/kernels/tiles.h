// The tiles of AMX (x86): eight registers of up to 16 rows x 64 bytes, and products of them.
// Kernels take the instructions as a template argument, so that tests can run them by
// tests/unit/kernels/emulated_tiles.h where there are none.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/gemm.h"

namespace blip::kernels {

// As the instructions read it: shapes of the registers, bytes a row and rows.
struct alignas(64) TileShapes {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t row_bytes[16] = {};
  std::uint8_t rows[16] = {};
};

inline constexpr int kTileRowsMax = 16, kTileBytes = 64;

// The registers' roles in our kernels: 0 to 3 are sums, 4 and 5 rows of the left factor, 6 and 7
// columns of the right one. With two row tiles of `upper` and `lower` rows the sums are 0, 1
// (upper) and 2, 3 (lower); with lower = 0 all four belong to the upper rows.
inline TileShapes tile_shapes(int upper, int lower) {
  TileShapes shapes;
  for (int t = 0; t < 8; ++t) {
    shapes.row_bytes[t] = kTileBytes;
    const bool second = lower > 0 && (t == 2 || t == 3 || t == 5);
    shapes.rows[t] = static_cast<std::uint8_t>(t >= 6 || (lower == 0 && t == 5) ? kTileRowsMax
                                               : second                         ? lower
                                                                                : upper);
  }
  return shapes;
}

#if defined(__x86_64__)
// The instructions themselves. Compilers see neither their registers nor their memory, hence the
// clobbers.
struct HardwareTiles {
  static void configure(const TileShapes& shapes) {
    asm volatile("ldtilecfg %0" ::"m"(shapes) : "memory");
  }
  static void release() { asm volatile("tilerelease" ::: "memory"); }
  template <int T>
  static void zero() {
    asm volatile("tilezero %%tmm%c0" ::"i"(T) : "memory");
  }
  // The four NOPs: where the core's other hardware thread is busy, a load that is followed at once
  // by another instruction of the tiles holds both up (docs/dev/performance.md).
  template <int T>
  static void load(const void* from, std::size_t stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2\n\tnop\n\tnop\n\tnop\n\tnop" ::"r"(from),
                 "r"(stride), "i"(T)
                 : "memory");
  }
  template <int T>
  static void store(void* to, std::size_t stride) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(stride), "i"(T) : "memory");
  }
  // sums C += A B over the 4-byte units of A's rows and B's rows
  template <NumberType type, int C, int A, int B>
  static void dot() {
    if constexpr (type == NumberType::kBf16)
      asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(C), "i"(A), "i"(B) : "memory");
    else
      asm volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(C), "i"(A), "i"(B) : "memory");
  }
};
#endif

}  // namespace blip::kernels
