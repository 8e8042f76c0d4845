// How large a picture is, by its header alone.
#pragma once

#include <cstddef>
#include <span>

#include "blip/blip.h"

namespace blip::server {

struct PictureSize {
  int width = 0, height = 0;
  std::size_t decode_bytes = 0;  // at most, while it is decoded
};
// Throws Error(kImage).
PictureSize inspect_picture(std::span<const std::byte> bytes, const ImageLimits& limits);

}  // namespace blip::server
