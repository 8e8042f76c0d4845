// From the samples of a TIFF page to RGB, as Pillow's convert("RGB") makes it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace blip::image {

// What a page's samples mean.
struct TiffLayout {
  enum class Colour { kGrey, kRgb, kPalette, kCmyk };
  enum class Alpha { kNone, kStraight, kPremultiplied };
  enum class Number { kUnsigned, kSigned, kFloat };

  Colour colour = Colour::kGrey;
  Alpha alpha = Alpha::kNone;  // the sample after the colours
  Number number = Number::kUnsigned;
  bool inverted = false;  // 0 is white
  int bits = 8;           // of a sample
  int samples = 1;        // of a pixel, those that are passed over included
  std::array<std::array<std::uint8_t, 256>, 3> palette{};  // red, green, blue

  int colours() const { return colour == Colour::kRgb ? 3 : colour == Colour::kCmyk ? 4 : 1; }
};

// The tags that decide it.
struct TiffTags {
  int photometric = 0, bits = 1, samples = 1, format = 1;
  std::vector<std::uint16_t> extra;  // what the samples after the colours are
};

// Fills in everything but the palette. Returns why such a page cannot be read; "" where it can.
std::string interpret(const TiffTags& tags, TiffLayout& layout);

// Turns samples as they are stored (in this machine's byte order, rows begin at whole bytes) into
// one byte each. Those of more than 8 bits lose their low bits in colours; greys are clipped, as
// Pillow does both.
void to_bytes(const TiffLayout& layout, const std::uint8_t* in, std::size_t count,
              std::uint8_t* out);

// Makes `count` pixels of bytes, `layout.samples` a pixel. `alpha` is for the alpha of each;
// nullptr = not wanted.
void to_rgb(const TiffLayout& layout, const std::uint8_t* in, std::size_t count, std::uint8_t* rgb,
            std::uint8_t* alpha);

}  // namespace blip::image
