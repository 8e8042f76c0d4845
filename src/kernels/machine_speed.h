// What this machine's arithmetic units and memory can do: the ceilings that benchmarks are held against.
#pragma once

#include "core/thread_pool.h"

namespace blip::kernels {

// Products and sums count as two operations. 0: not on this machine (or limited away by BLIP_FORCE_ISA).
struct MachineSpeed {
  double f32_gops = 0, bf16_gops = 0, int8_gops = 0;
  double read_gb_s = 0;  // 10^9 bytes a second, reading 512 MB from end to end
};

// Takes about two seconds on all threads of the pool. f32, and bf16 and int8 on AVX-512, are chains of multiply-adds in registers; with
// AMX bf16 and int8 are oneDNN's speed on a product that stays in the cache, a lower bound of the peak.
MachineSpeed measure_machine(ThreadPool& pool);

}  // namespace blip::kernels
