// Names as numbers: a job knows a million pictures by 16 bytes each.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

namespace blip::jobs {

// 128 bits of XXH3: among a million names two are taken for one with a probability of 10^-27.
struct Key {
  std::uint64_t high = 0, low = 0;

  friend auto operator<=>(const Key&, const Key&) = default;
};

// occurrence: how many times the source has named it before.
Key key_of(std::string_view name, std::uint64_t occurrence = 0);
Key key_of(std::span<const std::byte> bytes);
// 64 bits of XXH3.
std::uint64_t digest(std::string_view bytes);

// The same of bytes that come in parts.
class Digest {
 public:
  Digest();
  ~Digest();
  Digest(Digest&&) noexcept;
  Digest& operator=(Digest&&) = delete;
  void add(std::string_view bytes);
  std::uint64_t value() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

struct KeyHash {
  std::size_t operator()(const Key& key) const { return static_cast<std::size_t>(key.low); }
};

// A set of keys in one table: 16 bytes for each of its places, which are two to four times the
// keys.
class KeySet {
 public:
  // False where it is there already.
  bool insert(Key key);
  bool contains(Key key) const;
  void clear();
  std::size_t size() const { return size_; }

 private:
  std::size_t place_of(Key key) const;
  void grow();

  std::vector<Key> places_;  // {0, 0}: empty
  std::size_t size_ = 0;
};

}  // namespace blip::jobs
