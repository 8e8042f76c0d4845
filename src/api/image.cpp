// Image and EncodedImage: handles to decoded and encoded pictures.
#include "image/image.h"

#include <cstring>
#include <utility>

#include "api/impl.h"
#include "base/file.h"
#include "blip/error.h"
#include "core/zone.h"

namespace blip {

Image Image::from_file(const std::string& path, const ImageLimits& limits,
                       const std::optional<Color>& background) {
  const StageZone zone("read picture");
  const auto bytes = read_file(path, limits.max_bytes);
  return Image(
      std::make_shared<const Impl>(Impl{image::decode(bytes, path, limits, background), 0}));
}

Image Image::from_memory(std::span<const std::byte> encoded, const ImageLimits& limits,
                         const std::optional<Color>& background) {
  const StageZone zone("read picture");
  return Image(
      std::make_shared<const Impl>(Impl{image::decode(encoded, "picture", limits, background), 0}));
}

ImageInfo Image::inspect(std::span<const std::byte> encoded, const ImageLimits& limits,
                         const std::optional<Color>& background) {
  const image::Header header = image::inspect(encoded, "picture", limits, background);
  return {header.format, header.width, header.height, header.decode_bytes};
}

Image Image::from_rgb(const std::uint8_t* rgb, int width, int height, std::size_t stride) {
  if (!rgb || width <= 0 || height <= 0)
    throw Error(ErrorCode::kUsage, "a picture needs pixels and a size of at least 1 x 1; got " +
                                       std::to_string(width) + " x " + std::to_string(height));
  const std::size_t row = static_cast<std::size_t>(width) * 3;
  if (stride == 0) stride = row;
  if (stride < row)
    throw Error(ErrorCode::kUsage, "stride must be at least 3 x width = " + std::to_string(row) +
                                       " bytes; got " + std::to_string(stride));
  image::Rgb copy{width, height, std::vector<std::uint8_t>(row * static_cast<std::size_t>(height))};
  for (int y = 0; y < height; ++y) std::memcpy(copy.pixels.data() + y * row, rgb + y * stride, row);
  return Image(std::make_shared<const Impl>(Impl{std::move(copy), 0}));
}

Image Image::resized(int width, int height) const {
  if (width <= 0 || height <= 0)
    throw Error(ErrorCode::kUsage, "a picture needs a size of at least 1 x 1; got " +
                                       std::to_string(width) + " x " + std::to_string(height));
  return Image(
      std::make_shared<const Impl>(Impl{image::resize_bicubic(impl_->rgb, width, height)}));
}

int Image::width() const { return impl_->rgb.width; }
int Image::height() const { return impl_->rgb.height; }
const std::uint8_t* Image::data() const { return impl_->rgb.pixels.data(); }

double EncodedImage::preprocess_ms() const { return impl_->preprocess_ms; }
double EncodedImage::encode_ms() const { return impl_->encode_ms; }
std::size_t EncodedImage::bytes() const { return impl_->image->bytes(); }

}  // namespace blip
