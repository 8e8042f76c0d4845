// EXIF orientation: where a picture's top and left are.
#pragma once

#include <optional>
#include <string_view>

#include "image/bytes.h"
#include "image/image.h"

namespace blip::image {

// What a file says about its orientation. EXIF goes before XMP, as in Pillow.
struct OrientationTags {
  std::optional<Bytes> exif;            // a TIFF block, with or without "Exif\0\0" in front
  std::optional<std::string_view> xmp;  // an XMP packet
};

// 1 to 8; 1 where the tags are missing or malformed.
int orientation(const OrientationTags& tags);

// 5 to 8: rows become columns.
inline bool exchanges_sides(int orientation) { return orientation >= 5; }

// Turns and mirrors the picture so that it stands upright. In place, but for those that exchange
// the sides: these take a second picture for a moment.
Rgb apply_orientation(Rgb source, int orientation);

}  // namespace blip::image
