// What this machine's arithmetic units and memory can do: the ceilings that benchmarks are held
// against.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "blip/machine.h"
#include "core/thread_pool.h"

namespace blip::kernels {

// Reads 256 MB from end to end, each thread of the pool a share.
class MemorySpeed {
 public:
  explicit MemorySpeed(ThreadPool& pool);
  // 10^9 bytes a second at this moment; takes some 10 ms.
  double read_gb_s();

 private:
  ThreadPool& pool_;
  std::shared_ptr<std::byte> memory_;
  std::vector<std::uint64_t> sums_;
};

// Takes about two seconds on all threads of the pool, which has `cores` to run on. Chains of
// multiply-adds in registers, of vectors or, where there are AMX tiles, of tiles.
MachineSpeed measure_machine(ThreadPool& pool, MemorySpeed& memory, int cores);

}  // namespace blip::kernels
