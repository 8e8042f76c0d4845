// Perceptual hashes of pictures in the order in which they came, and which of them is near a new
// one.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

namespace blip::cli {

// Hashes are kept by pages of so many, of which the oldest is dropped when there are too many: a
// page takes 1.5 MB, all of them 25 MB, and the 1,048,560 hashes before are compared with.
inline constexpr std::size_t kLooksOfPage = (1 << 16) - 1, kLookPages = 16;

// Hashes that differ in at most `distance` bits have one of four parts of 16 bits in which they
// differ in at most a quarter of that: each page has a table for each part, which leads to the few
// hashes to compare with. For distances of which a quarter is over 2 there are more places to look
// at than hashes in a page, so all of them are compared.
class LookIndex {
 public:
  // distance: at most so many bits, 0 to 64.
  explicit LookIndex(int distance);

  // The number of the nearest of those remembered, of several the first; nullopt where none is
  // near.
  std::optional<std::uint64_t> find(std::uint64_t look) const;
  // Remembers the hash; returns its number: 0, 1, 2 and so on.
  std::uint64_t add(std::uint64_t look);

 private:
  static constexpr std::size_t kParts = 4;
  using Place = std::uint16_t;  // the number in its page from 1 on; 0 = none

  struct Page {
    std::vector<std::uint64_t> looks;
    // By parts: the last hash with these bits there, and to each the one before it.
    std::array<std::vector<Place>, kParts> last, before;
  };
  struct Nearest {
    int distance;
    std::optional<std::uint64_t> number{};
  };

  void search(const Page& page, std::uint64_t first, std::uint64_t look, Nearest& nearest) const;
  static void compare(const Page& page, std::size_t place, std::uint64_t first, std::uint64_t look,
                      Nearest& nearest);

  const int distance_;
  std::vector<std::uint16_t> changes_;  // of a part, to look for; empty: all hashes are compared
  std::deque<Page> pages_;
  std::uint64_t first_ = 0;  // the number of the oldest
};

}  // namespace blip::cli
