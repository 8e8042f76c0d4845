// What the decoders of the single formats share. Each turns a whole encoded picture into RGB as
// Pillow's convert("RGB") does, without applying its orientation, which it reports.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "image/bytes.h"
#include "image/image.h"

namespace blip::image {

struct Source {
  Bytes bytes;
  const std::string& name;  // for errors
  const ImageLimits& limits;
  bool header_only = false;  // the decoders stop before the pixels
  bool want_alpha = false;   // the decoders fill in Decoded::alpha where there is transparency
};

struct Decoded {
  const char* format = "";
  std::uint64_t width = 0, height = 0;  // as stored
  int orientation = 1;                  // EXIF, 1 to 8
  std::uint64_t decode_bytes = 0;
  Rgb rgb;  // empty where only the header was asked for
  std::vector<std::uint8_t>
      alpha;  // 0 = transparent to 255 = opaque, a byte a pixel; empty = opaque, or not wanted
};

Decoded decode_jpeg(const Source& source);
Decoded decode_png(const Source& source);
Decoded decode_webp(const Source& source);
Decoded decode_bmp(const Source& source);
Decoded decode_gif(const Source& source);
Decoded decode_tiff(const Source& source);
Decoded decode_heif(const Source& source);
Decoded decode_avif(const Source& source);
Decoded decode_jxl(const Source& source);

// What to say where an allocation failed.
std::string no_memory(std::uint64_t width, std::uint64_t height);

// Throws Error(kImage): "NAME: FORMAT: PROBLEM".
[[noreturn]] void fail(const Source& source, const char* format, const std::string& problem);

// What every decoder calls once it has read the header: checks the size and the memory against the
// limits and allocates a black, opaque picture, unless only the header was asked for.
// `working_bytes` is what the decoder takes beside the picture; `has_alpha`: there is transparency,
// so that Decoded::alpha is needed where it is wanted.
Decoded begin(const Source& source, const char* format, std::uint64_t width, std::uint64_t height,
              int orientation, std::uint64_t working_bytes, bool has_alpha = false);
// Takes colours and alpha of pixels apart, the first of which is pixel `at` of the picture. Alpha
// is dropped where begin() made no room for it.
void split_alpha(std::span<const std::uint8_t> rgba, Decoded& decoded, std::size_t at = 0);
// The check of the size alone.
void check_size(const Source& source, const char* format, std::uint64_t width,
                std::uint64_t height);

}  // namespace blip::image
