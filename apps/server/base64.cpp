#include "server/base64.h"

#include <array>
#include <cstdint>

namespace blip::server {
namespace {

constexpr std::uint8_t kBad = 0xff, kSkip = 0xfe;

constexpr std::array<std::uint8_t, 256> make_table() {
  std::array<std::uint8_t, 256> table{};
  for (auto& value : table) value = kBad;
  constexpr std::string_view alphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (std::size_t i = 0; i < alphabet.size(); ++i)
    table[static_cast<unsigned char>(alphabet[i])] = static_cast<std::uint8_t>(i);
  table['\r'] = table['\n'] = kSkip;
  return table;
}

constexpr auto kTable = make_table();

}  // namespace

std::optional<std::string> decode_base64(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.remove_suffix(1);
  std::size_t padding = 0;
  while (padding < 2 && text.ends_with('=')) {
    text.remove_suffix(1);
    ++padding;
  }
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3 + 3);
  std::uint32_t bits = 0;
  std::size_t digits = 0;
  for (const char c : text) {
    const std::uint8_t value = kTable[static_cast<unsigned char>(c)];
    if (value == kSkip) continue;
    if (value == kBad) return std::nullopt;
    bits = bits << 6 | value;
    if (++digits % 4 == 0) {
      bytes +=
          {static_cast<char>(bits >> 16), static_cast<char>(bits >> 8), static_cast<char>(bits)};
      bits = 0;
    }
  }
  const std::size_t rest = digits % 4;
  if (rest == 1 || (padding != 0 && rest + padding != 4)) return std::nullopt;
  if (rest == 2) {
    if ((bits & 0xf) != 0) return std::nullopt;
    bytes += static_cast<char>(bits >> 4);
  } else if (rest == 3) {
    if ((bits & 0x3) != 0) return std::nullopt;
    bytes += {static_cast<char>(bits >> 10), static_cast<char>(bits >> 2)};
  }
  return bytes;
}

std::optional<std::string> decode_data_url(std::string_view text) {
  if (!text.starts_with("data:")) return decode_base64(text);
  const std::size_t comma = text.find(',');
  if (comma == std::string_view::npos || !text.substr(0, comma).ends_with(";base64"))
    return std::nullopt;
  return decode_base64(text.substr(comma + 1));
}

}  // namespace blip::server
