// Colours as users write them.
#include <algorithm>
#include <array>
#include <string>
#include <string_view>

#include "base/ascii.h"
#include "blip/error.h"
#include "blip/options.h"

namespace blip {
namespace {

struct Named {
  std::string_view name;
  Color color;
};

// The basic colours of CSS.
constexpr std::array<Named, 17> kNamed = {{
    {"black", {0, 0, 0}},
    {"silver", {192, 192, 192}},
    {"gray", {128, 128, 128}},
    {"grey", {128, 128, 128}},
    {"white", {255, 255, 255}},
    {"maroon", {128, 0, 0}},
    {"red", {255, 0, 0}},
    {"purple", {128, 0, 128}},
    {"fuchsia", {255, 0, 255}},
    {"green", {0, 128, 0}},
    {"lime", {0, 255, 0}},
    {"olive", {128, 128, 0}},
    {"yellow", {255, 255, 0}},
    {"navy", {0, 0, 128}},
    {"blue", {0, 0, 255}},
    {"teal", {0, 128, 128}},
    {"aqua", {0, 255, 255}},
}};

}  // namespace

Color parse_color(const std::string& text) {
  const std::string word = lower(text);
  for (const Named& named : kNamed)
    if (word == named.name) return named.color;
  const std::string digits = word.starts_with('#') ? word.substr(1) : "";
  const bool hexadecimal =
      std::all_of(digits.begin(), digits.end(), [](char c) { return hex_value(c) >= 0; });
  if (!hexadecimal || (digits.size() != 3 && digits.size() != 6))
    throw Error(
        ErrorCode::kUsage,
        "\"" + text +
            "\" is no colour; write #rrggbb, #rgb, or a basic name such as white, black or gray");
  const auto component = [&](std::size_t i) {
    const bool is_short = digits.size() == 3;
    const int high = hex_value(digits[is_short ? i : 2 * i]),
              low = hex_value(digits[is_short ? i : 2 * i + 1]);
    return static_cast<std::uint8_t>(high * 16 + low);
  };
  return {component(0), component(1), component(2)};
}

}  // namespace blip
