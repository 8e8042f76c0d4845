// The picture decoders over any bytes, then the resize and the normalisation of what they give.
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

#include "blip/error.h"
#include "image/resize.h"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // A small limit on pixels keeps one input below a few milliseconds.
  const blip::ImageLimits limits{.max_bytes = 1 << 20, .max_pixels = 1 << 16};
  try {
    // Every other input over a colour, which makes the decoders keep the alpha.
    const auto background = size % 2 ? std::optional(blip::Color{10, 20, 30}) : std::nullopt;
    const blip::image::Rgb rgb =
        blip::image::decode(std::as_bytes(std::span(data, size)), "input", limits, background);
    const auto pixels = static_cast<std::size_t>(rgb.width) * static_cast<std::size_t>(rgb.height);
    require(rgb.width > 0 && rgb.height > 0 && pixels <= limits.max_pixels &&
            rgb.pixels.size() == 3 * pixels);
    // The last bytes choose the new size.
    const int width = 1 + data[size - 1] % 40, height = 1 + data[size - 2] % 40;
    const blip::image::Rgb resized = blip::image::resize_bicubic(rgb, width, height);
    require(resized.pixels ==
            blip::image::resize_bicubic(rgb, width, height, blip::image::scalar_kernels()).pixels);
    std::vector<float> planes(resized.pixels.size());
    blip::image::normalize(resized, {}, planes);
  } catch (const blip::Error& error) {
    require(error.code() == blip::ErrorCode::kImage &&
            std::string(error.what()).starts_with("input: "));
  }
  return 0;
}
