#include "cli/printable.h"

#include <cstdint>

#include "base/utf8.h"

namespace blip::cli {
namespace {

constexpr std::string_view kHex = "0123456789abcdef";

bool is_unsafe(char32_t code) {
  return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x061c || code == 0x200e ||
         code == 0x200f || (code >= 0x2028 && code <= 0x202e) ||
         (code >= 0x2066 && code <= 0x2069) || code == 0xfeff;
}

void add_bytes(std::string& out, std::string_view bytes) {
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    out += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
  }
}

}  // namespace

std::string printable(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const auto [bytes, code] = first_code_point(text.substr(at));
    const std::string_view part = text.substr(at, bytes == 0 ? 1 : bytes);
    at += part.size();
    if (part == "\\") {
      out += "\\\\";
    } else if (part == "\t") {
      out += "\\t";
    } else if (part == "\n") {
      out += "\\n";
    } else if (part == "\r") {
      out += "\\r";
    } else if (bytes == 0 || is_unsafe(code)) {
      add_bytes(out, part);
    } else {
      out += part;
    }
  }
  return out;
}

std::string printable_json(std::string json) {
  std::string out;
  std::size_t copied = 0;
  for (std::size_t at = 0; at < json.size();) {
    const auto [bytes, code] = first_code_point(std::string_view(json).substr(at));
    if (bytes != 0 && is_unsafe(code)) {
      out.append(json, copied, at - copied);
      out += "\\u";
      for (int shift = 12; shift >= 0; shift -= 4) out += kHex[code >> shift & 15];
      copied = at + bytes;
    }
    at += bytes == 0 ? 1 : bytes;
  }
  return copied == 0 ? json : out.append(json, copied);
}

std::size_t find_not_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const auto [bytes, code] = first_code_point(text.substr(at));
    if (bytes == 0 || code == 0) return at;
    at += bytes;
  }
  return std::string_view::npos;
}

std::string base64(std::string_view bytes) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t group = 0;
    for (std::size_t k = 0; k < 3; ++k)
      group = group << 8 | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0u);
    for (std::size_t k = 0; k < 4; ++k)
      out += i + k <= bytes.size() ? kDigits[group >> (18 - 6 * k) & 63] : '=';
  }
  return out;
}

}  // namespace blip::cli
