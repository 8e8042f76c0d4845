#include <array>
#include <cstdint>
#include <hwy/highway.h>
#include <hwy/targets.h>
#include <oneapi/dnnl/dnnl.hpp>

#include "kernels/isa_machine.h"

namespace blip::kernels {
namespace {

// Highway's targets: the better, the lower the bit. Elsewhere than on x86 it has one.
#if HWY_ARCH_X86
constexpr std::int64_t kSse4 = HWY_SSE4, kAvx2 = HWY_AVX2, kAvx3 = HWY_AVX3, kAvx3Dl = HWY_AVX3_DL;
#else
constexpr std::int64_t kSse4 = 1, kAvx2 = 1, kAvx3 = 1, kAvx3Dl = 1;
#endif

struct Level {
  Isa isa;
  dnnl::cpu_isa onednn;
  std::int64_t highway;  // the best target allowed
};

constexpr std::array<Level, 6> kLevels{{
    {Isa::kBaseline, dnnl::cpu_isa::sse41, kSse4},
    {Isa::kAvx2, dnnl::cpu_isa::avx2, kAvx2},
    {Isa::kAvx512, dnnl::cpu_isa::avx512_core, kAvx3},
    {Isa::kAvx512Vnni, dnnl::cpu_isa::avx512_core_vnni, kAvx3Dl},
    {Isa::kAvx512Bf16, dnnl::cpu_isa::avx512_core_bf16, 1},
    {Isa::kAmx, dnnl::cpu_isa::avx512_core_amx, 1},
}};

}  // namespace

// oneDNN asks the processor, and the system for leave to use AMX; within its own limit.
Isa machine_isa() {
  Isa best = Isa::kBaseline;
#if defined(__x86_64__)
  const unsigned machine = static_cast<unsigned>(dnnl::get_effective_cpu_isa());
  for (const Level& level : kLevels) {
    const unsigned wanted = static_cast<unsigned>(level.onednn);
    if ((machine & wanted) == wanted) best = level.isa;
  }
#endif
  return best;
}

Isa limit_machine(Isa best) {
  const Level& level = kLevels[static_cast<std::size_t>(best)];
  dnnl::set_max_cpu_isa(level.onednn);
  const Isa found = machine_isa();
  if (found == best) hwy::DisableTargets(level.highway - 1);
  return found;
}

}  // namespace blip::kernels
