#include <array>
#include <limits>
#include <vector>

#include "core/inflate.h"

// Only the decoder of deflated data is used; the rest of the file is what it stands on.
#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_NO_STDIO
#define STBI_ONLY_PNG
#if defined(__GNUC__)
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#endif
#include <stb/stb_image.h>

namespace blip {

Inflated inflate(std::span<const std::byte> data, std::span<std::byte> out, Deflate format) {
  constexpr std::size_t kMax = std::numeric_limits<int>::max() - 4;
  if (data.size() > kMax || out.size() > kMax) return {};
  const auto decode =
      format == Deflate::kRaw ? stbi_zlib_decode_noheader_buffer : stbi_zlib_decode_buffer;
  // It wants 16 bits ahead of the last code, which a bare stream does not have. Ones, as zeros
  // would end a truncated stream.
  std::vector<std::byte> padded;
  if (format == Deflate::kRaw) {
    padded.assign(data.begin(), data.end());
    padded.insert(padded.end(), 4, std::byte{0xff});
    data = padded;
  }
  std::byte none;  // it wants a place even for nothing
  char* const to = reinterpret_cast<char*>(out.empty() ? &none : out.data());
  const int size =
      decode(to, static_cast<int>(out.size()), reinterpret_cast<const char*>(data.data()),
             static_cast<int>(data.size()));
  return size < 0 ? Inflated{} : Inflated{static_cast<std::size_t>(size), true};
}

std::uint32_t crc32(std::span<const std::byte> data) {
  static const auto table = [] {
    std::array<std::uint32_t, 256> values;
    for (std::uint32_t i = 0; i < values.size(); ++i) {
      values[i] = i;
      for (int bit = 0; bit < 8; ++bit)
        values[i] = values[i] >> 1 ^ (values[i] & 1 ? 0xedb88320u : 0);
    }
    return values;
  }();
  std::uint32_t crc = ~std::uint32_t{0};
  for (const std::byte b : data)
    crc = table[(crc ^ std::to_integer<std::uint32_t>(b)) & 0xff] ^ crc >> 8;
  return ~crc;
}

}  // namespace blip
