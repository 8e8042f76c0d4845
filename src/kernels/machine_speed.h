// What this machine's arithmetic units and memory can do: the ceilings that benchmarks are held against.
#pragma once

#include "core/thread_pool.h"

namespace blip::kernels {

// Products and sums count as two operations. 0: not on this machine (or limited away by BLIP_FORCE_ISA).
struct MachineSpeed {
  double f32_gops = 0, bf16_gops = 0, int8_gops = 0;
  double read_gb_s = 0;  // 10^9 bytes a second, reading 512 MB from end to end
};

// Takes about two seconds on all threads of the pool. Chains of multiply-adds in registers, of vectors or, where there are matrix units, of tiles.
MachineSpeed measure_machine(ThreadPool& pool);

}  // namespace blip::kernels
