// What near duplicates are found by.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "blip/look.h"
#include "cli/look_index.h"
#include "cli/packed_results.h"

namespace blip::cli {
namespace {

// Without tables: over all that are remembered.
std::optional<std::uint64_t> nearest(const std::vector<std::uint64_t>& looks, std::uint64_t look,
                                     int distance) {
  std::optional<std::uint64_t> found;
  int least = distance + 1;
  for (std::size_t i = 0; i < looks.size(); ++i)
    if (const int now = look_distance(looks[i], look); now < least) {
      least = now;
      found = i;
    }
  return found;
}

std::uint64_t with_changes(std::uint64_t look, int bits, std::mt19937_64& random) {
  for (int i = 0; i < bits; ++i) look ^= std::uint64_t{1} << random() % 64;
  return look;
}

TEST(LookIndex, FindsTheNearestAtEveryDistance) {
  for (int distance = 0; distance <= 16; ++distance) {
    std::mt19937_64 random(static_cast<unsigned>(distance) + 1);
    LookIndex index(distance);
    std::vector<std::uint64_t> looks;
    for (int i = 0; i < 2000; ++i) {
      // Some near others, so that several are within the distance.
      const std::uint64_t look = looks.empty() || i % 3 == 0
                                     ? random()
                                     : with_changes(looks[random() % looks.size()], i % 20, random);
      ASSERT_EQ(index.find(look), nearest(looks, look, distance)) << distance << ' ' << i;
      ASSERT_EQ(index.add(look), looks.size());
      looks.push_back(look);
    }
  }
}

TEST(LookIndex, HashesThatShareAPartAreToldApart) {
  LookIndex index(4);
  for (std::uint64_t i = 0; i < 3000; ++i) index.add(i << 32 | 0xabcdef);
  EXPECT_EQ(index.find(std::uint64_t{1234} << 32 | 0xabcdef), 1234u);
  EXPECT_EQ(index.find(std::uint64_t{0xffff} << 32 | 0xabcde0), std::nullopt);
}

TEST(LookIndex, ForgetsTheOldestPage) {
  std::mt19937_64 random(7);
  LookIndex index(0);
  constexpr std::size_t kAll = kLooksOfPage * kLookPages;
  std::vector<std::uint64_t> looks;
  for (std::size_t i = 0; i < kAll; ++i) {
    looks.push_back(random());
    ASSERT_EQ(index.add(looks.back()), i);
  }
  EXPECT_EQ(index.find(looks.front()), 0u);
  EXPECT_EQ(index.add(random()), kAll);
  EXPECT_EQ(index.find(looks[0]), std::nullopt);
  EXPECT_EQ(index.find(looks[kLooksOfPage - 1]), std::nullopt);
  EXPECT_EQ(index.find(looks[kLooksOfPage]), kLooksOfPage);
  EXPECT_EQ(index.find(looks.back()), kAll - 1);
  EXPECT_EQ(index.add(random()), kAll + 1);
}

TEST(PackedResults, AreThereByTheirNumbers) {
  PackedResults results;
  const std::size_t all = kLooksOfPage * (kLookPages + 1) + 3;
  for (std::size_t i = 0; i < all; ++i) {
    const std::string number = std::to_string(i);
    results.add("n" + number, i % 2 ? "f" + number : "", std::string("p\0p", 3) + number);
  }
  for (const std::size_t i : {kLooksOfPage, kLooksOfPage + 1, 2 * kLooksOfPage - 1, all - 1}) {
    const std::string number = std::to_string(i);
    const PackedResult result = results.at(i);
    EXPECT_EQ(result.name, "n" + number);
    EXPECT_EQ(result.failure, i % 2 ? "f" + number : "");
    EXPECT_EQ(result.packed, std::string("p\0p", 3) + number);
  }
}

}  // namespace
}  // namespace blip::cli
