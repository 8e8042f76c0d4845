#include <algorithm>
#include <limits>
#include <new>
#include <utility>

#include "blip/error.h"
#include "image/decoder.h"
#include "image/exif.h"
#include "image/formats.h"

namespace blip::image {

void fail(const Source& source, const char* format, const std::string& problem) {
  throw Error(ErrorCode::kImage, source.name + ": " + format + ": " + problem);
}

void check_size(const Source& source, const char* format, std::uint64_t width,
                std::uint64_t height) {
  const std::string size = std::to_string(width) + " x " + std::to_string(height);
  if (width == 0 || height == 0) fail(source, format, "the picture is empty (" + size + " pixels)");
  constexpr auto kMaxSide = static_cast<std::uint64_t>(std::numeric_limits<int>::max());
  if (width > kMaxSide || height > kMaxSide)
    fail(source, format, "the header is damaged: it says " + size + " pixels");
  const std::uint64_t pixels = width * height;  // no overflow: both are below 2^31
  if (source.limits.max_pixels != 0 && pixels > source.limits.max_pixels) {
    fail(source, format,
         size + " = " + std::to_string(pixels) + " pixels are more than the limit of " +
             std::to_string(source.limits.max_pixels) +
             "; raise it with --max-pixels if you trust the file");
  }
  if (pixels > std::numeric_limits<std::ptrdiff_t>::max() / 8)
    fail(source, format, size + " pixels do not fit into memory");
}

Decoded begin(const Source& source, const char* format, std::uint64_t width, std::uint64_t height,
              int orientation, std::uint64_t working_bytes, bool has_alpha) {
  check_size(source, format, width, height);
  const std::uint64_t pixels = width * height * 3;
  const std::uint64_t alpha = has_alpha && source.want_alpha ? width * height : 0;
  Decoded decoded{format, width, height, orientation, pixels + alpha + working_bytes, {}, {}};
  if (exchanges_sides(orientation)) decoded.decode_bytes += pixels;  // turned into a second picture
  constexpr std::uint64_t kMegabyte = 1 << 20;
  if (source.limits.max_memory != 0 && decoded.decode_bytes > source.limits.max_memory) {
    fail(source, format,
         std::to_string(width) + " x " + std::to_string(height) + " pixels would take about " +
             std::to_string((decoded.decode_bytes + kMegabyte - 1) / kMegabyte) +
             " MiB to decode, more than the limit of " +
             std::to_string(source.limits.max_memory / kMegabyte) +
             " MiB; raise it with --max-memory if you trust the file");
  }
  if (source.header_only) return decoded;
  decoded.rgb = {static_cast<int>(width), static_cast<int>(height), {}};
  try {
    decoded.rgb.pixels.resize(static_cast<std::size_t>(pixels));
    decoded.alpha.assign(static_cast<std::size_t>(alpha), 255);
  } catch (const std::bad_alloc&) {
    fail(source, format, no_memory(width, height));
  }
  return decoded;
}

void split_alpha(std::span<const std::uint8_t> rgba, Decoded& decoded, std::size_t at) {
  const std::uint8_t* from = rgba.data();
  std::uint8_t* to = decoded.rgb.pixels.data() + at * 3;
  for (std::size_t i = 0; i < rgba.size() / 4; ++i, from += 4, to += 3) {
    std::copy_n(from, 3, to);
    if (!decoded.alpha.empty()) decoded.alpha[at + i] = from[3];
  }
}

std::string no_memory(std::uint64_t width, std::uint64_t height) {
  return "not enough memory to decode " + std::to_string(width) + " x " + std::to_string(height) +
         " pixels; --max-memory and --max-pixels refuse such pictures before they are decoded";
}

namespace {

// As Pillow's alpha_composite over an opaque picture of one colour.
void lay_over(const Color& background, Decoded& decoded) {
  const int below[] = {background.red, background.green, background.blue};
  std::uint8_t* rgb = decoded.rgb.pixels.data();
  for (const std::uint8_t alpha : decoded.alpha) {
    for (int c = 0; c < 3; ++c, ++rgb) {
      const int sum = *rgb * alpha + below[c] * (255 - alpha) + 128;
      *rgb = static_cast<std::uint8_t>(((sum >> 8) + sum) >> 8);
    }
  }
  decoded.alpha = {};
}

Decoded run(std::span<const std::byte> encoded, const std::string& name, const ImageLimits& limits,
            bool header_only, const std::optional<Color>& background) {
  if (encoded.empty()) throw Error(ErrorCode::kImage, name + ": the file is empty");
  if (limits.max_bytes != 0 && encoded.size() > limits.max_bytes) {
    throw Error(ErrorCode::kImage, name + ": " + std::to_string(encoded.size()) +
                                       " bytes are more than the limit of " +
                                       std::to_string(limits.max_bytes) +
                                       " for an encoded picture (ImageLimits::max_bytes)");
  }
  const Format* format = find_format(encoded);
  if (!format || !(format->decoder || format->library)) {
    throw Error(ErrorCode::kImage, name + ": not a picture that can be read (" +
                                       readable_formats() + "): " +
                                       (format ? "it looks like " + std::string(format->name)
                                               : "its first bytes are of none of these"));
  }
  if (!format->decoder)
    throw Error(ErrorCode::kImage, name + ": " + format->name + ": " + why_unreadable(*format));
  try {
    Decoded decoded = format->decoder({encoded, name, limits, header_only, background.has_value()});
    if (background && !header_only) lay_over(*background, decoded);
    if (!header_only) decoded.rgb = apply_orientation(std::move(decoded.rgb), decoded.orientation);
    return decoded;
  } catch (const std::bad_alloc&) {
    throw Error(ErrorCode::kImage, name +
                                       ": not enough memory to decode it; --max-memory and "
                                       "--max-pixels refuse such pictures before they are decoded");
  }
}

}  // namespace

Rgb decode(std::span<const std::byte> encoded, const std::string& name, const ImageLimits& limits,
           const std::optional<Color>& background) {
  return run(encoded, name, limits, false, background).rgb;
}

Header inspect(std::span<const std::byte> encoded, const std::string& name,
               const ImageLimits& limits, const std::optional<Color>& background) {
  const Decoded decoded = run(encoded, name, limits, true, background);
  Header header{decoded.format, static_cast<int>(decoded.width), static_cast<int>(decoded.height),
                static_cast<std::size_t>(decoded.decode_bytes)};
  if (exchanges_sides(decoded.orientation)) std::swap(header.width, header.height);
  return header;
}

}  // namespace blip::image
