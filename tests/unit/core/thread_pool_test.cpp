#include "core/thread_pool.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/resource.h>

#include <chrono>
#include <cstdlib>
#include <numeric>
#include <set>
#include <stdexcept>

#include "base/resources.h"
#include "blip/error.h"
#include "in_child.h"

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
  for (int loop = 0; loop < 2000; ++loop)
    pool.parallel_for(64, [&](int i, int) { values[static_cast<std::size_t>(i)] += i; });
  EXPECT_EQ(std::accumulate(values.begin(), values.end(), 0), 2000 * 63 * 64 / 2);
}

// A worker that is slow in its first task gets no other: its share is done by the rest.
TEST(ThreadPool, OthersTakeOverWhatASlowWorkerHas) {
  for (const int threads : {2, 3, 4})
    for (int slow = 0; slow < threads; ++slow) {
      ThreadPool pool(threads);
      constexpr int kTasks = 200;
      for (int loop = 0; loop < 20; ++loop) {
        std::vector<std::atomic<int>> runs(kTasks);
        std::atomic<int> done{0}, of_slow{0};
        pool.parallel_for(kTasks, [&](int task, int worker) {
          ++runs[static_cast<std::size_t>(task)];
          if (worker == slow) {
            ++of_slow;
            while (done < kTasks - 1) std::this_thread::yield();
          } else {  // else the loop could be over before the slow one is awake
            while (of_slow == 0) std::this_thread::yield();
          }
          ++done;
        });
        for (const auto& r : runs) EXPECT_EQ(r, 1);
        EXPECT_EQ(of_slow, 1);
      }
    }
}

// A body that takes several tasks at a time, up to a bound: neighbours, in order.
TEST(ThreadPool, RangesAreOfNeighbours) {
  ThreadPool pool(3);
  constexpr int kTasks = 600, kGroup = 50;
  for (int loop = 0; loop < 200; ++loop) {
    std::vector<std::atomic<int>> runs(kTasks);
    std::atomic<bool> neighbours{true};
    pool.parallel_ranges(kTasks, [&](TaskRange& range, int) {
      int task;
      if (!range.take(task)) return;
      const int end = (task / kGroup + 1) * kGroup;
      do {
        ++runs[static_cast<std::size_t>(task)];
        const int before = task;
        if (!range.take_before(task, end)) break;
        if (task != before + 1) neighbours = false;
      } while (true);
    });
    for (const auto& r : runs) EXPECT_EQ(r, 1);
    EXPECT_TRUE(neighbours);
  }
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
    EXPECT_THROW(pool.parallel_for(20,
                                   [&](int i, int) {
                                     if (i == bad) throw std::runtime_error("task");
                                   }),
                 std::runtime_error);
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
        while (now > seen && !most.compare_exchange_weak(seen, now)) {
        }
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

TEST(ThreadPool, LoopsWithinLoopsOfOneTaskOrOneThread) {
  for (const int threads : {1, 3})
    for (const int tasks : {1, 2}) {
      ThreadPool pool(threads);
      std::atomic<int> sum{0};
      pool.parallel_for(tasks, [&](int, int) {
        pool.parallel_for(1,
                          [&](int, int) { pool.parallel_for(10, [&](int i, int) { sum += i; }); });
      });
      EXPECT_EQ(sum, tasks * 45);
    }
}

TEST(ThreadPool, LoopsOfAnotherPoolWithinALoopUseItsOwnWorkers) {
  ThreadPool outer(3), inner(2);
  std::atomic<int> sum{0};
  std::atomic<bool> known{true};
  outer.parallel_for(6, [&](int, int) {
    inner.parallel_for(10, [&](int i, int worker) {
      sum += i;
      if (worker >= 2) known = false;
    });
    outer.parallel_for(2, [&](int, int worker) { known = known && worker < 3; });
  });
  EXPECT_EQ(sum, 6 * 45);
  EXPECT_TRUE(known);
}

// One thread with loop after loop, another with few: the second waits for at most one loop of the
// first each time.
TEST(ThreadPool, ALongJobDoesNotStarveAShortOne) {
  for (const int threads : {1, 2}) {
    ThreadPool pool(threads);
    std::atomic<bool> stop{false};
    std::atomic<int> long_loops{0};
    std::thread long_job([&] {
      while (!stop) {
        pool.parallel_for(
            2, [&](int, int) { std::this_thread::sleep_for(std::chrono::milliseconds(1)); });
        ++long_loops;
      }
    });
    while (long_loops == 0) std::this_thread::yield();
    constexpr int kShort = 50;
    const int before = long_loops;
    for (int i = 0; i < kShort; ++i) pool.parallel_for(2, [](int, int) {});
    const int between = long_loops - before;
    stop = true;
    long_job.join();
    // one is under way when the short one asks, and one may begin before it asks again
    EXPECT_LE(between, 2 * kShort);
  }
}

TEST(ThreadPool, SaysSoWhereTheSystemHasNoThreads) {
#if defined(BLIP_TESTS_SANITIZED) || defined(BLIP_TESTS_EMULATED)
  GTEST_SKIP()
      << "sanitizers want more address space than a limit leaves, and qemu-user keeps none";
#endif
  EXPECT_TRUE(in_child([] {
    const rlimit limit{std::size_t{2} << 30, std::size_t{2} << 30};
    setrlimit(RLIMIT_AS, &limit);
    std::string message;
    for (int i = 0; i < 3; ++i) try {  // those that were started are gone again
        const ThreadPool pool(1024);
        return false;
      } catch (const Error& error) {
        if (error.code() != ErrorCode::kDevice) return false;
        message = error.what();
      }
    ThreadPool pool(4);
    std::atomic<int> ran{0};
    pool.parallel_for(20, [&](int, int) { ++ran; });
    return ran == 20 && message.find(" of 1024 threads (") != std::string::npos &&
           message.find("ask for fewer (--threads)") != std::string::npos;
  }));
}

TEST(ThreadPool, WorksInAForkedChildAndItsParent) {
  SKIP_WITHOUT_THREADS_AFTER_FORK();
  for (const int threads : {1, 3}) {
    auto pool = std::make_unique<ThreadPool>(threads);
    const auto works = [&] {
      std::atomic<int> sum{0};
      for (int loop = 0; loop < 20; ++loop) pool->parallel_for(10, [&](int i, int) { sum += i; });
      return sum == 20 * 45;
    };
    EXPECT_TRUE(works());
    EXPECT_TRUE(in_child([&] { return works() && in_child(works); }));
    EXPECT_TRUE(in_child([&] {
      std::vector<std::thread> callers;
      std::atomic<int> good{0};
      for (int i = 0; i < 3; ++i) callers.emplace_back([&] { good += works(); });
      for (auto& caller : callers) caller.join();
      pool.reset();
      return good == 3;
    }));
    EXPECT_TRUE(in_child([&] {  // only ends
      pool.reset();
      return true;
    }));
    EXPECT_TRUE(works());
  }
}

// For the calling thread.
void allow_only(const std::vector<int>& cpus) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int cpu : cpus) CPU_SET(cpu, &set);
  ASSERT_EQ(sched_setaffinity(0, sizeof set, &set), 0);
}

