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

ImageCache::ImageCache(std::size_t max_entries, std::size_t max_bytes, MemoryBudget& budget)
    : max_entries_(max_entries), max_bytes_(max_bytes), budget_(budget) {
  budget_.add_reclaimer(this, [this](std::size_t wanted) { return give_back(wanted); });
}

ImageCache::~ImageCache() { budget_.remove_reclaimer(this); }

std::optional<EncodedImage> ImageCache::find(const ContentHash& hash) {
  const std::lock_guard lock(mutex_);
  const auto place = places_.find(hash);
  if (place == places_.end()) return std::nullopt;
  order_.splice(order_.begin(), order_, place->second);
  return place->second->image;
}

void ImageCache::insert(const ContentHash& hash, const EncodedImage& image) {
  Order dropped;
  const std::lock_guard lock(mutex_);
  if (max_entries_ == 0 || places_.contains(hash)) return;
  if (order_.size() == max_entries_) drop_locked(std::prev(order_.end()), dropped);
  order_.push_front({hash, image, budget_.empty(MemoryKind::kCache)});
  places_[hash] = order_.begin();
  if (!charge_locked(order_.front(), dropped)) drop_locked(order_.begin(), dropped);
}

void ImageCache::recount(const ContentHash& hash) {
  Order dropped;
  const std::lock_guard lock(mutex_);
  const auto place = places_.find(hash);
  if (place != places_.end() && !charge_locked(*place->second, dropped))
    drop_locked(place->second, dropped);
}

void ImageCache::erase(const ContentHash& hash) {
  Order dropped;
  const std::lock_guard lock(mutex_);
  if (const auto place = places_.find(hash); place != places_.end())
    drop_locked(place->second, dropped);
}

// Takes memory for all that the entry holds, from the oldest others where there is none; false: it
// cannot stay.
bool ImageCache::charge_locked(Entry& entry, Order& dropped) {
  const std::size_t bytes = entry.image.bytes(),
                    more = bytes - std::min(bytes, entry.memory.bytes());
  if (bytes > max_bytes_) return false;
  while (bytes_ + more > max_bytes_ || !entry.memory.grow(more)) {
    if (order_.size() == 1) return false;
    drop_locked(std::prev(order_.end(), &order_.back() == &entry ? 2 : 1), dropped);
    // Its memory counts as free though a task may still look at it; that is a few pictures at most.
    dropped.back().memory.shrink_to(0);
  }
  bytes_ += more;
  return true;
}

void ImageCache::drop_locked(Order::iterator entry, Order& dropped) {
  bytes_ -= entry->memory.bytes();
  places_.erase(entry->hash);
  dropped.splice(dropped.end(), order_, entry);
}

std::size_t ImageCache::give_back(std::size_t wanted) {
  Order dropped;
  std::size_t freed = 0;
  const std::lock_guard lock(mutex_);
  while (freed < wanted && !order_.empty()) {
    freed += order_.back().memory.bytes();
    drop_locked(std::prev(order_.end()), dropped);
  }
  return freed;
}

std::size_t ImageCache::entries() const {
  const std::lock_guard lock(mutex_);
  return order_.size();
}

std::size_t ImageCache::bytes() const {
  const std::lock_guard lock(mutex_);
  return bytes_;
}

}  // namespace blip::server
