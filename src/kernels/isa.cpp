#include "kernels/isa.h"

#include <array>
#include <cstdlib>
#include <hwy/highway.h>
#include <hwy/targets.h>
#include <oneapi/dnnl/dnnl.hpp>
#include <string>

#include "blip/error.h"

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
  const char* name;
  dnnl::cpu_isa onednn;
  std::int64_t highway;  // the best target allowed
};

constexpr std::array<Level, 6> kLevels{{
    {Isa::kBaseline, "baseline", dnnl::cpu_isa::sse41, kSse4},
    {Isa::kAvx2, "avx2", dnnl::cpu_isa::avx2, kAvx2},
    {Isa::kAvx512, "avx512", dnnl::cpu_isa::avx512_core, kAvx3},
    {Isa::kAvx512Vnni, "avx512_vnni", dnnl::cpu_isa::avx512_core_vnni, kAvx3Dl},
    {Isa::kAvx512Bf16, "avx512_bf16", dnnl::cpu_isa::avx512_core_bf16, 1},
    {Isa::kAmx, "amx", dnnl::cpu_isa::avx512_core_amx, 1},
}};

// oneDNN asks the processor, and the system for leave to use AMX; within its own limit.
Isa find() {
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

Isa force(const std::string& name) {
  std::string names;
  for (const Level& level : kLevels) {
    names += (names.empty() ? "" : ", ") + std::string(level.name);
    if (level.name != name) continue;
    dnnl::set_max_cpu_isa(level.onednn);
    const Isa found = find();
    if (found < level.isa)
      throw Error(ErrorCode::kUsage, std::string(kForceIsaVariable) + "=" + name + ": this machine lacks it, its best is " + to_string(found));
    if (found > level.isa) throw Error(ErrorCode::kUsage, std::string(kForceIsaVariable) + " must be set before the first model is loaded");
    hwy::DisableTargets(level.highway - 1);
    return found;
  }
  throw Error(ErrorCode::kUsage, std::string(kForceIsaVariable) + "=" + name + " is unknown; use one of " + names);
}

}  // namespace

const char* to_string(Isa isa) { return kLevels[static_cast<std::size_t>(isa)].name; }

Isa isa() {
  static const Isa chosen = [] {
    // NOLINTNEXTLINE(concurrency-mt-unsafe): nothing here writes the environment.
    const char* name = std::getenv(kForceIsaVariable);
    return name && *name ? force(name) : find();
  }();
  return chosen;
}

}  // namespace blip::kernels
