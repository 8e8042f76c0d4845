#include <limits>
#include <new>
#include <utility>

#include "blip/error.h"
#include "image/decoder.h"
#include "image/exif.h"

namespace blip::image {
namespace {

using Decoder = Decoded (*)(const Source&);

// The decoder for the content's first bytes; nullptr = no format we know.
Decoder find_decoder(Bytes bytes) {
  if (starts_with(bytes, "\xff\xd8\xff")) return decode_jpeg;
  if (starts_with(bytes, std::string_view("\x89PNG\r\n\x1a\n", 8))) return decode_png;
  if (starts_with(bytes, "GIF87a") || starts_with(bytes, "GIF89a")) return decode_gif;
  if (starts_with(bytes, "RIFF") && starts_with(slice(bytes, 8), "WEBP")) return decode_webp;
  if (starts_with(bytes, "BM")) return decode_bmp;
  return nullptr;
}

// Named in the error so that a user who passed a known but unsupported file learns which.
const char* describe_unknown(Bytes bytes) {
  if (starts_with(slice(bytes, 4), "ftyp")) return "it looks like AVIF, HEIC or a video";
  if (starts_with(bytes, std::string_view("II\x2a\0", 4)) || starts_with(bytes, std::string_view("MM\0\x2a", 4)))
    return "it looks like TIFF";
  if (starts_with(bytes, "%PDF")) return "it looks like PDF";
  if (starts_with(bytes, "<svg") || starts_with(bytes, "<?xml")) return "it looks like SVG or XML";
  if (starts_with(bytes, "\xff\x0a") || starts_with(slice(bytes, 4), "JXL ")) return "it looks like JPEG XL";
  return "its first bytes are of none of these";
}

}  // namespace

void fail(const Source& source, const char* format, const std::string& problem) {
  throw Error(ErrorCode::kImage, source.name + ": " + format + ": " + problem);
}

void check_size(const Source& source, const char* format, std::uint64_t width, std::uint64_t height) {
  const std::string size = std::to_string(width) + " x " + std::to_string(height);
  if (width == 0 || height == 0) fail(source, format, "the picture is empty (" + size + " pixels)");
  constexpr auto kMaxSide = static_cast<std::uint64_t>(std::numeric_limits<int>::max());
  if (width > kMaxSide || height > kMaxSide) fail(source, format, "the header is damaged: it says " + size + " pixels");
  const std::uint64_t pixels = width * height;  // no overflow: both are below 2^31
  if (source.limits.max_pixels != 0 && pixels > source.limits.max_pixels) {
    fail(source, format,
         size + " = " + std::to_string(pixels) + " pixels are more than the limit of " +
             std::to_string(source.limits.max_pixels) + "; raise it with --max-pixels if you trust the file");
  }
  if (pixels > std::numeric_limits<std::ptrdiff_t>::max() / 8) fail(source, format, size + " pixels do not fit into memory");
}

Decoded begin(const Source& source, const char* format, std::uint64_t width, std::uint64_t height, int orientation,
              std::uint64_t working_bytes) {
  check_size(source, format, width, height);
  const std::uint64_t pixels = width * height * 3;
  Decoded decoded{format, width, height, orientation, pixels + working_bytes, {}};
  if (exchanges_sides(orientation)) decoded.decode_bytes += pixels;  // turned into a second picture
  constexpr std::uint64_t kMegabyte = 1 << 20;
  if (source.limits.max_memory != 0 && decoded.decode_bytes > source.limits.max_memory) {
    fail(source, format,
         std::to_string(width) + " x " + std::to_string(height) + " pixels would take about " +
             std::to_string((decoded.decode_bytes + kMegabyte - 1) / kMegabyte) + " MiB to decode, more than the limit of " +
             std::to_string(source.limits.max_memory / kMegabyte) + " MiB; raise it with --max-memory if you trust the file");
  }
  if (source.header_only) return decoded;
  decoded.rgb = {static_cast<int>(width), static_cast<int>(height), {}};
  try {
    decoded.rgb.pixels.resize(static_cast<std::size_t>(pixels));
  } catch (const std::bad_alloc&) {
    fail(source, format, no_memory(width, height));
  }
  return decoded;
}

std::string no_memory(std::uint64_t width, std::uint64_t height) {
  return "not enough memory to decode " + std::to_string(width) + " x " + std::to_string(height) +
         " pixels; --max-memory and --max-pixels refuse such pictures before they are decoded";
}

namespace {

Decoded run(std::span<const std::byte> encoded, const std::string& name, const ImageLimits& limits, bool header_only) {
  if (encoded.empty()) throw Error(ErrorCode::kImage, name + ": the file is empty");
  if (limits.max_bytes != 0 && encoded.size() > limits.max_bytes) {
    throw Error(ErrorCode::kImage, name + ": " + std::to_string(encoded.size()) + " bytes are more than the limit of " +
                                       std::to_string(limits.max_bytes) + " for an encoded picture (ImageLimits::max_bytes)");
  }
  const Decoder decoder = find_decoder(encoded);
  if (!decoder) {
    throw Error(ErrorCode::kImage,
                name + ": not a picture that can be read (JPEG, PNG, WebP, BMP, GIF): " + describe_unknown(encoded));
  }
  try {
    Decoded decoded = decoder({encoded, name, limits, header_only});
    if (!header_only) decoded.rgb = apply_orientation(std::move(decoded.rgb), decoded.orientation);
    return decoded;
  } catch (const std::bad_alloc&) {
    throw Error(ErrorCode::kImage, name + ": not enough memory to decode it; --max-memory and --max-pixels refuse such pictures before they are decoded");
  }
}

}  // namespace

Rgb decode(std::span<const std::byte> encoded, const std::string& name, const ImageLimits& limits) {
  return run(encoded, name, limits, false).rgb;
}

Header inspect(std::span<const std::byte> encoded, const std::string& name, const ImageLimits& limits) {
  const Decoded decoded = run(encoded, name, limits, true);
  Header header{decoded.format, static_cast<int>(decoded.width), static_cast<int>(decoded.height), static_cast<std::size_t>(decoded.decode_bytes)};
  if (exchanges_sides(decoded.orientation)) std::swap(header.width, header.height);
  return header;
}

}  // namespace blip::image
