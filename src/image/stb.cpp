// JPEG and PNG through stb_image, for builds without the formats' own libraries (CMake's
// BLIP_CODECS=stb). PNG gives the same pixels as png.cpp. JPEG may differ by a few levels of 255:
// stb_image rounds the transform and the colours its own way. It knows no four-component (CMYK) and
// no arithmetic-coded JPEG and checks no PNG checksums; there is no WebP.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "blip/error.h"
#include "image/decoder.h"
#include "image/orientation.h"

namespace {

// The largest block that the decoder may have, set from the size of the picture: what a damaged or
// hostile file inflates to is bounded before it is written.
thread_local std::size_t max_block = 0;

void* allocate_block(std::size_t size) { return size <= max_block ? std::malloc(size) : nullptr; }
void* reallocate_block(void* block, std::size_t size) {
  return size <= max_block ? std::realloc(block, size) : nullptr;
}

}  // namespace

#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_NO_STDIO
#define STBI_ONLY_JPEG
#define STBI_ONLY_PNG
#define STBI_ASSERT(condition) ((void)0)
#define STBI_MALLOC(size) allocate_block(size)
#define STBI_REALLOC(block, size) reallocate_block(block, size)
#define STBI_FREE(block) std::free(block)
#define STBI_MAX_DIMENSIONS std::numeric_limits<int>::max()
#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#endif
#if defined(__clang__)  // it copies the nothing of an empty IDAT chunk to a null pointer, which
                        // harms nobody
#pragma clang attribute push( \
    __attribute__((no_sanitize("nonnull-attribute", "pointer-overflow"))), apply_to = function)
#endif
#include <stb/stb_image.h>
#if defined(__clang__)
#pragma clang attribute pop
#endif
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

