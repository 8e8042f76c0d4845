// Pictures that went through the vision tower, by content: a second question about one skips the tower.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <string_view>
#include <utility>

#include "blip/blip.h"

namespace blip::server {

// Of a picture file's bytes. Seeded per process, so that nobody can prepare two files with one hash.
using ContentHash = std::pair<std::uint64_t, std::uint64_t>;
ContentHash content_hash(std::string_view bytes);

// Least recently used out first. One cache per model. Thread-safe.
class ImageCache {
 public:
  // bytes_each: what one encoded picture holds. Either limit 0 = no cache.
  ImageCache(std::size_t max_entries, std::size_t max_bytes, std::size_t bytes_each);

  std::optional<EncodedImage> find(const ContentHash& hash);
  void insert(const ContentHash& hash, const EncodedImage& image);

  std::size_t entries() const;
  std::size_t capacity() const { return capacity_; }
  std::size_t bytes() const { return entries() * bytes_each_; }

 private:
  using Order = std::list<std::pair<ContentHash, EncodedImage>>;
  const std::size_t capacity_, bytes_each_;
  mutable std::mutex mutex_;
  Order order_;  // most recent first
  std::map<ContentHash, Order::iterator> places_;
};

// What one encoded picture of this model holds: the vision tower's states and every text layer's keys and values.
std::size_t encoded_bytes(const ModelInfo& info);

}  // namespace blip::server
