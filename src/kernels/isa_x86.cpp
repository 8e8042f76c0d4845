// What an x86-64 processor has and the system saves for a process, as CPUID and XGETBV tell it.
#include <cpuid.h>
#include <hwy/highway.h>
#include <hwy/targets.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstdint>

#include "kernels/isa_machine.h"

namespace blip::kernels {
namespace {

constexpr bool has_all(std::uint64_t bits, std::uint64_t wanted) {
  return (bits & wanted) == wanted;
}

constexpr std::uint64_t bit(int i) { return std::uint64_t{1} << i; }

struct Cpuid {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;

  // All zero where the processor has no such leaf.
  explicit Cpuid(unsigned leaf, unsigned subleaf = 0) {
    if (__get_cpuid_count(leaf, subleaf, &eax, &ebx, &ecx, &edx) == 0) eax = ebx = ecx = edx = 0;
  }
};

// The registers that the system saves when it switches threads (XCR0); 0 where it saves none.
std::uint64_t saved_registers() {
  constexpr std::uint64_t kOsxsave = bit(27);
  if (!has_all(Cpuid(1).ecx, kOsxsave)) return 0;
  std::uint32_t low = 0, high = 0;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return std::uint64_t{high} << 32 | low;
}

// Linux gives the tile registers, 8 KB a thread, to those alone who ask.
bool may_use_tiles() {
  constexpr int kRequestPermission = 0x1023, kTileData = 18;
  return ::syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

Isa find_isa() {
  constexpr std::uint64_t kYmm = bit(1) | bit(2), kZmm = kYmm | bit(5) | bit(6) | bit(7);
  constexpr std::uint64_t kTiles = bit(17) | bit(18);
  constexpr std::uint64_t kFma = bit(12), kAvx = bit(28), kF16c = bit(29);  // 1, ECX
  constexpr std::uint64_t kAvx2 = bit(5);                                   // 7, EBX
  constexpr std::uint64_t kAvx512 = bit(16) | bit(17) | bit(30) | bit(31);  // F, DQ, BW, VL: 7, EBX
  constexpr std::uint64_t kVnni = bit(11);                                  // 7, ECX
  constexpr std::uint64_t kAmx = bit(22) | bit(24) | bit(25);  // BF16, TILE, INT8: 7, EDX
  constexpr std::uint64_t kBf16 = bit(5);                      // 7, subleaf 1, EAX
  const Cpuid features(1), extended(7), more(7, 1);
  const std::uint64_t saved = saved_registers();
  if (!has_all(saved, kYmm) || !has_all(features.ecx, kFma | kAvx | kF16c) ||
      !has_all(extended.ebx, kAvx2))
    return Isa::kBaseline;
  if (!has_all(saved, kZmm) || !has_all(extended.ebx, kAvx512))
    return machine_has_avx_vnni() ? Isa::kAvx2Vnni : Isa::kAvx2;
  if (!has_all(extended.ecx, kVnni)) return Isa::kAvx512;
  if (!has_all(more.eax, kBf16)) return Isa::kAvx512Vnni;
  if (!has_all(saved, kTiles) || !has_all(extended.edx, kAmx) || !may_use_tiles())
    return Isa::kAvx512Bf16;
  return Isa::kAmx;
}

}  // namespace

Isa machine_isa() {
  static const Isa isa = find_isa();
  return isa;
}

bool machine_has_avx_vnni() {
  constexpr std::uint64_t kAvxVnni = bit(4);
  static const bool has = has_all(Cpuid(7, 1).eax, kAvxVnni);  // CPUID leaves a virtual machine
  return has;
}

bool machine_has(Isa isa) {
  if (isa == Isa::kAvx2Vnni)
    return machine_isa() >= Isa::kAvx512Vnni || (machine_isa() >= isa && machine_has_avx_vnni());
  return machine_isa() >= isa;
}

void limit_vectors(Isa best) {
  // Highway's targets, in the order of Isa: the better, the lower the bit.
  constexpr std::array<std::int64_t, 7> kTargets{HWY_SSE4,    HWY_AVX2, HWY_AVX2, HWY_AVX3,
                                                 HWY_AVX3_DL, 1,        1};
  hwy::DisableTargets(kTargets[static_cast<std::size_t>(best)] - 1);
}

}  // namespace blip::kernels