namespace blip::image {
namespace {

constexpr int kMaxScans = 500;  // as in jpeg.cpp

// Hands the bytes to stb_image and notices when it asks for more than there are, which it would
// take for zeros.
struct Reader {
  Bytes rest;
  bool truncated = false;
};

int read(void* user, char* out, int size) {
  auto* reader = static_cast<Reader*>(user);
  const std::size_t count = std::min(reader->rest.size(), static_cast<std::size_t>(size));
  reader->truncated = reader->truncated || count == 0;
  if (count != 0) std::memcpy(out, reader->rest.data(), count);
  reader->rest = reader->rest.subspan(count);
  return static_cast<int>(count);
}

// never negative: it goes back only for formats that are left out
void skip(void* user, int size) {
  auto* reader = static_cast<Reader*>(user);
  reader->truncated = reader->truncated || static_cast<std::size_t>(size) > reader->rest.size();
  reader->rest = slice(reader->rest, static_cast<std::size_t>(size));
}

int at_end(void* user) { return static_cast<Reader*>(user)->rest.empty(); }

constexpr stbi_io_callbacks kCallbacks{read, skip, at_end};

struct Free {
  void operator()(void* block) const { std::free(block); }
};

[[noreturn]] void fail_with(const Source& source, const char* format, const Reader& reader) {
  const char* reason = stbi_failure_reason();
  fail(source, format,
       reader.truncated ? "the file is truncated"
                        : std::string("damaged: ") + (reason ? reason : "unknown error"));
}

// The picture, black, with its size checked against the limits; and the largest block that decoding
// it takes: stb_image inflates a PNG as a whole, 8 bytes a pixel and one a row (in up to seven
// passes), and grows that buffer by doubling it.
Decoded begin(const Source& source, const char* format, int orientation, bool may_have_alpha) {
  max_block = std::size_t{1} << 20;
  Reader reader{source.bytes};
  int width = 0, height = 0, components = 0;
  if (!stbi_info_from_callbacks(&kCallbacks, &reader, &width, &height, &components))
    fail_with(source, format, reader);
  if (width < 1 || height < 1) fail(source, format, "the picture is empty");
  check_size(source, format, static_cast<std::uint64_t>(width), static_cast<std::uint64_t>(height));
  const std::uint64_t pixels =
      static_cast<std::uint64_t>(width) * static_cast<std::uint64_t>(height);
  max_block += 2 * (source.bytes.size() +
                    (static_cast<std::size_t>(pixels) + static_cast<std::size_t>(height)) * 8 +
                    64 * static_cast<std::size_t>(width));
  // The largest block, and the decoder's own pixels or coefficients beside it.
  return begin(source, format, static_cast<std::uint64_t>(width),
               static_cast<std::uint64_t>(height), orientation, max_block + pixels * 8,
               may_have_alpha);
}

void read_pixels(const Source& source, const char* format, Decoded& decoded) {
  Rgb& rgb = decoded.rgb;
  const bool four = !decoded.alpha.empty();
  Reader reader{source.bytes};
  int width = 0, height = 0, components = 0;
  const std::unique_ptr<stbi_uc, Free> pixels(
      stbi_load_from_callbacks(&kCallbacks, &reader, &width, &height, &components, four ? 4 : 3));
  if (!pixels || reader.truncated) fail_with(source, format, reader);
  if (width != rgb.width || height != rgb.height)
    fail(source, format, "damaged: it gives two sizes");
  if (four) return split_alpha({pixels.get(), decoded.alpha.size() * 4}, decoded);
  std::copy_n(pixels.get(), rgb.pixels.size(), rgb.pixels.data());
}

// 16-bit grey: what exceeds a byte is white, as in png.cpp.
void read_grey16(const Source& source, const char* format, Rgb& rgb) {
  Reader reader{source.bytes};
  int width = 0, height = 0, components = 0;
  const std::unique_ptr<stbi_us, Free> pixels(
      stbi_load_16_from_callbacks(&kCallbacks, &reader, &width, &height, &components, 1));
  if (!pixels || reader.truncated) fail_with(source, format, reader);
  if (width != rgb.width || height != rgb.height)
    fail(source, format, "damaged: it gives two sizes");
  for (std::size_t i = 0; i < rgb.pixels.size(); ++i)
    rgb.pixels[i] = static_cast<std::uint8_t>(std::min<unsigned>(pixels.get()[i / 3], 255));
}

// What stb_image does not say of a JPEG, or takes without checking: the components of its frame
// (the last one's; 0 = none found), its scans, and whether each Huffman table has room for its
// codes (stb_image writes past its own otherwise).
struct Frame {
  int components = 0, scans = 0;
  bool sound_tables = true;
};

// A segment of `length` bytes of Huffman tables: for each a byte, how many codes there are of 1 to
// 16 bits, and a byte for each code. A table is read to its end, be that past the segment's.
bool sound_huffman_tables(Bytes rest, std::size_t length) {
  constexpr std::size_t kHead = 17, kMaxCodes = 256;
  for (std::size_t at = 0; at < length;) {
    std::size_t codes = 0;
    for (std::size_t i = 1; i < kHead; ++i) codes += read_u8(rest, at + i).value_or(0);
    if (codes > kMaxCodes) return false;
    at += kHead + codes;
  }
  return true;
}

Frame find_frame(Bytes bytes) {
  Frame frame;
  for (std::size_t i = 2; i + 1 < bytes.size();) {
    const int marker = std::to_integer<int>(bytes[i]) << 8 | std::to_integer<int>(bytes[i + 1]);
    // pixels, padding, marks without a body
    if (marker < 0xffc0 || (marker >= 0xffd0 && marker <= 0xffd9) || marker == 0xffff) {
      ++i;
      continue;
    }
    frame.scans += marker == 0xffda;
    const bool starts_frame =
        marker <= 0xffcf && marker != 0xffc4 && marker != 0xffc8 && marker != 0xffcc;
    if (starts_frame) frame.components = read_u8(bytes, i + 9).value_or(0);
    const std::size_t length = read_u16(bytes, i + 2, Endian::kBig).value_or(0);
    if (marker == 0xffc4)
      frame.sound_tables =
          frame.sound_tables &&
          sound_huffman_tables(slice(bytes, i + 4), std::max<std::size_t>(length, 2) - 2);
    i += 2 + length;
  }
  return frame;
}

// The file with its palette filled up with black to 256 colours; stb_image would take what the file
// lacks from its own stack.
std::vector<std::byte> with_whole_palette(Bytes bytes) {
  constexpr std::uint32_t kWhole = 256 * 3;
  std::vector<std::byte> out;
  std::size_t at = 8;
  while (const auto length = read_u32(bytes, at, Endian::kBig)) {
    const bool palette = as_text(slice(bytes, at + 4, 4)) == "PLTE" && *length < kWhole &&
                         slice(bytes, at + 8).size() >= *length;
    if (palette) {
      const Bytes before = slice(bytes, 0, at), body = slice(bytes, at + 8, *length),
                  after = slice(bytes, at + 8 + *length);
      out.assign(before.begin(), before.end());
      // its length and name
      for (const char byte : {'\0', '\0', '\3', '\0', 'P', 'L', 'T', 'E'})
        out.push_back(static_cast<std::byte>(byte));
      out.insert(out.end(), body.begin(), body.end());
      out.resize(out.size() + kWhole - *length);
      out.insert(out.end(), after.begin(), after.end());
      return out;
    }
    at += 12 + std::size_t{*length};
  }
  return {bytes.begin(), bytes.end()};
}

}  // namespace

Decoded decode_jpeg(const Source& source) {
  constexpr const char* kFormat = "JPEG";
  const Frame frame = find_frame(source.bytes);  // before stb_image sees a byte
  if (frame.components == 4)
    fail(source, kFormat, "4 colour components; this build has no libjpeg and reads 1 or 3");
  if (!frame.sound_tables) fail(source, kFormat, "damaged: a Huffman table has too many codes");
  if (frame.scans > kMaxScans)
    fail(source, kFormat, "damaged: it has more than " + std::to_string(kMaxScans) + " scans");
  Decoded decoded = begin(source, kFormat, jpeg_orientation(source.bytes), false);
  if (source.header_only) return decoded;
  read_pixels(source, kFormat, decoded);
  return decoded;
}

Decoded decode_png(const Source& source) {
  constexpr const char* kFormat = "PNG";
  Decoded decoded = begin(source, kFormat, png_orientation(source.bytes), true);
  if (as_text(slice(source.bytes, 12, 4)) != "IHDR")
    fail(source, kFormat, "damaged: it does not start with its header");
  if (source.header_only) return decoded;
  // in IHDR
  const int depth = read_u8(source.bytes, 24).value_or(0),
            colour = read_u8(source.bytes, 25).value_or(0);
  if (colour == 0 && depth == 16) {
    read_grey16(source, kFormat, decoded.rgb);
  } else if (colour == 3) {
    const std::vector<std::byte> whole = with_whole_palette(source.bytes);
    read_pixels({whole, source.name, source.limits}, kFormat, decoded);
  } else {
    read_pixels(source, kFormat, decoded);
  }
  return decoded;
}

}  // namespace blip::image
