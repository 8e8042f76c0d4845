#include "server/image_cache.h"

#include <xxhash.h>

#include <algorithm>
#include <random>

namespace blip::server {

ContentHash content_hash(std::string_view bytes) {
  static const std::uint64_t seed = [] {
    std::random_device random;
    return std::uint64_t{random()} << 32 | random();
  }();
  const XXH128_hash_t hash = XXH3_128bits_withSeed(bytes.data(), bytes.size(), seed);
  return {hash.high64, hash.low64};
}

ImageCache::ImageCache(std::size_t max_entries, std::size_t max_bytes, std::size_t bytes_each)
    : capacity_(std::min(max_entries, max_bytes / std::max<std::size_t>(bytes_each, 1))), bytes_each_(bytes_each) {}

std::optional<EncodedImage> ImageCache::find(const ContentHash& hash) {
  const std::lock_guard lock(mutex_);
  const auto place = places_.find(hash);
  if (place == places_.end()) return std::nullopt;
  order_.splice(order_.begin(), order_, place->second);
  return place->second->second;
}

void ImageCache::insert(const ContentHash& hash, const EncodedImage& image) {
  const std::lock_guard lock(mutex_);
  if (capacity_ == 0 || places_.contains(hash)) return;
  if (order_.size() == capacity_) {
    places_.erase(order_.back().first);
    order_.pop_back();
  }
  order_.emplace_front(hash, image);
  places_[hash] = order_.begin();
}

std::size_t ImageCache::entries() const {
  const std::lock_guard lock(mutex_);
  return order_.size();
}

std::size_t encoded_bytes(const ModelInfo& info) {
  if (info.patch_size <= 0) return 0;
  const auto side = static_cast<std::size_t>(info.image_size / info.patch_size);
  const std::size_t tokens = side * side + 1;
  std::size_t floats = 0;
  for (const PartInfo& part : info.parts) {
    const auto width = static_cast<std::size_t>(part.width);
    if (part.name == "vision") floats += tokens * width;
    // The answer decoder looks at the question, the others at the picture.
    if (part.name != "vision" && part.name != "answer_decoder") floats += 2 * tokens * width * static_cast<std::size_t>(part.layers);
  }
  return floats * sizeof(float);
}

}  // namespace blip::server
