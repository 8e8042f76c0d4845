// Which vector instructions may be used: what the machine has, or less where $BLIP_FORCE_ISA says
// so.
#pragma once

namespace blip::kernels {

inline constexpr const char* kForceIsaVariable = "BLIP_FORCE_ISA";

// Each includes those before it, but for kAvx2Vnni, which those after it do without. kBaseline:
// SSE4 on x86-64, NEON on ARM64, the portable code elsewhere.
enum class Isa { kBaseline, kAvx2, kAvx2Vnni, kAvx512, kAvx512Vnni, kAvx512Bf16, kAmx };

// As in $BLIP_FORCE_ISA: "baseline", "avx2", "avx2_vnni", "avx512", "avx512_vnni", "avx512_bf16",
// "amx".
const char* to_string(Isa isa);

// Found once, at the first call, which must come before any kernel runs (a model's loading sees to
// it). Throws Error(kUsage) where $BLIP_FORCE_ISA is no name of one, or of one the machine lacks.
Isa isa();
// wanted: not kAvx2Vnni.
inline bool has_isa(Isa wanted) { return isa() >= wanted; }

}  // namespace blip::kernels
