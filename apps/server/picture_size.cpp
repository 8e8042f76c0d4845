#include "server/picture_size.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "blip/error.h"

namespace blip::server {
namespace {

// More than any of our decoders takes for a pixel: progressive JPEG keeps two bytes for each of three or four components beside
// the picture, and turning it makes a copy.
constexpr std::size_t kBytesPerPixel = 14, kBytesPerGifPixel = 3;

class Header {
 public:
  explicit Header(std::string_view bytes) : bytes_(bytes) {}
  bool starts(std::string_view text, std::size_t at = 0) const { return bytes_.substr(std::min(at, bytes_.size())).starts_with(text); }
  std::size_t u8(std::size_t at) const { return at < bytes_.size() ? static_cast<unsigned char>(bytes_[at]) : 0; }
  std::size_t big(std::size_t at, int count) const {
    std::size_t value = 0;
    for (int i = 0; i < count; ++i) value = value << 8 | u8(at + static_cast<std::size_t>(i));
    return value;
  }
  std::size_t little(std::size_t at, int count) const {
    std::size_t value = 0;
    for (int i = count; i-- > 0;) value = value << 8 | u8(at + static_cast<std::size_t>(i));
    return value;
  }
  std::size_t size() const { return bytes_.size(); }

 private:
  std::string_view bytes_;
};

struct Size {
  std::size_t width = 0, height = 0;
};

Size jpeg_size(const Header& h) {
  for (std::size_t at = 2; at + 9 < h.size();) {
    if (h.u8(at) != 0xff) return {};
    const std::size_t marker = h.u8(at + 1);
    if (marker == 0xff) {
      ++at;
      continue;
    }
    if (marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc) return {h.big(at + 7, 2), h.big(at + 5, 2)};
    at += 2 + std::max<std::size_t>(2, h.big(at + 2, 2));
  }
  return {};
}

Size webp_size(const Header& h) {
  if (h.starts("VP8X", 12)) return {h.little(24, 3) + 1, h.little(27, 3) + 1};
  if (h.starts("VP8L", 12)) return {(h.little(21, 4) & 0x3fff) + 1, (h.little(21, 4) >> 14 & 0x3fff) + 1};
  return {h.little(26, 2) & 0x3fff, h.little(28, 2) & 0x3fff};
}

Size size_of(const Header& h) {
  if (h.starts("\xff\xd8\xff")) return jpeg_size(h);
  if (h.starts("\x89PNG")) return {h.big(16, 4), h.big(20, 4)};
  if (h.starts("GIF8")) return {h.little(6, 2), h.little(8, 2)};
  if (h.starts("RIFF") && h.starts("WEBP", 8)) return webp_size(h);
  if (h.starts("BM")) return {h.little(18, 4), std::min<std::size_t>(h.little(22, 4), (std::size_t{1} << 32) - h.little(22, 4))};
  return {};
}

}  // namespace

PictureSize inspect_picture(std::span<const std::byte> bytes, const ImageLimits& limits) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const Size size = size_of(Header(text));
  std::size_t pixels = size.width * size.height;
  if (limits.max_pixels != 0) pixels = std::min(pixels, limits.max_pixels);  // larger ones are refused before they are decoded
  const std::size_t each = text.starts_with("GIF8") ? kBytesPerGifPixel : kBytesPerPixel;
  return {static_cast<int>(size.width), static_cast<int>(size.height), pixels * each};
}

}  // namespace blip::server
