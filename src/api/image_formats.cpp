// The formats of pictures, as users of the library see them.
#include "blip/blip.h"
#include "image/formats.h"

namespace blip {
namespace {

ImageFormat public_format(const image::Format& format) {
  const std::string library = *format.library ? format.library : "blip";
  return {format.name,
          {format.endings.begin(), format.endings.end()},
          {format.media_types.begin(), format.media_types.end()},
          format.decoder != nullptr,
          format.decoder ? library : "this build has no " + library};
}

}  // namespace

std::vector<ImageFormat> image_formats() {
  std::vector<ImageFormat> formats;
  for (const image::Format& format : image::formats())
    if (format.library) formats.push_back(public_format(format));
  return formats;
}

std::optional<ImageFormat> image_format_of(std::span<const std::byte> encoded) {
  const image::Format* const format = image::find_format(encoded);
  if (!format || !format->library) return std::nullopt;
  return public_format(*format);
}

bool has_image_ending(std::string_view file_name) {
  return image::find_format_by_ending(file_name) != nullptr;
}

bool looks_like_image(std::span<const std::byte> head) { return image::looks_like_picture(head); }

}  // namespace blip
