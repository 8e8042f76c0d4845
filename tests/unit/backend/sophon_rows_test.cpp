// Rows of a decoder on a chip: which launches, and what has to be copied.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "backend/sophon/network_set.h"
#include "backend/sophon/rows.h"

namespace blip::backend::sophon {
namespace {

using Rows = std::vector<int>;

TEST(SplitRows, FewestThatHoldThemOrTheLargest) {
  const Rows sizes{1, 3, 8};
  EXPECT_EQ(split_rows(1, sizes), Rows({1}));
  EXPECT_EQ(split_rows(2, sizes), Rows({3}));
  EXPECT_EQ(split_rows(8, sizes), Rows({8}));
  EXPECT_EQ(split_rows(9, sizes), Rows({8, 1}));
  EXPECT_EQ(split_rows(21, sizes), Rows({8, 8, 8}));
  EXPECT_EQ(split_rows(5, Rows{1}), Rows({1, 1, 1, 1, 1}));
  EXPECT_EQ(split_rows(1, Rows{4}), Rows({4}));
  EXPECT_TRUE(split_rows(0, sizes).empty());
}

TEST(PlanStep, BeamsThatChangePlacesCostNothing) {
  const StepPlan plan =
      plan_step(Rows{3}, std::vector<CachePosition>{{0, 2}, {0, 0}, {0, 1}}, Rows{1, 3});
  EXPECT_FALSE(plan.repack);
  EXPECT_TRUE(plan.copies.empty());
  EXPECT_EQ(plan.places, (std::vector<CachePosition>{{0, 2}, {0, 0}, {0, 1}}));
}

TEST(PlanStep, FurtherChildrenTakeThePlacesOfTheDead) {
  const StepPlan plan =
      plan_step(Rows{3}, std::vector<CachePosition>{{0, 1}, {0, 1}, {0, 0}}, Rows{1, 3});
  EXPECT_FALSE(plan.repack);
  EXPECT_EQ(plan.places, (std::vector<CachePosition>{{0, 1}, {0, 2}, {0, 0}}));
  ASSERT_EQ(plan.copies.size(), 1u);
  EXPECT_EQ(plan.copies[0].from, (CachePosition{0, 1}));
  EXPECT_EQ(plan.copies[0].to, (CachePosition{0, 2}));
}

TEST(PlanStep, AnotherNumberOfRowsMayWantOtherLaunches) {
  const StepPlan grown = plan_step(Rows{1}, std::vector<CachePosition>{{0, 0}, {0, 0}}, Rows{1, 3});
  EXPECT_TRUE(grown.repack);
  EXPECT_EQ(grown.chunks, Rows{3});
  EXPECT_EQ(grown.copies.size(), 2u);
  const StepPlan shrunk = plan_step(Rows{3}, std::vector<CachePosition>{{0, 2}}, Rows{1, 3});
  EXPECT_TRUE(shrunk.repack);
  EXPECT_EQ(shrunk.chunks, Rows{1});
  EXPECT_EQ(shrunk.places, (std::vector<CachePosition>{{0, 0}}));
}

// Carries the plans out on numbers: after every step each row must hold its parent's, and no copy
// may read what another wrote.
TEST(PlanStep, EveryRowContinuesItsParent) {
  std::mt19937 random(1);
  for (const Rows& sizes : {Rows{1}, Rows{3}, Rows{1, 3}, Rows{2, 5}, Rows{1, 4, 16}}) {
    std::vector<std::vector<int>> cache;
    for (const int rows : split_rows(1, sizes))
      cache.emplace_back(static_cast<std::size_t>(rows), 0);
    std::vector<CachePosition> rows{{0, 0}};
    int next_value = 1;
    cache[0][0] = 0;
    for (int step = 0; step < 300; ++step) {
      const auto count = 1 + random() % 9;
      std::vector<CachePosition> parents;
      std::vector<int> expected;
      for (std::size_t i = 0; i < count; ++i) {
        parents.push_back(rows[random() % rows.size()]);
        expected.push_back(cache[static_cast<std::size_t>(parents.back().chunk)]
                                [static_cast<std::size_t>(parents.back().row)]);
      }
      Rows chunks;
      for (const auto& chunk : cache) chunks.push_back(static_cast<int>(chunk.size()));
      const StepPlan plan = plan_step(chunks, parents, sizes);
      std::vector<std::vector<int>> after = cache;
      if (plan.repack) {
        after.clear();
        for (const int n : plan.chunks) after.emplace_back(static_cast<std::size_t>(n), -1);
      }
      auto copies = plan.copies;
      std::shuffle(copies.begin(), copies.end(), random);
      for (const auto& copy : copies) {
        const auto& from = plan.repack ? cache : after;
        after[static_cast<std::size_t>(copy.to.chunk)][static_cast<std::size_t>(copy.to.row)] =
            from[static_cast<std::size_t>(copy.from.chunk)]
                [static_cast<std::size_t>(copy.from.row)];
      }
      ASSERT_EQ(plan.places.size(), count);
      for (std::size_t i = 0; i < count; ++i) {
        int& value = after[static_cast<std::size_t>(plan.places[i].chunk)]
                          [static_cast<std::size_t>(plan.places[i].row)];
        ASSERT_EQ(value, expected[i]);
        for (std::size_t j = 0; j < i; ++j) ASSERT_NE(plan.places[i], plan.places[j]);
      }
      for (const CachePosition& place : plan.places)
        after[static_cast<std::size_t>(place.chunk)][static_cast<std::size_t>(place.row)] =
            next_value++;
      cache = std::move(after);
      rows = plan.places;
    }
  }
}

}  // namespace
}  // namespace blip::backend::sophon
