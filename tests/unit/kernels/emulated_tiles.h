// The matrix units' instructions (AMX) as Intel's manual words them, for machines without: one
// thread's eight registers in memory.
#pragma once

#include <cassert>
#include <cmath>
#include <cstring>

#include "kernels/tiles.h"

namespace blip::kernels {

struct EmulatedTiles {
  static inline thread_local TileShapes shapes;
  static inline thread_local bool configured = false;
  static inline thread_local unsigned char data[8][16][64];

  static void configure(const TileShapes& wanted) {
    for (int t = 0; t < 8; ++t)
      assert(wanted.palette == 1 && wanted.rows[t] <= 16 && wanted.row_bytes[t] <= 64 &&
             wanted.row_bytes[t] % 4 == 0);
    shapes = wanted;
    configured = true;
    std::memset(data, 0, sizeof(data));
  }
  static void release() {
    configured = false;
    std::memset(data, 0xee, sizeof(data));
  }
  template <int T>
  static void zero() {
    assert(configured);
    std::memset(data[T], 0, sizeof(data[T]));
  }
  template <int T>
  static void load(const void* from, std::size_t stride) {
    zero<T>();
    for (int r = 0; r < shapes.rows[T]; ++r)
      std::memcpy(data[T][r], static_cast<const char*>(from) + r * stride, shapes.row_bytes[T]);
  }
  template <int T>
  static void store(void* to, std::size_t stride) {
    assert(configured);
    for (int r = 0; r < shapes.rows[T]; ++r)
      std::memcpy(static_cast<char*>(to) + r * stride, data[T][r], shapes.row_bytes[T]);
  }
  template <NumberType type, int C, int A, int B>
  static void dot() {
    const int units = shapes.row_bytes[A] / 4, columns = shapes.row_bytes[B] / 4;
    assert(configured && shapes.rows[C] == shapes.rows[A] && shapes.rows[B] == units &&
           shapes.row_bytes[C] == shapes.row_bytes[B]);
    for (int r = 0; r < shapes.rows[C]; ++r)
      for (int c = 0; c < columns; ++c)
        add<type>(data[C][r] + 4 * c, data[A][r], data[B][0] + 4 * c, units);
  }

 private:
  static float widened(const unsigned char* half) {
    const std::uint32_t bits = static_cast<std::uint32_t>(half[0] | half[1] << 8) << 16;
    float value;
    std::memcpy(&value, &bits, sizeof(value));
    return value;
  }
  // sum += the products of a row's units by a column's: two bfloat16s, of which the even ones and
  // the odd ones are added up by themselves, each product in one rounding with its sum; or four
  // unsigned bytes by signed ones.
  template <NumberType type>
  static void add(unsigned char* sum, const unsigned char* a, const unsigned char* b, int units) {
    if constexpr (type == NumberType::kBf16) {
      float value, part[2] = {0, 0};
      for (int u = 0; u < units; ++u)
        for (int i = 0; i < 2; ++i)
          part[i] = std::fma(widened(a + 4 * u + 2 * i), widened(b + 64 * u + 2 * i), part[i]);
      std::memcpy(&value, sum, 4);
      value += part[0] + part[1];
      std::memcpy(sum, &value, 4);
    } else {
      std::int32_t value;
      std::memcpy(&value, sum, 4);
      for (int u = 0; u < units; ++u)
        for (int i = 0; i < 4; ++i) value += a[4 * u + i] * static_cast<signed char>(b[64 * u + i]);
      std::memcpy(sum, &value, 4);
    }
  }
};

}  // namespace blip::kernels
