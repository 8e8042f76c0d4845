#include <zlib.h>

#include <algorithm>

#include "core/inflate.h"

namespace blip {

Inflated inflate(std::span<const std::byte> data, std::span<std::byte> out, Deflate format) {
  z_stream stream{};
  // negative: no zlib header
  if (inflateInit2(&stream, format == Deflate::kRaw ? -MAX_WBITS : MAX_WBITS) != Z_OK) return {};
  std::size_t used = 0, made = 0;
  int state = Z_OK;
  std::byte none;  // zlib wants a place even for nothing
  while (state == Z_OK) {
    // zlib counts in 32 bits, so it is fed in pieces.
    constexpr std::size_t kPiece = std::size_t{1} << 30;
    const auto in = static_cast<uInt>(std::min(kPiece, data.size() - used));
    const auto room = static_cast<uInt>(std::min(kPiece, out.size() - made));
    // zlib does not write to it
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(data.data() + used));
    stream.avail_in = in;
    stream.next_out = reinterpret_cast<Bytef*>(room == 0 ? &none : out.data() + made);
    stream.avail_out = room;
    // Z_BUF_ERROR, which ends the loop, once nothing more can be read or written
    state = ::inflate(&stream, Z_NO_FLUSH);
    used += in - stream.avail_in;
    made += room - stream.avail_out;
  }
  inflateEnd(&stream);
  return {made, state == Z_STREAM_END};
}

std::uint32_t crc32(std::span<const std::byte> data) {
  const uLong start = crc32_z(0, nullptr, 0);
  return static_cast<std::uint32_t>(
      crc32_z(start, reinterpret_cast<const Bytef*>(data.data()), data.size()));
}

}  // namespace blip
