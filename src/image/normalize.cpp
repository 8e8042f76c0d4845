#include "blip/error.h"
#include "image/image.h"

namespace blip::image {

// The order of operations is that of the official code (torchvision's ToTensor, then Normalize),
// each rounded to float: divide by 255, subtract the mean, divide by the deviation.
void normalize(const Rgb& source, const Normalization& normalization, std::span<float> out) {
  const std::size_t plane =
      static_cast<std::size_t>(source.width) * static_cast<std::size_t>(source.height);
  if (out.size() != plane * 3) {
    throw Error(ErrorCode::kUsage, "normalize: the output holds " + std::to_string(out.size()) +
                                       " values, expected 3 x " + std::to_string(source.height) +
                                       " x " + std::to_string(source.width));
  }
  std::array<std::array<float, 256>, 3> table;
  for (std::size_t c = 0; c < 3; ++c) {
    for (std::size_t v = 0; v < 256; ++v) {
      table[c][v] = (static_cast<float>(v) / 255.0f - normalization.mean[c]) / normalization.std[c];
    }
  }
  const std::uint8_t* in = source.pixels.data();
  float* red = out.data();
  float* green = red + plane;
  float* blue = green + plane;
  for (std::size_t i = 0; i < plane; ++i, in += 3) {
    red[i] = table[0][in[0]];
    green[i] = table[1][in[1]];
    blue[i] = table[2][in[2]];
  }
}

}  // namespace blip::image
