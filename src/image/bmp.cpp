// BMP: Windows and OS/2 headers, 1 to 32 bits, run-length encoding, bit fields. What is read and
// what is refused follows Pillow.
#include <algorithm>
#include <array>
#include <vector>

#include "blip/error.h"
#include "image/decoder.h"

namespace blip::image {
namespace {

constexpr const char* kFormat = "BMP";
constexpr std::size_t kFileHeader = 14;

enum Compression : std::uint32_t { kRaw = 0, kRle8 = 1, kRle4 = 2, kBitFields = 3 };

using Palette = std::array<std::array<std::uint8_t, 3>, 256>;

struct BmpHeader {
  std::uint64_t width = 0, height = 0;
  bool top_down = false;
  std::uint32_t bits = 0, compression = kRaw, colors = 0;
  std::size_t palette = 0, palette_entry = 4;  // place, bytes per colour
  std::size_t pixels = 0;                      // place
  std::array<std::uint32_t, 4> masks{};        // red, green, blue, alpha
};

std::uint32_t u16(const Source& source, std::size_t at) {
  const auto value = read_u16(source.bytes, at, Endian::kLittle);
  if (!value) fail(source, kFormat, "the header is truncated");
  return *value;
}

std::uint32_t u32(const Source& source, std::size_t at) {
  const auto value = read_u32(source.bytes, at, Endian::kLittle);
  if (!value) fail(source, kFormat, "the header is truncated");
  return *value;
}

// Masks follow a 40-byte header, or are part of a longer one (the alpha mask from 56 bytes on).
void read_masks(const Source& source, std::size_t header_size, BmpHeader& header) {
  for (std::size_t i = 0; i < 3; ++i) header.masks[i] = u32(source, kFileHeader + 40 + 4 * i);
  if (header_size >= 56) header.masks[3] = u32(source, kFileHeader + 52);
  if (header_size == 40) header.palette += 12;
}

BmpHeader read_header(const Source& source) {
  BmpHeader header;
  const std::uint32_t size = u32(source, kFileHeader);
  header.pixels = u32(source, 10);
  header.palette = kFileHeader + size;
  if (size == 12) {
    header.width = u16(source, 18);
    header.height = u16(source, 20);
    header.bits = u16(source, 24);
    header.palette_entry = 3;
  } else if (size == 40 || size == 52 || size == 56 || size == 64 || size == 108 || size == 124) {
    header.width = u32(source, 18);
    const std::uint32_t height = u32(source, 22);
    header.top_down = height >> 24 == 0xff;  // a negative height
    header.height = header.top_down ? (std::uint64_t{1} << 32) - height : height;
    header.bits = u16(source, 28);
    header.compression = u32(source, 30);
    header.colors = u32(source, 46);
    if (header.compression == kBitFields) read_masks(source, size, header);
    if (slice(source.bytes, kFileHeader, size).size() < size)
      fail(source, kFormat, "the header is truncated");
  } else {
    fail(source, kFormat, "unknown header of " + std::to_string(size) + " bytes");
  }
  return header;
}

// Where palette and pixels really are, and whether depth and compression fit together.
void check_header(const Source& source, BmpHeader& header) {
  const std::uint32_t bits = header.bits;
  if (bits != 1 && bits != 4 && bits != 8 && bits != 16 && bits != 24 && bits != 32) {
    fail(source, kFormat,
         std::to_string(bits) + " bits per pixel; 1, 4, 8, 16, 24 or 32 can be read");
  }
  if (header.colors == 0 && bits <= 8) header.colors = 1u << bits;
  if (bits <= 8 && header.colors > 65536) {
    fail(source, kFormat, "damaged: a palette of " + std::to_string(header.colors) + " colours");
  }
  const std::size_t palette_size = bits <= 8 ? header.palette_entry * header.colors : 0;
  // Some writers leave the palette out of the offset; an offset of 0 means: right after the
  // headers.
  if (header.pixels == 0) header.pixels = header.palette;
  if (header.pixels == header.palette) header.pixels += palette_size;
  switch (header.compression) {
    case kRaw:
      break;
    case kRle8:
    case kRle4:
      if (bits > 8)
        fail(source, kFormat,
             "damaged: run-length encoding of " + std::to_string(bits) + "-bit pixels");
      break;
    case kBitFields:
      if (bits < 16)
        fail(source, kFormat, "damaged: bit fields in " + std::to_string(bits) + "-bit pixels");
      break;
    default:
      fail(source, kFormat,
           "compression " + std::to_string(header.compression) + " is not supported");
  }
}

// Colours beyond the palette are black, unless the palette is the grey ramp: then index =
// brightness (Pillow's mode L).
Palette read_palette(const Source& source, const BmpHeader& header) {
  Palette palette{};
  const std::size_t count = std::min<std::size_t>(header.colors, 256);
  bool ramp = true;
  for (std::size_t i = 0; i < count; ++i) {
    const Bytes entry = slice(source.bytes, header.palette + i * header.palette_entry, 3);
    ramp = ramp && entry.size() == 3;
    for (std::size_t c = 0; c < entry.size(); ++c) {  // stored blue, green, red
      palette[i][2 - c] = std::to_integer<std::uint8_t>(entry[c]);
      ramp = ramp && palette[i][2 - c] == i;
    }
  }
  for (std::size_t i = ramp ? count : 256; i < 256; ++i)
    palette[i].fill(static_cast<std::uint8_t>(i));
  return palette;
}

// The bit positions of red, green and blue in a 32-bit pixel.
std::array<unsigned, 3> find_shifts(const Source& source, const BmpHeader& header) {
  const auto& masks = header.masks;
  if (header.compression != kBitFields || masks == std::array<std::uint32_t, 4>{})
    return {16, 8, 0};
  using Masks = std::array<std::uint32_t, 4>;
  constexpr Masks kKnown[] = {
      {0xff0000, 0xff00, 0xff, 0},          {0xff000000, 0xff0000, 0xff00, 0},
      {0xff000000, 0xff00, 0xff, 0},        {0xff000000, 0xff0000, 0xff00, 0xff},
      {0xff, 0xff00, 0xff0000, 0xff000000}, {0xff0000, 0xff00, 0xff, 0xff000000},
      {0xff000000, 0xff00, 0xff, 0xff0000},
  };
  if (std::find(std::begin(kKnown), std::end(kKnown), masks) == std::end(kKnown)) {
    fail(source, kFormat, "this layout of bit fields is not supported");
  }
  std::array<unsigned, 3> shifts{};
  for (std::size_t c = 0; c < 3; ++c) {
    while ((masks[c] >> shifts[c] & 1) == 0) ++shifts[c];
  }
  return shifts;
}

// Green's bits in a 16-bit pixel; red and blue have five.
unsigned find_green_bits(const Source& source, const BmpHeader& header) {
  if (header.compression != kBitFields) return 5;
  const std::array<std::uint32_t, 3> masks{header.masks[0], header.masks[1], header.masks[2]};
  if (masks == std::array<std::uint32_t, 3>{0xf800, 0x7e0, 0x1f}) return 6;
  if (masks == std::array<std::uint32_t, 3>{0x7c00, 0x3e0, 0x1f}) return 5;
  fail(source, kFormat, "this layout of bit fields is not supported");
}

std::uint8_t* row_of(Rgb& rgb, const BmpHeader& header, std::size_t y) {
  const auto height = static_cast<std::size_t>(rgb.height);
  return rgb.pixels.data() +
         (header.top_down ? y : height - 1 - y) * static_cast<std::size_t>(rgb.width) * 3;
}

void read_indexed_row(Bytes row, unsigned bits, const Palette& palette, std::uint8_t* out,
                      std::size_t width) {
  const unsigned per_byte = 8 / bits, mask = (1u << bits) - 1;
  for (std::size_t x = 0; x < width; ++x, out += 3) {
    const unsigned byte = std::to_integer<unsigned>(row[x / per_byte]);
    const unsigned shift = 8 - bits - bits * static_cast<unsigned>(x % per_byte);
    std::copy_n(palette[byte >> shift & mask].data(), 3, out);
  }
}

void read_16_bit_row(Bytes row, unsigned green_bits, std::uint8_t* out, std::size_t width) {
  const unsigned green_max = (1u << green_bits) - 1;
  for (std::size_t x = 0; x < width; ++x, out += 3) {
    const unsigned pixel = *read_u16(row, 2 * x, Endian::kLittle);
    out[0] = static_cast<std::uint8_t>((pixel >> (5 + green_bits) & 31) * 255 / 31);
    out[1] = static_cast<std::uint8_t>((pixel >> 5 & green_max) * 255 / green_max);
    out[2] = static_cast<std::uint8_t>((pixel & 31) * 255 / 31);
  }
}

// 24 and 32 bits: one byte per colour at byte positions `at`.
void read_byte_row(Bytes row, std::size_t pixel_size, const std::array<std::size_t, 3>& at,
                   std::uint8_t* out, std::size_t width) {
  for (std::size_t x = 0; x < width; ++x, row = row.subspan(pixel_size)) {
    for (std::size_t c = 0; c < 3; ++c) *out++ = std::to_integer<std::uint8_t>(row[at[c]]);
  }
}

// The alpha that a mask gives to 32-bit pixels.
void read_alpha(const Source& source, const BmpHeader& header, Decoded& decoded) {
  const auto width = static_cast<std::size_t>(decoded.width),
             height = static_cast<std::size_t>(decoded.height);
  std::size_t at = 0;
  while ((header.masks[3] >> (8 * at) & 0xff) == 0) ++at;
  for (std::size_t y = 0; y < height; ++y) {
    std::uint8_t* out = decoded.alpha.data() + (header.top_down ? y : height - 1 - y) * width;
    for (std::size_t x = 0; x < width; ++x)
      out[x] = read_u8(source.bytes, header.pixels + (y * width + x) * 4 + at).value_or(255);
  }
}

void read_raw(const Source& source, const BmpHeader& header, const Palette& palette, Rgb& rgb) {
  const auto width = static_cast<std::size_t>(rgb.width),
             height = static_cast<std::size_t>(rgb.height);
  const std::size_t row_size = (width * header.bits + 7) / 8,
                    stride = (width * header.bits + 31) / 32 * 4;
  std::array<std::size_t, 3> at{2, 1, 0};
  if (header.bits == 32) {
    const auto shifts = find_shifts(source, header);
    for (std::size_t c = 0; c < 3; ++c) at[c] = shifts[c] / 8;
  } else if (header.bits == 24 && header.compression == kBitFields &&
             !(header.masks[0] == 0xff0000 && header.masks[1] == 0xff00 &&
               header.masks[2] == 0xff)) {
    fail(source, kFormat, "this layout of bit fields is not supported");
  }
  const unsigned green_bits = header.bits == 16 ? find_green_bits(source, header) : 0;
  for (std::size_t y = 0; y < height; ++y) {
    const Bytes row = slice(source.bytes, header.pixels + y * stride, row_size);
    if (row.size() < row_size) fail(source, kFormat, "the file is truncated");
    std::uint8_t* out = row_of(rgb, header, y);
    if (header.bits <= 8) {
      read_indexed_row(row, header.bits, palette, out, width);
    } else if (header.bits == 16) {
      read_16_bit_row(row, green_bits, out, width);
    } else {
      read_byte_row(row, header.bits / 8, at, out, width);
    }
  }
}

// Run-length encoded indices, in the file's row order.
class RleDecoder {
 public:
  RleDecoder(const Source& source, const BmpHeader& header)
      : bytes_(source.bytes),
        at_(header.pixels),
        width_(header.width),
        rle4_(header.compression == kRle4),
        size_(static_cast<std::size_t>(header.width * header.height)) {}