// The CPUs that each worker may run on.
std::vector<std::vector<int>> cpus_of_workers(ThreadPool& pool) {
  std::vector<std::vector<int>> cpus(static_cast<std::size_t>(pool.size()));
  std::atomic<int> inside{0};
  pool.parallel_for(pool.size(), [&](int, int worker) {
    cpus[static_cast<std::size_t>(worker)] = allowed_cpus();
    ++inside;
    while (inside < pool.size()) std::this_thread::yield();  // a task for everybody
  });
  return cpus;
}

TEST(ThreadPool, BindsAWorkerToEachCpuButTheCallersIfItHasAThreadForEach) {
  const std::vector<int> all = allowed_cpus();
  const int threads = static_cast<int>(all.size());
  if (threads < 2) GTEST_SKIP() << "a pool of one thread has no worker to bind";
  {
    ThreadPool pool(threads);
    for (const int callers : all) {
      allow_only({callers});
      const auto cpus = cpus_of_workers(pool);
      EXPECT_EQ(cpus[0], std::vector{callers});  // is left as it is
      std::set<int> bound{callers};
      for (const auto& of_worker : cpus) {
        ASSERT_EQ(of_worker.size(), 1u);
        bound.insert(of_worker[0]);
      }
      EXPECT_EQ(bound, std::set(all.begin(), all.end()));
    }
    allow_only(all);
    EXPECT_EQ(cpus_of_workers(pool)[0], all);
  }
  const auto unbound = [&](int size) { return std::vector(static_cast<std::size_t>(size), all); };
  {
    ThreadPool more(threads + 1);
    EXPECT_EQ(cpus_of_workers(more), unbound(threads + 1));
  }
  setenv("BLIP_BIND_THREADS", "0", 1);
  {
    ThreadPool pool(threads);
    EXPECT_EQ(cpus_of_workers(pool), unbound(threads));
  }
  unsetenv("BLIP_BIND_THREADS");
}

// The fork comes while another thread's loop runs.
TEST(ThreadPool, WorksInAChildForkedAmidALoop) {
  SKIP_WITHOUT_THREADS_AFTER_FORK();
  ThreadPool pool(2);
  std::atomic<bool> stop{false}, started{false};
  std::thread busy([&] {
    while (!stop) pool.parallel_for(2, [&](int, int) { started = true; });
  });
  while (!started) std::this_thread::yield();
  for (int i = 0; i < 5; ++i)
    EXPECT_TRUE(in_child([&] {
      std::atomic<int> ran{0};
      pool.parallel_for(9, [&](int, int) { ++ran; });
      return ran == 9;
    }));
  stop = true;
  busy.join();
}

}  // namespace
}  // namespace blip
