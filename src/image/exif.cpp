#include "image/exif.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace blip::image {
namespace {

constexpr std::uint32_t kOrientationTag = 0x0112;
constexpr std::size_t kEntrySize = 12;

// Bytes per value of the TIFF types (1 byte, 2 text, 3 short, 4 long, 5 rational, 6 to 10 their
// signed kin, 11 float, 12 double, 13 IFD, 16 long8); 0 = unknown.
std::uint64_t type_size(std::uint32_t type) {
  static constexpr std::uint8_t kSizes[] = {0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8};
  return type < std::size(kSizes) ? kSizes[type] : 0;
}

// The value as a small whole number. Types that Pillow would not compare equal to one (bytes, text)
// give nullopt.
std::optional<std::uint32_t> whole_number(Bytes tiff, std::size_t offset, std::uint32_t type,
                                          Endian endian) {
  switch (type) {
    case 3:
    case 8:
      return read_u16(tiff, offset, endian);
    case 4:
    case 9:
    case 13:
      return read_u32(tiff, offset, endian);
    case 6:
      return read_u8(tiff, offset);
    default:
      return std::nullopt;
  }
}

// The orientation in a TIFF block's first directory: nullopt = no such tag, 0 = a tag that says
// nothing.
std::optional<int> find_in_tiff(Bytes tiff) {
  if (tiff.size() < 8) return std::nullopt;
  Endian endian;
  if (starts_with(tiff, std::string_view("II\x2a\0", 4))) {
    endian = Endian::kLittle;
  } else if (starts_with(tiff, std::string_view("MM\0\x2a", 4))) {
    endian = Endian::kBig;
  } else {
    return std::nullopt;
  }
  const std::size_t directory = *read_u32(tiff, 4, endian);
  const std::uint32_t count = read_u16(tiff, directory, endian).value_or(0);
  std::uint64_t values = 0;  // bytes that lie outside the entries
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::size_t entry = directory + 2 + i * kEntrySize;
    if (slice(tiff, entry, kEntrySize).size() < kEntrySize) return std::nullopt;
    const std::uint32_t type = *read_u16(tiff, entry + 2, endian);
    const std::uint64_t size = type_size(type) * *read_u32(tiff, entry + 4, endian);
    if (size == 0) continue;
    const std::size_t value = size > 4 ? *read_u32(tiff, entry + 8, endian) : entry + 8;
    // As Pillow, whatever the tag: values that together take more than the block are passed over,
    // one that lies outside ends the reading.
    if (size > 4) values += size;
    if (size > 4 && values > tiff.size()) continue;
    if (slice(tiff, value).size() < size) return std::nullopt;
    if (read_u16(tiff, entry, endian) != kOrientationTag) continue;
    const std::uint32_t number = whole_number(tiff, value, type, endian).value_or(0);
    return number <= 8 ? static_cast<int>(number) : 0;
  }
  return std::nullopt;
}

// tiff:Orientation="6" or <tiff:Orientation>6
std::optional<int> find_in_xmp(std::string_view xmp) {
  constexpr std::string_view kName = "tiff:Orientation";
  for (std::size_t at = xmp.find(kName); at != std::string_view::npos;
       at = xmp.find(kName, at + 1)) {
    std::string_view rest = xmp.substr(at + kName.size());
    if (rest.starts_with("=\"")) {
      rest.remove_prefix(2);
    } else if (rest.starts_with(">")) {
      rest.remove_prefix(1);
    } else {
      continue;
    }
    if (!rest.empty() && rest[0] >= '0' && rest[0] <= '9') return rest[0] - '0';
  }
  return std::nullopt;
}

void mirror_rows(Rgb& rgb) {
  const std::size_t width = static_cast<std::size_t>(rgb.width), stride = width * 3;
  for (std::size_t start = 0; start < rgb.pixels.size(); start += stride) {
    std::uint8_t* left = rgb.pixels.data() + start;
    for (std::uint8_t* right = left + stride - 3; left < right; left += 3, right -= 3)
      std::swap_ranges(left, left + 3, right);
  }
}

void exchange_rows(Rgb& rgb) {
  const std::size_t stride = static_cast<std::size_t>(rgb.width) * 3;
  std::uint8_t* top = rgb.pixels.data();
  for (std::uint8_t* bottom = top + rgb.pixels.size() - stride; top < bottom;
       top += stride, bottom -= stride) {
    std::swap_ranges(top, top + stride, bottom);
  }
}

// Copies `source`, rows as columns, so that row y, column x of the result is source pixel origin +
// x * dx + y * dy (in pixels).
Rgb transpose(const Rgb& source, std::ptrdiff_t origin, std::ptrdiff_t dx, std::ptrdiff_t dy) {
  Rgb result{source.height, source.width, {}};
  result.pixels.resize(source.pixels.size());
  // Square tiles keep both the rows read and the rows written in the cache when columns become
  // rows.
  constexpr int kTile = 64;
  for (int y0 = 0; y0 < result.height; y0 += kTile) {
    for (int x0 = 0; x0 < result.width; x0 += kTile) {
      const int y1 = std::min(y0 + kTile, result.height), x1 = std::min(x0 + kTile, result.width);
      for (int y = y0; y < y1; ++y) {
        std::uint8_t* out = result.pixels.data() +
                            (static_cast<std::size_t>(y) * static_cast<std::size_t>(result.width) +
                             static_cast<std::size_t>(x0)) *
                                3;
        for (int x = x0; x < x1; ++x, out += 3)
          std::memcpy(out, source.pixels.data() + (origin + x * dx + y * dy) * 3, 3);
      }
    }
  }
  return result;
}

}  // namespace

int orientation(const OrientationTags& tags) {
  std::optional<int> found;
  if (tags.exif) {
    Bytes tiff = *tags.exif;
    for (int i = 0; i < 2 && starts_with(tiff, std::string_view("Exif\0\0", 6)); ++i)
      tiff = tiff.subspan(6);
    found = find_in_tiff(tiff);
  }
  if (!found && tags.xmp) found = find_in_xmp(*tags.xmp);
  return found && *found >= 1 && *found <= 8 ? *found : 1;
}

Rgb apply_orientation(Rgb source, int orientation) {
  const std::ptrdiff_t w = source.width, h = source.height;
  switch (orientation) {
    case 2:
      mirror_rows(source);
      return source;
    case 3:  // half a turn
      mirror_rows(source);
      exchange_rows(source);
      return source;
    case 4:
      exchange_rows(source);
      return source;
    case 5:
      return transpose(source, 0, w, 1);  // transposed
    case 6:
      return transpose(source, (h - 1) * w, -w, 1);  // a quarter turn clockwise
    case 7:
      return transpose(source, w * h - 1, -w, -1);  // transposed along the other diagonal
    case 8:
      return transpose(source, w - 1, w, -1);  // a quarter turn anticlockwise
    default:
      return source;
  }
}

}  // namespace blip::image