  // May hold fewer indices than the picture has: then the data is incomplete.
  const std::vector<std::uint8_t>& decode() {
    while (indices_.size() < size_) {
      const auto count = read_u8(bytes_, at_), value = read_u8(bytes_, at_ + 1);
      if (!count || !value) break;
      at_ += 2;
      if (*count != 0) {
        run(*count, *value);
      } else if (*value == 0) {
        end_of_line();
      } else if (*value == 1 || !(*value == 2 ? jump() : copy(*value))) {
        break;
      }
    }
    return indices_;
  }

 private:
  void append(std::size_t count, std::uint8_t value) {
    indices_.insert(indices_.end(), std::min(count, size_ - indices_.size()), value);
  }

  // Runs end at the row's end.
  void run(std::size_t count, std::uint8_t value) {
    if (x_ + count > width_) count = x_ < width_ ? width_ - x_ : 0;
    if (!rle4_) {
      append(count, value);
    } else {
      for (std::size_t i = 0; i < count; ++i) append(1, i % 2 == 0 ? value >> 4 : value & 15);
    }
    x_ += count;
  }

  void end_of_line() {
    if (const std::size_t used = indices_.size() % width_) append(width_ - used, 0);
    x_ = 0;
  }

  bool jump() {
    const auto right = read_u8(bytes_, at_), up = read_u8(bytes_, at_ + 1);
    if (!right || !up) return false;
    at_ += 2;
    append(*right + *up * width_, 0);
    x_ = indices_.size() % width_;
    return true;
  }

