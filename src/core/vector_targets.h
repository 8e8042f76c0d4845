// Which of Highway's instruction sets our kernels are compiled for; to be included before Highway.
#pragma once

// Our accumulators are arrays of vectors, which exist only where a vector's size is known when
// compiling. Processors with these sets run the fixed-size one below them (NEON; on RISC-V plain
// code).
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
