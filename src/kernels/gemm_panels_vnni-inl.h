// The policies of gemm_panels_vnni.cpp, over its dot_product(sums, unsigned bytes, signed bytes).

// Bytes of x, 0 to 255, by those of w.
struct Bytes : SingleUnits {
  using Sums = __m256i;
  static constexpr int kLanes = 8, kRows = 6, kPlanes = 1, kStep = 4, kParts = 1, kUnitsAtOnce = 1,
                       kValues = 4;
  static constexpr bool kSignedRows = false;
  static constexpr std::nullptr_t pack_row = nullptr;
  static Sums load(const char* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static void store(char* p, Sums sums) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), sums);
  }
  template <int Part>
  static __m256i column(const char* p) {
    return load(p);
  }
  template <int Part>
  static __m256i row(const char* p, std::size_t) {
    std::int32_t unit;
    std::memcpy(&unit, p, sizeof(unit));
    return _mm256_set1_epi32(unit);
  }
  static Sums dot(Sums sums, __m256i x, __m256i w) { return dot_product(sums, x, w); }
  static void renew(__m256i& v) { asm volatile("" : "+x"(v)); }
};

// Queries by keys, both 128 above theirs: the signed factor is x.
struct Keys : Bytes {
  static constexpr bool kRowStarts = true;
  static Sums add(Sums sums, std::int32_t i) {
    return _mm256_add_epi32(sums, _mm256_set1_epi32(i));
  }
  static std::int32_t pack_row(const void* x, int k, char* out, std::size_t) {
    std::int32_t sum = 0;
    for (int i = 0; i < k; ++i) {
      out[i] = static_cast<char>(static_cast<const unsigned char*>(x)[i] ^ 0x80);
      sum += static_cast<signed char>(out[i]);
    }
    return -128 * sum;  // of the keys' 128
  }
  static Sums dot(Sums sums, __m256i x, __m256i w) { return dot_product(sums, w, x); }
};

#include "kernels/gemm_panels-inl.h"

constexpr PanelKernel kBytesKernel = make_panel_kernel<Bytes>(),
                      kKeysKernel = make_panel_kernel<Keys>();
