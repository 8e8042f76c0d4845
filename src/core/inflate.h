// Unpacking of deflated data: by zlib (inflate_zlib.cpp) or, where there is none, by stb_image's
// decoder (inflate_stb.cpp).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace blip {

enum class Deflate {
  kRaw,   // the bare stream, as in zip archives
  kZlib,  // with zlib's header, as in PNG
};

struct Inflated {
  std::size_t size = 0;   // bytes written
  bool complete = false;  // the data were sound, and all of them fitted
};

// Unpacks into `out`, never past its end. Of damaged data, or of more than fits, zlib writes what
// it can and stb nothing.
Inflated inflate(std::span<const std::byte> data, std::span<std::byte> out, Deflate format);

// CRC-32 as zip archives and PNG use it.
std::uint32_t crc32(std::span<const std::byte> data);

}  // namespace blip
