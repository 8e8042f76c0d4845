#include "kernels/unit_pairs.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cstring>
#include <numeric>

namespace blip::kernels {
namespace {

// A unit's four weights go into two sums of 16 bits for each of its columns. x takes a weight up to
// 128 times, or as often with its bits inverted, so two weights come to 128 (of + 2) at most, where
// `of` adds them up, negative ones with their bits inverted.
struct UnitBounds {
  std::uint8_t of[2 * kPanel];
  std::uint8_t largest;
};

// Of two units together: 128 (252 + 4) = 2^15, which is reached below zero alone.
constexpr int kLargestBound = 252;
// Of one unit: two weights of 127.
constexpr int kLargestUnit = 254;

UnitBounds bounds_of(const std::uint32_t* unit) {
  std::uint16_t weights[2 * kPanel];
  std::memcpy(weights, unit, sizeof(weights));
  UnitBounds bounds;
  bounds.largest = 0;
  for (int i = 0; i < 2 * kPanel; ++i) {
    const auto inverted = static_cast<std::uint16_t>((weights[i] >> 7 & 0x0101) * 0xff),
               both = static_cast<std::uint16_t>(weights[i] ^ inverted);
    bounds.of[i] = static_cast<std::uint8_t>((both & 0xff) + (both >> 8));
    bounds.largest = std::max(bounds.largest, bounds.of[i]);
  }
  return bounds;
}

bool fit_together(const UnitBounds& a, const UnitBounds& b) {
  if (b.largest > kLargestBound) return false;
  std::uint8_t over = 0;
  for (int i = 0; i < 2 * kPanel; ++i)
    over |= static_cast<std::uint8_t>(a.of[i] > static_cast<std::uint8_t>(kLargestBound - b.of[i]));
  return over == 0;
}

}  // namespace

// Those with the largest weights first get one of the few with the smallest: of normally
// distributed weights 99.5 % find one.
int pair_units(const std::uint32_t* units, int n, std::uint16_t* order) {
  constexpr int kTries = 16;
  assert(n <= kPairedUnitsMax);
  std::array<UnitBounds, kPairedUnitsMax> bounds;
  // Where those of each bound begin when the largest come first.
  std::array<std::uint16_t, kLargestUnit + 2> places{};
  for (int u = 0; u < n; ++u) {
    bounds[u] = bounds_of(units + static_cast<std::size_t>(u) * kPanel);
    ++places[kLargestUnit + 1 - bounds[u].largest];
  }
  std::partial_sum(places.begin(), places.end(), places.begin());
  std::array<std::uint16_t, kPairedUnitsMax> left;
  for (int u = 0; u < n; ++u)
    left[places[kLargestUnit - bounds[u].largest]++] = static_cast<std::uint16_t>(u);
  int pairs = 0, alone = n;
  for (int first = 0, last = n; first < last;) {
    const std::uint16_t heavy = left[first++];
    const int tries = std::max(first, last - kTries);
    int light = last - 1;
    while (light >= tries && !fit_together(bounds[heavy], bounds[left[light]])) --light;
    if (light < tries) {
      order[--alone] = heavy;
      continue;
    }
    order[2 * pairs] = heavy;
    order[2 * pairs + 1] = left[light];
    ++pairs;
    std::copy(left.begin() + light + 1, left.begin() + last, left.begin() + light);
    --last;
  }
  return pairs;
}

}  // namespace blip::kernels
