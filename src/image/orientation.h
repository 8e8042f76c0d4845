// The orientation that a picture's metadata gives, found without a decoder.
#pragma once

#include "image/bytes.h"

namespace blip::image {

// EXIF's numbers, 1 to 8; 1 where the file says nothing.
int jpeg_orientation(Bytes bytes);
int png_orientation(Bytes bytes);

}  // namespace blip::image
