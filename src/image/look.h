// What a picture looks like, in 64 bits.
#pragma once

#include <cstdint>

namespace blip::image {

// As blip/look.h says. rgb: [height, width, 3], tightly packed. Throws Error as resize() does.
std::uint64_t perceptual_hash(const std::uint8_t* rgb, int width, int height);

}  // namespace blip::image
