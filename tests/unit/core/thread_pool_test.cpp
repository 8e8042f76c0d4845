#include "core/thread_pool.h"

#include <gtest/gtest.h>

#include <numeric>
#include <set>
#include <stdexcept>

namespace blip {
namespace {

TEST(ThreadPool, RunsEveryTaskOnceOnKnownWorkers) {
  for (const int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.size(), threads);
    for (const int tasks : {0, 1, 2, 7, 1000}) {
      std::vector<std::atomic<int>> runs(static_cast<std::size_t>(tasks));
      std::atomic<bool> worker_ok{true};
      pool.parallel_for(tasks, [&](int task, int worker) {
        ++runs[static_cast<std::size_t>(task)];
        if (worker < 0 || worker >= threads) worker_ok = false;
      });
      for (const auto& r : runs) EXPECT_EQ(r, 1);
      EXPECT_TRUE(worker_ok);
    }
  }
}

TEST(ThreadPool, ManySmallLoopsSeeOneAnother) {
  ThreadPool pool(4);
  std::vector<int> values(64, 0);
  for (int loop = 0; loop < 2000; ++loop) pool.parallel_for(64, [&](int i, int) { values[static_cast<std::size_t>(i)] += i; });
  EXPECT_EQ(std::accumulate(values.begin(), values.end(), 0), 2000 * 63 * 64 / 2);
}

TEST(ThreadPool, NestedLoopRunsOnItsWorker) {
  ThreadPool pool(3);
  std::atomic<int> sum{0};
  std::atomic<bool> same{true};
  pool.parallel_for(5, [&](int, int outer) {
    pool.parallel_for(10, [&](int i, int inner) {
      sum += i;
      if (inner != outer) same = false;
    });
  });
  EXPECT_EQ(sum, 5 * 45);
  EXPECT_TRUE(same);
}

TEST(ThreadPool, RethrowsAndStaysUsable) {
  ThreadPool pool(4);
  for (int bad = 0; bad < 20; ++bad) {
    EXPECT_THROW(pool.parallel_for(20, [&](int i, int) { if (i == bad) throw std::runtime_error("task"); }), std::runtime_error);
    std::atomic<int> ran{0};
    pool.parallel_for(20, [&](int, int) { ++ran; });
    EXPECT_EQ(ran, 20);
  }
}

TEST(ThreadPool, LoopsOfSeveralThreadsTakeTurns) {
  ThreadPool pool(3);
  std::atomic<int> inside{0}, most{0}, total{0};
  const auto loops = [&] {
    for (int i = 0; i < 200; ++i)
      pool.parallel_for(6, [&](int, int) {
        const int now = ++inside;
        int seen = most;
        while (now > seen && !most.compare_exchange_weak(seen, now)) {}
        ++total;
        --inside;
      });
  };
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i) callers.emplace_back(loops);
  for (auto& caller : callers) caller.join();
  EXPECT_EQ(total, 4 * 200 * 6);
  EXPECT_LE(most, 3);  // never more tasks at once than threads
}

TEST(AvailableCpus, IsWithinTheMachine) {
  EXPECT_GE(available_cpus(), 1);
  EXPECT_LE(available_cpus(), static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace
}  // namespace blip
