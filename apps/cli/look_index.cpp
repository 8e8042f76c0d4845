#include "cli/look_index.h"

#include <bit>

#include "blip/look.h"

namespace blip::cli {
namespace {

constexpr int kPartBits = 16;
// Larger ones lead to more places than a page has hashes.
constexpr int kMostChanged = 2;

std::uint16_t part_of(std::uint64_t look, std::size_t part) {
  return static_cast<std::uint16_t>(look >> (static_cast<int>(part) * kPartBits));
}

}  // namespace

LookIndex::LookIndex(int distance) : distance_(distance) {
  const int most = distance / static_cast<int>(kParts);
  if (most > kMostChanged) return;
  for (std::uint32_t bits = 0; bits < (1u << kPartBits); ++bits)
    if (std::popcount(bits) <= most) changes_.push_back(static_cast<std::uint16_t>(bits));
}

void LookIndex::compare(const Page& page, std::size_t place, std::uint64_t first,
                        std::uint64_t look, Nearest& nearest) {
  const int distance = look_distance(page.looks[place], look);
  const std::uint64_t number = first + place;
  const bool is_first =
      distance == nearest.distance && (!nearest.number || number < *nearest.number);
  if (distance < nearest.distance || is_first) nearest = {distance, number};
}

void LookIndex::search(const Page& page, std::uint64_t first, std::uint64_t look,
                       Nearest& nearest) const {
  if (changes_.empty()) {
    for (std::size_t place = 0; place < page.looks.size(); ++place)
      compare(page, place, first, look, nearest);
    return;
  }
  for (std::size_t part = 0; part < kParts; ++part)
    for (const std::uint16_t change : changes_)
      for (Place at = page.last[part][part_of(look, part) ^ change]; at != 0;
           at = page.before[part][at - std::size_t{1}])
        compare(page, at - std::size_t{1}, first, look, nearest);
}

std::optional<std::uint64_t> LookIndex::find(std::uint64_t look) const {
  Nearest nearest{distance_};
  std::uint64_t first = first_;
  for (const Page& page : pages_) {
    search(page, first, look, nearest);
    first += page.looks.size();
  }
  return nearest.number;
}

std::uint64_t LookIndex::add(std::uint64_t look) {
  if (pages_.empty() || pages_.back().looks.size() == kLooksOfPage) {
    if (pages_.size() == kLookPages) {
      first_ += pages_.front().looks.size();
      pages_.pop_front();
    }
    pages_.emplace_back();
    if (!changes_.empty())
      for (std::vector<Place>& last : pages_.back().last) last.resize(std::size_t{1} << kPartBits);
  }
  Page& page = pages_.back();
  page.looks.push_back(look);
  const auto place = static_cast<Place>(page.looks.size());
  for (std::size_t part = 0; part < kParts && !changes_.empty(); ++part) {
    Place& last = page.last[part][part_of(look, part)];
    page.before[part].push_back(last);
    last = place;
  }
  return first_ + kLooksOfPage * (pages_.size() - 1) + place - 1;
}

}  // namespace blip::cli
