// What pictures look like, as numbers that can be compared: to find those that are the same but for
// their size, their compression or their brightness. No model is needed.
//
//     const std::uint64_t look = blip::perceptual_hash(blip::Image::from_file("cat.jpg"));
//     if (blip::look_distance(look, other) <= 4) ...  // nearly the same picture
#pragma once

#include <bit>
#include <cstdint>

#include "blip/blip.h"

namespace blip {

// The hash that the Python package imagehash calls phash, at its default size of 64 bits, equal to
// it bit for bit: the picture in grey at 32 x 32 pixels, and of each of its 8 x 8 lowest
// frequencies whether it is above their median. The highest bit is the constant part; rows of
// frequencies follow each other. Colours have no part in it. A picture of one colour throughout has
// no frequencies: its hash has one bit at most, whatever the colour.
//
// Thread-safe; takes as much memory as the picture meanwhile. Throws Error(kImage) for a picture
// with a side of over 2^28 pixels.
std::uint64_t perceptual_hash(const Image& image);

// The bits in which two hashes differ: 0 to 64. Pictures that have nothing in common differ in
// about 32; a copy that was resized or compressed anew in 0 to 4 as a rule.
inline int look_distance(std::uint64_t a, std::uint64_t b) { return std::popcount(a ^ b); }

}  // namespace blip
