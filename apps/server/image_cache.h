// Pictures that went through the vision tower, by content: a second question about one skips the
// tower.
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
#include "server/memory_budget.h"

namespace blip::server {

// Of a picture file's bytes. Seeded per process, so that nobody can prepare two files with one
// hash.
using ContentHash = std::pair<std::uint64_t, std::uint64_t>;
ContentHash content_hash(std::string_view bytes);

// Least recently used out first, and as many as the server's memory is needed for. One cache per
// model. Thread-safe.
class ImageCache {
 public:
  // Either limit 0 = no cache.
  ImageCache(std::size_t max_entries, std::size_t max_bytes, MemoryBudget& budget);
  ~ImageCache();
  ImageCache(const ImageCache&) = delete;
  ImageCache& operator=(const ImageCache&) = delete;

  std::optional<EncodedImage> find(const ContentHash& hash);
  void insert(const ContentHash& hash, const EncodedImage& image);
  // After tasks: what they added to the picture counts from now on.
  void recount(const ContentHash& hash);

  // After the device that held it failed.
  void erase(const ContentHash& hash);

  std::size_t entries() const;
  std::size_t bytes() const;

 private:
  struct Entry {
    ContentHash hash;
    EncodedImage image;
    MemoryBudget::Share memory;
  };
  using Order = std::list<Entry>;
  std::size_t give_back(std::size_t wanted);
  // Moves out what has to go, so that it is destroyed without the lock.
  void drop_locked(Order::iterator entry, Order& dropped);
  bool charge_locked(Entry& entry, Order& dropped);

  const std::size_t max_entries_, max_bytes_;
  MemoryBudget& budget_;
  mutable std::mutex mutex_;
  std::size_t bytes_ = 0;
  Order order_;  // most recent first
  std::map<ContentHash, Order::iterator> places_;
};

}  // namespace blip::server
