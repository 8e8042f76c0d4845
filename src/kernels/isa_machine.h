// What isa.cpp asks of the machine: isa_onednn.cpp, or isa_portable.cpp where there is one level alone.
#pragma once

#include "kernels/isa.h"

namespace blip::kernels {

// The best level that the machine has.
Isa machine_isa();

// Keeps oneDNN and our kernels from what is better than `best`; returns the level that they then have, a lower one where the
// machine lacks it.
Isa limit_machine(Isa best);

}  // namespace blip::kernels
