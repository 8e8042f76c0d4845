// Which vector instructions may be used: what the machine has, or less where $BLIP_FORCE_ISA says
// so.
#pragma once

namespace blip::kernels {

inline constexpr const char* kForceIsaVariable = "BLIP_FORCE_ISA";

// kBaseline is what every machine has: SSE4 on x86-64, NEON on ARM64, the portable code elsewhere.
// Those of x86-64: each includes those before it, but for kAvx2Vnni, which those after it do
// without. Those of ARM64 likewise: NEON, dot products of four bytes (SDOT), matrix products of
// bytes (SMMLA), of bfloat16 (BFMMLA).
enum class Isa {
  kBaseline,
  kAvx2,
  kAvx2Vnni,
  kAvx512,
  kAvx512Vnni,
  kAvx512Bf16,
  kAmx,
  kNeon,
  kDotProd,
  kI8mm,
  kNeonBf16,
};

// As in $BLIP_FORCE_ISA: "baseline", "avx2", "avx2_vnni", "avx512", "avx512_vnni", "avx512_bf16",
// "amx", "neon", "dotprod", "i8mm", "bf16".
const char* to_string(Isa isa);

// Found once, at the first call, which must come before any kernel runs (a model's loading sees to
// it). Throws Error(kUsage) where $BLIP_FORCE_ISA is no name of one, or of one the machine lacks.
Isa isa();
// wanted: not kAvx2Vnni.
inline bool has_isa(Isa wanted) {
  const bool arm = isa() >= Isa::kNeon;
  return arm == (wanted >= Isa::kNeon) && isa() >= wanted;
}

}  // namespace blip::kernels
