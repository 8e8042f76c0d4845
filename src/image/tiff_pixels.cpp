#include "image/tiff_pixels.h"

#include <algorithm>
#include <cstring>

namespace blip::image {
namespace {

// TIFF's numbers.
constexpr int kWhiteIsZero = 0, kBlackIsZero = 1, kRgb = 2, kPalette = 3, kCmyk = 5, kYCbCr = 6,
              kLab = 8;
constexpr std::uint16_t kAssociated = 1, kUnassociated = 2, kCorel = 999;

std::string name_of(int photometric) {
  switch (photometric) {
    case 4:
      return "a transparency mask";
    case kLab:
    case 9:
    case 10:
      return "CIE L*a*b* colours";
    case 32803:
    case 34892:
      return "raw values of a camera's sensor";
    case 32844:
    case 32845:
      return "LogLuv colours";
    default:
      return "photometric interpretation " + std::to_string(photometric);
  }
}

// The alpha among the extra samples: the first of them, while all others are of no known meaning.
std::string find_alpha(const TiffTags& tags, int colours, TiffLayout& layout) {
  const auto extra = static_cast<std::size_t>(tags.samples - colours);
  if (extra == 0) return "";
  for (std::size_t i = 1; i < tags.extra.size(); ++i) {
    if (tags.extra[i] != 0) return "several kinds of extra samples in a pixel";
  }
  // Of RGB a fourth sample without a meaning is alpha.
  const std::uint16_t first = !tags.extra.empty()        ? tags.extra.front()
                              : tags.photometric == kRgb ? kUnassociated
                                                         : std::uint16_t{0};
  if (first == kAssociated) layout.alpha = TiffLayout::Alpha::kPremultiplied;
  if (first == kUnassociated || first == kCorel) layout.alpha = TiffLayout::Alpha::kStraight;
  return "";
}

// The next sample of `bits` bits, most significant bit first.
class BitReader {
 public:
  BitReader(const std::uint8_t* in, int bits) : in_(in), bits_(bits) {}
  unsigned next() {
    while (have_ < bits_) {
      value_ = value_ << 8 | *in_++;
      have_ += 8;
    }
    have_ -= bits_;
    const unsigned sample = value_ >> have_ & ((1u << bits_) - 1);
    return sample;
  }

