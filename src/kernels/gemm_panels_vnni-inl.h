// The policies of gemm_panels_vnni.cpp, over its vectors of integers (Vector) and dot_product(sums,
// unsigned bytes, signed bytes).

// Bytes of x, 0 to 255, by those of w. 6 x 2 sums of a panel in 16 registers; 12 of each of two
// panels in 32.
struct Bytes : SingleUnits {
  using Sums = Vector;
  static constexpr int kLanes = sizeof(Vector) / 4;
  static constexpr bool kWide = kLanes == kPanel;
  static constexpr int kRows = kWide ? 12 : 6, kPlanes = 1, kStep = 4, kParts = 1, kUnitsAtOnce = 1,
                       kValues = 4, kFewRows = kWide ? kAnyRows : SingleUnits::kFewRows;
  static constexpr bool kSignedRows = false;
  static constexpr std::nullptr_t pack_row = nullptr;
  static Sums load(const char* p) {
    Sums sums;
    std::memcpy(&sums, p, sizeof sums);
    return sums;
  }
  static void store(char* p, Sums sums) { std::memcpy(p, &sums, sizeof sums); }
  template <int Part>
  static Vector column(const char* p) {
    return load(p);
  }
  template <int Part>
  static Vector row(const char* p, std::size_t) {
    std::int32_t unit;
    std::memcpy(&unit, p, sizeof(unit));
    return Vector{} + unit;
  }
  static Sums dot(Sums sums, Vector x, Vector w) { return dot_product(sums, x, w); }
  static void renew(Vector& v) { asm volatile("" : "+v"(v)); }
};

// Queries by keys, both 128 above theirs: the signed factor is x.
struct Keys : Bytes {
  static constexpr bool kRowStarts = true;
  static Sums add(Sums sums, std::int32_t i) { return sums + i; }
  static std::int32_t pack_row(const void* x, int k, char* out, std::size_t) {
    std::int32_t sum = 0;
    for (int i = 0; i < k; ++i) {
      out[i] = static_cast<char>(static_cast<const unsigned char*>(x)[i] ^ 0x80);
      sum += static_cast<signed char>(out[i]);
    }
    return -128 * sum;  // of the keys' 128
  }
  static Sums dot(Sums sums, Vector x, Vector w) { return dot_product(sums, w, x); }
};

#include "kernels/gemm_panels-inl.h"

constexpr PanelKernel kBytesKernel = make_panel_kernel<Bytes>(),
                      kKeysKernel = make_panel_kernel<Keys>();
