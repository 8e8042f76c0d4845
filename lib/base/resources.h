// What this process may still take of the machine.
#pragma once

#include <cstdint>
#include <vector>

namespace blip {

// CPUs that the calling thread may run on, by the system's numbers; empty where it does not say.
std::vector<int> allowed_cpus();

// Cores this process may use: as many as those, limited by a container's CPU quota. At least 1.
int available_cpus();

// Bytes this process may still take: what the system has to spare, limited by a container's limit.
// 0 = not known.
std::uint64_t available_memory();

}  // namespace blip
