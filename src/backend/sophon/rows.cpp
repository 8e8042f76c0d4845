#include "backend/sophon/rows.h"

#include <algorithm>

#include "backend/sophon/network_set.h"

namespace blip::backend::sophon {
namespace {

void place_anew(StepPlan& plan, std::span<const CachePosition> parents) {
  CachePosition next{0, 0};
  for (const CachePosition& parent : parents) {
    if (next.row == plan.chunks[static_cast<std::size_t>(next.chunk)]) next = {next.chunk + 1, 0};
    plan.places.push_back(next);
    plan.copies.push_back({parent, next});
    ++next.row;
  }
}

void stay(StepPlan& plan, std::span<const CachePosition> parents) {
  std::vector<std::vector<bool>> taken;
  for (const int rows : plan.chunks) taken.emplace_back(static_cast<std::size_t>(rows), false);
  const auto is_taken = [&](const CachePosition& place) {
    return taken[static_cast<std::size_t>(place.chunk)][static_cast<std::size_t>(place.row)];
  };
  std::vector<std::size_t> further;
  for (std::size_t i = 0; i < parents.size(); ++i) {
    plan.places.push_back(parents[i]);
    if (is_taken(parents[i])) further.push_back(i);
    taken[static_cast<std::size_t>(parents[i].chunk)][static_cast<std::size_t>(parents[i].row)] =
        true;
  }
  CachePosition free{0, 0};
  for (const std::size_t i : further) {
    while (free.row == plan.chunks[static_cast<std::size_t>(free.chunk)] || is_taken(free))
      free = free.row == plan.chunks[static_cast<std::size_t>(free.chunk)]
                 ? CachePosition{free.chunk + 1, 0}
                 : CachePosition{free.chunk, free.row + 1};
    plan.places[i] = free;
    plan.copies.push_back({parents[i], free});
    ++free.row;
  }
}

}  // namespace

StepPlan plan_step(std::span<const int> chunks, std::span<const CachePosition> parents,
                   std::span<const int> sizes) {
  StepPlan plan;
  plan.chunks = split_rows(static_cast<int>(parents.size()), sizes);
  plan.repack = !std::equal(chunks.begin(), chunks.end(), plan.chunks.begin(), plan.chunks.end());
  if (plan.repack) {
    place_anew(plan, parents);
  } else {
    stay(plan, parents);
  }
  return plan;
}

}  // namespace blip::backend::sophon
