// What pictures look like.
#include "blip/look.h"

#include "image/look.h"

namespace blip {

std::uint64_t perceptual_hash(const Image& image) {
  return image::perceptual_hash(image.data(), image.width(), image.height());
}

}  // namespace blip
