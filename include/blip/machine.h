// What this machine's processor can do: its vector instructions, and how fast they and the memory
// are. The ceilings that times are held against, as `blip bench` does.
//
//   blip::MachineProbe probe(2);  // threads
//   blip::MachineSpeed speed = probe.measure();
//   std::printf("%s: %.0f Gop/s in f32\n", blip::vector_instructions(), speed.f32_gops);
#pragma once

#include <memory>

#include "blip/error.h"

#pragma GCC visibility push(default)
namespace blip {

// The vector instructions in use: "baseline", "avx2", "avx2_vnni", "avx512", "avx512_vnni",
// "avx512_bf16", "amx"; on ARM "neon", "dotprod", "i8mm", "bf16". The best that the machine has, or
// what $BLIP_FORCE_ISA says. Throws Error(kUsage) where that is no name of one, or of one that the
// machine lacks.
const char* vector_instructions();

// Products and sums count as two operations.
struct MachineSpeed {
  double f32_gops = 0, bf16_gops = 0, int8_gops = 0;  // 10^9 operations a second
  double read_gb_s = 0;                               // 10^9 bytes a second
};

// Measures with threads of its own and 256 MB of memory, both held while it lives. One thread at a
// time.
class MachineProbe {
 public:
  // threads: 1 to kMaxThreads, or 0 for every core. Throws Error(kUsage), Error(kDevice) where the
  // system has not so many, and as vector_instructions().
  explicit MachineProbe(int threads = 0);
  ~MachineProbe();
  MachineProbe(const MachineProbe&) = delete;
  MachineProbe& operator=(const MachineProbe&) = delete;

  // What arithmetic units and memory do at their best; takes about two seconds.
  MachineSpeed measure();
  // How fast memory is read at this moment, in 10^9 bytes a second; takes some 10 ms.
  double read_gb_s();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace blip
#pragma GCC visibility pop
