// What a 64-bit ARM processor has, as the system tells it.
#include "kernels/isa_machine.h"

#if defined(__linux__)
#include <sys/auxv.h>
#endif

namespace blip::kernels {
namespace {

Isa find_isa() {
#if defined(__linux__)
  // Of AT_HWCAP and AT_HWCAP2; the names of the latter are younger than some C libraries.
  constexpr unsigned long kDotProd = 1ul << 20, kI8mm = 1ul << 13, kBf16 = 1ul << 14;
  const unsigned long more = ::getauxval(AT_HWCAP2);
  if (!(::getauxval(AT_HWCAP) & kDotProd)) return Isa::kNeon;
  if (!(more & kI8mm)) return Isa::kDotProd;
  return more & kBf16 ? Isa::kNeonBf16 : Isa::kI8mm;
#else
  return Isa::kNeon;
#endif
}

}  // namespace

Isa machine_isa() {
  static const Isa isa = find_isa();
  return isa;
}

bool machine_has(Isa isa) {
  return isa == Isa::kBaseline || (isa >= Isa::kNeon && isa <= machine_isa());
}

// Highway's kernels have one level here.
void limit_vectors(Isa) {}

}  // namespace blip::kernels
