// What the decoders of the single formats share. Each turns a whole encoded picture into RGB as Pillow's
// convert("RGB") does, without applying its orientation, which it reports.
#pragma once

#include <cstdint>
#include <string>

#include "image/bytes.h"
#include "image/image.h"

namespace blip::image {

struct Source {
  Bytes bytes;
  const std::string& name;  // for errors
  const ImageLimits& limits;
};

struct Decoded {
  Rgb rgb;
  int orientation = 1;  // EXIF, 1 to 8
};

Decoded decode_jpeg(const Source& source);
Decoded decode_png(const Source& source);
Decoded decode_webp(const Source& source);
Decoded decode_bmp(const Source& source);
Decoded decode_gif(const Source& source);

// Throws Error(kImage): "NAME: FORMAT: PROBLEM".
[[noreturn]] void fail(const Source& source, const char* format, const std::string& problem);

// Allocates a black picture after checking its size against the limits.
Rgb allocate(const Source& source, const char* format, std::uint64_t width, std::uint64_t height);
// The check alone, for formats whose library allocates.
void check_size(const Source& source, const char* format, std::uint64_t width, std::uint64_t height);

}  // namespace blip::image
