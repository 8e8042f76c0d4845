// Where the rows of a decoder lie: in chunks, each the rows of one launch. Decides what has to be
// copied between two steps.
#pragma once

#include <span>
#include <vector>

namespace blip::backend::sophon {

struct CachePosition {
  int chunk, row;
  bool operator==(const CachePosition&) const = default;
};

struct StepPlan {
  bool repack;                        // into new chunks; else the chunks stay
  std::vector<int> chunks;            // rows of each chunk of this step
  std::vector<CachePosition> places;  // of each row of this step
  struct Copy {
    CachePosition from, to;  // from: before the step; to: in this step's chunks
  };
  // In any order: where the chunks stay, no place is both read and written.
  std::vector<Copy> copies;
};

// chunks: rows of each chunk as they are; parents: for each row of the step the place of the row
// that it continues; sizes: the numbers of rows that networks have, ascending.
//
// Where as many launches of the same sizes do as before, a parent's first child stays in its place
// and only further children are copied, to places whose row has no child. So beams that change
// places cost nothing.
StepPlan plan_step(std::span<const int> chunks, std::span<const CachePosition> parents,
                   std::span<const int> sizes);

}  // namespace blip::backend::sophon
