// Bfloat16 weights in 12 bits. A value's lower byte (the last bit of the exponent and the mantissa)
// is kept as it is; its upper byte (the sign and seven bits of the exponent) is one of 15 that a
// block of 64 columns has: those of its largest magnitudes, down to 2^-12 of the largest at least,
// and zero. What is smaller becomes zero, or the smallest that there is, if that is nearer: an
// error of less than 2^-13 of the block's largest, where rounding that largest to bfloat16 may have
// cost 2^-9 of it.
//
// A block is a line with the 16 upper bytes, then for each unit row (64 columns of two values) 64
// lower bytes of columns 0 to 31, 64 of columns 32 to 63, and 64 bytes with the codes of the former
// in their lower halves and of the latter in their upper halves. In each 16 bytes of lower bytes
// the first 8 belong to the first 16 columns of the 32, the last 8 to the others, as instructions
// that interleave two vectors want it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace blip::kernels {

inline constexpr std::size_t k12BitTable = 64;     // bytes before a block's first unit
inline constexpr std::size_t k12BitUnitRow = 192;  // bytes of 64 columns of one unit
inline constexpr std::size_t block_bytes_12bit(int units) {
  return k12BitTable + static_cast<std::size_t>(units) * k12BitUnitRow;
}

// units: [n, 64] of two bfloat16s each, the first in the lower half. out: block_bytes_12bit(n) of
// zeros, aligned to 64 bytes.
void pack_12bit(const std::uint32_t* units, int n, std::byte* out);

// Where units go, as pack_12bit was given them: four sets of 16 columns, so many bytes from one
// to the next, and from one unit to the next.
struct UnpackedUnits {
  char* data;
  std::size_t set_stride, unit_stride;
};

// Units `first` to first + n of a block.
void unpack_12bit(const std::byte* block, int first, int n, const UnpackedUnits& out);
// The same as [n, 64].
void unpack_12bit(const std::byte* block, int first, int n, std::uint32_t* out);

}  // namespace blip::kernels
