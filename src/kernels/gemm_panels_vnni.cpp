// Products of bytes by dot products of four (VPDPBUSD) in vectors of 256 bits: AVX-VNNI, and what
// AVX-512 calls the same.
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

BLIP_TARGET_BEGIN("avx2,fma,avxvnni")
namespace vex {
inline __m256i dot_product(__m256i sums, __m256i bytes, __m256i by) {
  return _mm256_dpbusd_avx_epi32(sums, bytes, by);
}
#include "kernels/gemm_panels_vnni-inl.h"
}  // namespace vex
BLIP_TARGET_END

BLIP_TARGET_BEGIN("avx2,fma,avx512f,avx512vl,avx512vnni")
namespace evex {
inline __m256i dot_product(__m256i sums, __m256i bytes, __m256i by) {
  return _mm256_dpbusd_epi32(sums, bytes, by);
}
#include "kernels/gemm_panels_vnni-inl.h"
}  // namespace evex
BLIP_TARGET_END

}  // namespace

const PanelKernel& vnni_panels() {
  return machine_has_avx_vnni() ? vex::kBytesKernel : evex::kBytesKernel;
}
const PanelKernel& vnni_keys() {
  return machine_has_avx_vnni() ? vex::kKeysKernel : evex::kKeysKernel;
}

}  // namespace blip::kernels

#else

namespace blip::kernels {
namespace {

const PanelKernel& none() {
  assert(false);
  static const PanelKernel kernel{};
  return kernel;
}

}  // namespace

const PanelKernel& vnni_panels() { return none(); }
const PanelKernel& vnni_keys() { return none(); }

}  // namespace blip::kernels

#endif
