// How far ahead of its own reading a stream of memory is best fetched, in bytes, into the L2 cache
// (the L1 cache keeps fewer fetches under way). On a Zen 4, distances around 2 to 4.5 KB take up to
// a third longer, by how much the reader computes; past those is better only where it computes so
// much that it does not run ahead by itself. docs/dev/performance.md has the measurement.
#pragma once

#include <cstddef>

namespace blip::kernels {

inline constexpr std::size_t kReadAhead = 1280;  // for a reader that does little but read
inline constexpr std::size_t kReadFarAhead = 6144;

// The same for keys and values, whose units lie far from each other, in units. A picture's tokens,
// which few queries read from the L3 cache, take two thirds of the time so on a Xeon with AVX-512.
inline constexpr std::size_t kReadAheadUnits = 16;

}  // namespace blip::kernels
