// Unpacking by this build's decoder and by the portable one, compiled here under another name.
#include "core/inflate.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace blip {
Inflated stb_inflate(std::span<const std::byte> data, std::span<std::byte> out, Deflate format);
std::uint32_t stb_crc32(std::span<const std::byte> data);
}  // namespace blip
#define inflate stb_inflate
#define crc32 stb_crc32
#include "core/inflate_stb.cpp"  // NOLINT: its functions under the names above
#undef inflate
#undef crc32

namespace blip {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

// python3 -c "import zlib; c = zlib.compressobj(9, zlib.DEFLATED, -15); print((c.compress(b'ab' *
// 50 + b'c') + c.flush()).hex())"
constexpr std::string_view kRaw("\x4b\x4c\x4a\xa4\x39\x4c\x06\x00", 8);
// python3 -c "import zlib; print(zlib.compress(b'ab' * 50 + b'c', 9).hex())"
constexpr std::string_view kZlib("\x78\xda\x4b\x4c\x4a\xa4\x39\x4c\x06\x00\xaa\x85\x26\x7a", 14);

std::string expected() {
  std::string text;
  for (int i = 0; i < 50; ++i) text += "ab";
  return text + "c";
}

TEST(Inflate, UnpacksRawAndZlib) {
  for (const auto unpack : {inflate, stb_inflate})
    for (const auto& [data, format] :
         {std::pair(kRaw, Deflate::kRaw), std::pair(kZlib, Deflate::kZlib)}) {
      std::string out(200, '#');
      const Inflated result =
          unpack(bytes_of(data), std::as_writable_bytes(std::span(out)), format);
      EXPECT_TRUE(result.complete);
      ASSERT_EQ(result.size, 101u);
      EXPECT_EQ(out.substr(0, 101), expected());
      EXPECT_EQ(out.substr(101), std::string(99, '#'));
    }
}

TEST(Inflate, NeverWritesPastTheEnd) {
  for (const auto unpack : {inflate, stb_inflate})
    for (const std::size_t room : {0, 1, 50, 100}) {
      std::string out(200, '#');
      const Inflated result =
          unpack(bytes_of(kRaw), std::as_writable_bytes(std::span(out).first(room)), Deflate::kRaw);
      EXPECT_FALSE(result.complete) << room;
      EXPECT_LE(result.size, room);
      EXPECT_EQ(out.substr(room), std::string(200 - room, '#'));
    }
}

TEST(Inflate, DamagedDataAreIncomplete) {
  for (const auto unpack : {inflate, stb_inflate})
    for (const std::string_view data :
         {kRaw.substr(0, 3), std::string_view(), std::string_view("\xff\xff\xff", 3)}) {
      std::vector<std::byte> out(200);
      EXPECT_FALSE(unpack(bytes_of(data), out, Deflate::kRaw).complete) << data.size();
    }
}

TEST(Inflate, Crc32) {
  for (const auto crc : {crc32, stb_crc32}) {
    EXPECT_EQ(crc(bytes_of("123456789")), 0xcbf43926u);  // the check value of every list of CRCs
    EXPECT_EQ(crc({}), 0u);
  }
}

}  // namespace
}  // namespace blip
