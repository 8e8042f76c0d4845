// What this process may still take of the machine.
#pragma once

#include <cstdint>

namespace blip {

// Cores this process may use: its affinity mask, limited by a container's CPU quota. At least 1.
int available_cpus();

// Bytes this process may still take: what the system has to spare, limited by a container's limit.
// 0 = not known.
std::uint64_t available_memory();

}  // namespace blip
