// Pictures: decoding to RGB as Pillow's convert("RGB") gives it, EXIF orientation, Pillow's
// bicubic, normalisation.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "blip/options.h"

namespace blip::image {

// 8-bit RGB, [height, width, 3], rows tightly packed.
struct Rgb {
  int width = 0, height = 0;
  std::vector<std::uint8_t> pixels;
};

// What a header says: the upright picture's size, and the bytes that decoding takes at most.
struct Header {
  const char* format = "";
  int width = 0, height = 0;
  std::size_t decode_bytes = 0;
};

// A picture of any of formats.h, found by content; orientation applied. `name` appears in errors.
// Transparent pixels are laid over the background, or their alpha is dropped where there is none.
// Throws Error(kImage): not a picture, damaged, over a limit, no memory. Limits are checked before
// pixels are allocated.
Rgb decode(std::span<const std::byte> encoded, const std::string& name, const ImageLimits& limits,
           const std::optional<Color>& background = std::nullopt);

// The header alone, checked against the limits as decode() does.
Header inspect(std::span<const std::byte> encoded, const std::string& name,
               const ImageLimits& limits, const std::optional<Color>& background = std::nullopt);

// Image.resize((width, height), BICUBIC) of Pillow 13, bit for bit. Earlier versions differ where
// rows shrink by over twice as many pixels as columns: they always resized the width first.
Rgb resize_bicubic(const Rgb& source, int width, int height);

// Per-channel (x / 255 - mean) / std, each step rounded to float, as torchvision's ToTensor and
// Normalize.
struct Normalization {
  std::array<float, 3> mean{0.48145466f, 0.4578275f, 0.40821073f};
  std::array<float, 3> std{0.26862954f, 0.26130258f, 0.27577711f};
};

// out: [3, height, width].
void normalize(const Rgb& source, const Normalization& normalization, std::span<float> out);

}  // namespace blip::image
