// What isa.cpp asks of the machine: isa_x86.cpp, isa_arm.cpp, or isa_portable.cpp where there is
// one level alone.
#pragma once

#include "kernels/isa.h"

namespace blip::kernels {

// The best level that the machine has.
Isa machine_isa();
bool machine_has(Isa isa);
// Whether it has the 256-bit dot products of bytes by themselves, not as a part of AVX-512.
bool machine_has_avx_vnni();

// Keeps our vector kernels from what is better than `best`, a level that the machine has.
void limit_vectors(Isa best);

}  // namespace blip::kernels
