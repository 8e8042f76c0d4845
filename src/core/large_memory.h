// Memory for what a model keeps until it is dropped: carved from chunks that ask the system for large pages. Weights are read from
// end to end at every token; with 4 KB pages a fifth of the memory's bandwidth is lost to finding them.
#pragma once

#include <cstddef>
#include <memory>

namespace blip {

// `bytes` of zeros, aligned to kAlignment. Its chunk lives as long as anything carved from it; small pieces have memory of their own.
// Thread-safe. Throws std::bad_alloc.
std::shared_ptr<std::byte> allocate_zeros(std::size_t bytes);

}  // namespace blip
