// Scratch of a pool's workers: kept from loop to loop, counted, and given back between two.
#include "core/worker_scratch.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "core/large_memory.h"
#include "core/thread_pool.h"

namespace blip {
namespace {

TEST(WorkerScratch, IsKeptForItsUseAndCounted) {
  WorkerScratch scratch(2);
  EXPECT_EQ(scratch.bytes(), 0u);
  float* rows = scratch.get<float>(1, ScratchUse::kRows, 100);
  EXPECT_EQ(scratch.bytes(), 400u);
  EXPECT_EQ(scratch.get<float>(1, ScratchUse::kRows, 50), rows);
  EXPECT_NE(scratch.get<float>(0, ScratchUse::kRows, 100), rows);
  EXPECT_NE(scratch.get<float>(1, ScratchUse::kNormed, 100), rows);
  EXPECT_EQ(scratch.bytes(), 1200u);
  scratch.get<float>(1, ScratchUse::kRows, 200);
  EXPECT_EQ(scratch.bytes(), 1600u);
  scratch.clear();
  EXPECT_EQ(scratch.bytes(), 0u);
  EXPECT_NE(scratch.get<float>(0, ScratchUse::kRows, 1), nullptr);
}

// A trim waits for the loop that runs, and loops go on after it.
TEST(WorkerScratch, IsTrimmedBetweenLoops) {
  ThreadPool pool(3);
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0};
  std::thread loops([&] {
    while (!stop)
      pool.parallel_for(30, [&](int task, int worker) {
        int* values = pool.scratch<int>(worker, ScratchUse::kRows, 1000);
        for (int i = 0; i < 1000; ++i) values[i] = task;
        for (int i = 0; i < 1000; ++i) wrong += values[i] != task;
      });
  });
  std::size_t freed = 0;
  for (int i = 0; i < 2000 || freed == 0; ++i) freed += pool.trim();
  stop = true;
  loops.join();
  EXPECT_EQ(wrong, 0);
  pool.trim();
  EXPECT_EQ(pool.scratch_bytes(), 0u);
}

TEST(WorkerScratch, KeptArenasAreToldAndTrimmed) {
  trim_arenas();
  { Arena arena(std::size_t{8} << 20); }
  EXPECT_GE(kept_arena_bytes(), std::size_t{8} << 20);
  EXPECT_GE(trim_arenas(), std::size_t{8} << 20);
  EXPECT_EQ(kept_arena_bytes(), 0u);
}

}  // namespace
}  // namespace blip
