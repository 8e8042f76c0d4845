// Products of bytes by dot products of four (VPDPBUSD) in vectors of 256 bits: AVX-VNNI, and what AVX-512 calls the same.
#include <cassert>
#include <cstring>

#include "kernels/isa_machine.h"
#include "kernels/panel_kernel.h"
#include "kernels/target.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define BLIP_PANEL_INLINE inline __attribute__((always_inline))
#define BLIP_PANEL_FUNCTION

namespace blip::kernels {
namespace {

// Four bytes of x, which are 0 to 255, by four of w.
#define BLIP_VNNI_POLICY(dot_product)                                                                                \
  struct Bytes {                                                                                                     \
    using Sums = __m256i;                                                                                            \
    static constexpr int kLanes = 8, kRows = 6, kPlanes = 1, kParts = 1, kUnitsAtOnce = 1, kValues = 4;               \
    static constexpr bool kSignedRows = false, kPackedRows = false;                                                  \
    static void pack_row(const void*, int, char*, std::size_t) {}                                                            \
    static Sums load(const char* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }              \
    static void store(char* p, Sums sums) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), sums); }              \
    template <int Part>                                                                                              \
    static __m256i column(const char* p) { return load(p); }                                                         \
    template <int Part>                                                                                              \
    static __m256i row(const char* p, std::size_t) {                                                                 \
      std::int32_t unit;                                                                                             \
      std::memcpy(&unit, p, sizeof(unit));                                                                           \
      return _mm256_set1_epi32(unit);                                                                                \
    }                                                                                                                \
    static Sums dot(Sums sums, __m256i x, __m256i w) { return dot_product(sums, x, w); }                             \
    static void renew(__m256i& v) { asm volatile("" : "+x"(v)); }                                                           \
  };

BLIP_TARGET_BEGIN("avx2,fma,avxvnni")
namespace vex {
BLIP_VNNI_POLICY(_mm256_dpbusd_avx_epi32)
#include "kernels/gemm_panels-inl.h"
constexpr PanelKernel kKernel = panel_kernel_of<Bytes>();
}  // namespace vex
BLIP_TARGET_END

BLIP_TARGET_BEGIN("avx2,fma,avx512f,avx512vl,avx512vnni")
namespace evex {
BLIP_VNNI_POLICY(_mm256_dpbusd_epi32)
#include "kernels/gemm_panels-inl.h"
constexpr PanelKernel kKernel = panel_kernel_of<Bytes>();
}  // namespace evex
BLIP_TARGET_END

}  // namespace

const PanelKernel& vnni_panels() { return machine_has_avx_vnni() ? vex::kKernel : evex::kKernel; }

}  // namespace blip::kernels

#else

namespace blip::kernels {

const PanelKernel& vnni_panels() {
  assert(false);
  static const PanelKernel none{};
  return none;
}

}  // namespace blip::kernels

#endif
