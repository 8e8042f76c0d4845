#include "jobs/key.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <utility>

namespace blip::jobs {
namespace {

// The empty place's own value stands for no name.
Key valid(XXH128_hash_t hash) {
  return hash.high64 == 0 && hash.low64 == 0 ? Key{0, 1} : Key{hash.high64, hash.low64};
}

}  // namespace

Key key_of(std::string_view name, std::uint64_t occurrence) {
  return valid(XXH3_128bits_withSeed(name.data(), name.size(), occurrence));
}

Key key_of(std::span<const std::byte> bytes) {
  return valid(XXH3_128bits(bytes.data(), bytes.size()));
}

std::uint64_t digest(std::string_view bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

struct Digest::State {
  XXH3_state_t hash;
};

Digest::Digest() : state_(std::make_unique<State>()) { XXH3_64bits_reset(&state_->hash); }
Digest::~Digest() = default;
Digest::Digest(Digest&&) noexcept = default;

void Digest::add(std::string_view bytes) {
  XXH3_64bits_update(&state_->hash, bytes.data(), bytes.size());
}

std::uint64_t Digest::value() const { return XXH3_64bits_digest(&state_->hash); }

std::size_t KeySet::place_of(Key key) const {
  const std::size_t mask = places_.size() - 1;
  std::size_t place = static_cast<std::size_t>(key.low) & mask;
  while (places_[place] != Key{} && places_[place] != key) place = (place + 1) & mask;
  return place;
}

bool KeySet::insert(Key key) {
  if (2 * (size_ + 1) > places_.size()) grow();
  Key& place = places_[place_of(key)];
  if (place == key) return false;
  place = key;
  ++size_;
  return true;
}

bool KeySet::contains(Key key) const { return !places_.empty() && places_[place_of(key)] == key; }

void KeySet::clear() {
  places_.clear();
  size_ = 0;
}

void KeySet::grow() {
  constexpr std::size_t kFewest = 64;
  std::vector<Key> before(places_.empty() ? kFewest : 2 * places_.size());
  std::swap(before, places_);
  for (const Key& key : before)
    if (key != Key{}) places_[place_of(key)] = key;
}

}  // namespace blip::jobs
