// Base64 and data URLs: what is decoded must be what encoding gives back.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "server/base64.h"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

// Without padding.
std::string encoded(std::string_view bytes) {
  static constexpr char kAlphabet[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  std::uint32_t bits = 0;
  int count = 0;
  for (const char byte : bytes) {
    bits = bits << 8 | static_cast<unsigned char>(byte);
    for (count += 8; count >= 6; count -= 6) text += kAlphabet[bits >> (count - 6) & 63];
  }
  if (count > 0) text += kAlphabet[bits << (6 - count) & 63];
  return text;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto bytes = blip::server::decode_base64(text)) {
    std::string letters(text);
    std::erase_if(letters, [](char c) { return c == '\r' || c == '\n' || c == '='; });
    require(encoded(*bytes) == letters);
  }
  require(blip::server::decode_base64(encoded(text)) == std::string(text));
  if (const auto bytes = blip::server::decode_data_url(text)) require(bytes->size() <= size);
  return 0;
}