 private:
  const std::uint8_t* in_;
  const int bits_;
  unsigned value_ = 0;
  int have_ = 0;
};

template <class Stored, class Convert>
void convert(const std::uint8_t* in, std::size_t count, std::uint8_t* out, Convert to_byte) {
  for (std::size_t i = 0; i < count; ++i) {
    Stored stored;
    std::memcpy(&stored, in + i * sizeof(Stored), sizeof(Stored));
    out[i] = to_byte(stored);
  }
}

template <class Whole>
std::uint8_t clipped(Whole value) {
  return static_cast<std::uint8_t>(std::clamp<Whole>(value, 0, 255));
}

// NaN is black.
std::uint8_t truncated(float value) {
  return value >= 255 ? 255 : value > 0 ? static_cast<std::uint8_t>(value) : 0;
}

// Rounded, for products of two bytes.
int divide_by_255(int value) { return (((value + 128) >> 8) + value + 128) >> 8; }

}  // namespace

std::string interpret(const TiffTags& tags, TiffLayout& layout) {
  using Colour = TiffLayout::Colour;
  using Number = TiffLayout::Number;
  switch (tags.photometric) {
    case kWhiteIsZero:
    case kBlackIsZero:
      layout.colour = Colour::kGrey;
      break;
    case kRgb:
      layout.colour = Colour::kRgb;
      break;
    case kPalette:
      layout.colour = Colour::kPalette;
      break;
    case kCmyk:
      layout.colour = Colour::kCmyk;
      break;
    case kYCbCr:  // of one sample is grey; libtiff makes RGB of more
      layout.colour = tags.samples == 1 ? Colour::kGrey : Colour::kRgb;
      break;
    default:
      return name_of(tags.photometric) + " cannot be read";
  }
  layout.bits = tags.bits;
  layout.samples = tags.samples;
  const int colours = layout.colours();
  const std::string depth = std::to_string(tags.bits) + " bits a sample";
  constexpr int kMaxSamples = 6;
  if (tags.samples < colours || tags.samples > kMaxSamples)
    return std::to_string(tags.samples) + " samples a pixel of " + std::to_string(colours) +
           " colours cannot be read";
  if (tags.format < 1 || tags.format > 3)
    return "samples of format " + std::to_string(tags.format) +
           " cannot be read; whole numbers and floats can";
  layout.number = tags.format == 3   ? Number::kFloat
                  : tags.format == 2 ? Number::kSigned
                                     : Number::kUnsigned;
  const bool grey = layout.colour == Colour::kGrey && tags.samples == 1;
  bool known = false;
  if (layout.number == Number::kFloat) {
    known = grey && tags.bits == 32;
  } else if (layout.number == Number::kSigned) {
    known = grey && (tags.bits == 8 || tags.bits == 16 || tags.bits == 32);
  } else if (layout.colour == Colour::kRgb || layout.colour == Colour::kCmyk) {
    known = tags.bits == 8 || tags.bits == 16;
  } else {
    known = tags.bits == 8 ||
            (tags.samples == 1 && (tags.bits == 1 || tags.bits == 2 || tags.bits == 4)) ||
            (grey && (tags.bits == 12 || tags.bits == 16 || tags.bits == 32));
  }
  if (!known)
    return (layout.number == Number::kFloat ? "floats of " : "") + depth +
           " cannot be read for this kind of picture";
  layout.inverted = tags.photometric == kWhiteIsZero && tags.bits <= 8;
  return find_alpha(tags, colours, layout);
}

void to_bytes(const TiffLayout& layout, const std::uint8_t* in, std::size_t count,
              std::uint8_t* out) {
  const bool grey = layout.colour == TiffLayout::Colour::kGrey;
  using Number = TiffLayout::Number;
  if (layout.bits < 8) {
    // Greys fill the byte: 3 of 2 bits is 255.
    const unsigned scale = grey ? 255u / ((1u << layout.bits) - 1) : 1u;
    BitReader bits(in, layout.bits);
    for (std::size_t i = 0; i < count; ++i) out[i] = static_cast<std::uint8_t>(bits.next() * scale);
  } else if (layout.bits == 12) {
    BitReader bits(in, 12);
    for (std::size_t i = 0; i < count; ++i) out[i] = clipped<int>(static_cast<int>(bits.next()));
  } else if (layout.bits == 8) {
    std::memcpy(out, in, count);
  } else if (layout.number == Number::kFloat) {
    convert<float>(in, count, out, truncated);
  } else if (layout.bits == 32) {  // Pillow takes these without a sign for some with one
    convert<std::int32_t>(in, count, out, clipped<std::int32_t>);
  } else if (layout.number == Number::kSigned) {
    convert<std::int16_t>(in, count, out, [](std::int16_t value) { return clipped<int>(value); });
  } else if (grey) {
    convert<std::uint16_t>(in, count, out, [](std::uint16_t value) { return clipped<int>(value); });
  } else {
    convert<std::uint16_t>(
        in, count, out, [](std::uint16_t value) { return static_cast<std::uint8_t>(value >> 8); });
  }
  if (layout.inverted)
    for (std::size_t i = 0; i < count; ++i) out[i] = static_cast<std::uint8_t>(255 - out[i]);
}

void to_rgb(const TiffLayout& layout, const std::uint8_t* in, std::size_t count, std::uint8_t* rgb,
            std::uint8_t* alpha) {
  using Colour = TiffLayout::Colour;
  const int colours = layout.colours();
  for (std::size_t i = 0; i < count; ++i, in += layout.samples, rgb += 3) {
    switch (layout.colour) {
      case Colour::kGrey:
        rgb[0] = rgb[1] = rgb[2] = in[0];
        break;
      case Colour::kPalette:
        for (std::size_t c = 0; c < 3; ++c) rgb[c] = layout.palette[c][in[0]];
        break;
      case Colour::kRgb:
        std::memcpy(rgb, in, 3);
        break;
      case Colour::kCmyk:
        for (int c = 0; c < 3; ++c)
          rgb[c] = clipped<int>(255 - in[3] - divide_by_255(in[c] * (255 - in[3])));
        break;
    }
    if (layout.alpha == TiffLayout::Alpha::kNone) continue;
    const int opacity = in[colours];
    if (alpha) alpha[i] = static_cast<std::uint8_t>(opacity);
    if (layout.alpha == TiffLayout::Alpha::kStraight || opacity == 255) continue;
    for (int c = 0; c < 3; ++c)
      rgb[c] = opacity == 0 ? std::uint8_t{0} : clipped<int>(rgb[c] * 255 / opacity);
  }
}

}  // namespace blip::image
