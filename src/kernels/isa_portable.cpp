// Where there is no choice of vector instructions: what the compiler was told to use.
#include "kernels/isa_machine.h"

namespace blip::kernels {

Isa machine_isa() { return Isa::kBaseline; }
bool machine_has(Isa isa) { return isa == Isa::kBaseline; }

void limit_vectors(Isa) {}

}  // namespace blip::kernels
