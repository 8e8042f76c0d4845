// What isa.cpp asks of the machine: isa_x86.cpp, or isa_portable.cpp where there is one level alone.
#pragma once

#include "kernels/isa.h"

namespace blip::kernels {

// The best level that the machine has.
Isa machine_isa();

// Keeps our vector kernels from what is better than `best`, a level that the machine has.
void limit_vectors(Isa best);

}  // namespace blip::kernels
