// Bounds-checked reading of multi-byte numbers from an encoded picture.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>

namespace blip::image {

using Bytes = std::span<const std::byte>;

enum class Endian { kLittle, kBig };

// The part of `bytes` from `offset` on, at most `size` long; shorter (down to empty) where the data
// ends.
inline Bytes slice(Bytes bytes, std::size_t offset,
                   std::size_t size = static_cast<std::size_t>(-1)) {
  if (offset >= bytes.size()) return {};
  return bytes.subspan(offset, std::min(size, bytes.size() - offset));
}

inline std::optional<std::uint8_t> read_u8(Bytes bytes, std::size_t offset) {
  if (offset >= bytes.size()) return std::nullopt;
  return std::to_integer<std::uint8_t>(bytes[offset]);
}

// nullopt where the number does not lie wholly inside the data.
template <int kSize>
std::optional<std::uint32_t> read_number(Bytes bytes, std::size_t offset, Endian endian) {
  if (offset > bytes.size() || bytes.size() - offset < kSize) return std::nullopt;
  std::uint32_t value = 0;
  for (int i = 0; i < kSize; ++i) {
    const int at = endian == Endian::kBig ? i : kSize - 1 - i;
    value =
        value << 8 | std::to_integer<std::uint32_t>(bytes[offset + static_cast<std::size_t>(at)]);
  }
  return value;
}

inline std::optional<std::uint32_t> read_u16(Bytes bytes, std::size_t offset, Endian endian) {
  return read_number<2>(bytes, offset, endian);
}
inline std::optional<std::uint32_t> read_u32(Bytes bytes, std::size_t offset, Endian endian) {
  return read_number<4>(bytes, offset, endian);
}

inline std::string_view as_text(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

inline bool starts_with(Bytes bytes, std::string_view prefix) {
  return as_text(bytes).starts_with(prefix);
}

}  // namespace blip::image