  // Literal indices, padded to an even place in the file.
  bool copy(std::size_t value) {
    const std::size_t count = std::min(value, size_ - indices_.size());
    const std::size_t byte_count = rle4_ ? (count + 1) / 2 : count;
    const Bytes bytes = slice(bytes_, at_, byte_count);
    at_ += bytes.size();
    for (std::size_t i = 0; i < count && i < (rle4_ ? 2 * bytes.size() : bytes.size()); ++i) {
      const auto byte = std::to_integer<std::uint8_t>(bytes[rle4_ ? i / 2 : i]);
      append(1, !rle4_ ? byte : i % 2 == 0 ? byte >> 4 : byte & 15);
    }
    if (bytes.size() < byte_count) return false;
    x_ += value;
    at_ += at_ % 2;
    return true;
  }

  Bytes bytes_;
  std::size_t at_, width_, x_ = 0;
  bool rle4_;
  std::size_t size_;
  std::vector<std::uint8_t> indices_;
};

// The picture is allocated once the runs have shown that they fill it.
Decoded read_rle(const Source& source, const BmpHeader& header, const Palette& palette) {
  // The indices, in a buffer that doubles as it grows.
  const std::uint64_t working = 3 * header.width * header.height;
  if (source.header_only) return begin(source, kFormat, header.width, header.height, 1, working);
  // the limits alone
  begin({source.bytes, source.name, source.limits, true}, kFormat, header.width, header.height, 1,
        working);
  RleDecoder decoder(source, header);
  const std::vector<std::uint8_t>& indices = decoder.decode();
  const auto width = static_cast<std::size_t>(header.width),
             height = static_cast<std::size_t>(header.height);
  if (indices.size() < width * height)
    fail(source, kFormat, "truncated: the run-length data ends before the last row");
  Decoded decoded = begin(source, kFormat, header.width, header.height, 1, working);
  for (std::size_t y = 0; y < height; ++y) {
    std::uint8_t* out = row_of(decoded.rgb, header, y);
    for (std::size_t x = 0; x < width; ++x)
      std::copy_n(palette[indices[y * width + x]].data(), 3, out + 3 * x);
  }
  return decoded;
}

}  // namespace

Decoded decode_bmp(const Source& source) {
  BmpHeader header = read_header(source);
  check_size(source, kFormat, header.width, header.height);
  check_header(source, header);
  const Palette palette = header.bits <= 8 ? read_palette(source, header) : Palette{};
  if (header.compression == kRle8 || header.compression == kRle4)
    return read_rle(source, header, palette);
  // Raw pixels take a known number of bytes: a header that promises more than the file holds is
  // found out first.
  const std::uint64_t stride = (header.width * header.bits + 31) / 32 * 4;
  if (header.height - 1 > source.bytes.size() / stride)
    fail(source, kFormat, "the file is truncated");
  const bool has_alpha =
      header.bits == 32 && header.compression == kBitFields && header.masks[3] != 0;
  Decoded decoded = begin(source, kFormat, header.width, header.height, 1, 0, has_alpha);
  if (source.header_only) return decoded;
  read_raw(source, header, palette, decoded.rgb);
  if (!decoded.alpha.empty()) read_alpha(source, header, decoded);
  return decoded;
}

}  // namespace blip::image
