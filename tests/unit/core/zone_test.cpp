// Zones: what a profile is told, from which threads, and for how much.
#include "core/zone.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "core/thread_pool.h"
#include "in_child.h"

namespace blip {
namespace {

struct Told {
  std::string name;
  ZoneDetail detail;
  int thread, items;
  double start_us, microseconds, operations, bytes;
};

// Everything that a profile of this detail is told while it lives.
class Notes {
 public:
  explicit Notes(ZoneDetail detail)
      : profile_(detail, [this](const Zone& z) {
          const std::lock_guard lock(mutex_);
          told_.push_back({std::string(z.name), z.detail, z.thread, z.items, z.start_us,
                           z.microseconds, z.operations, z.bytes});
        }) {}
  std::vector<Told> told() {
    const std::lock_guard lock(mutex_);
    return told_;
  }
  std::vector<std::string> names() {
    std::vector<std::string> list;
    for (const Told& one : told()) list.push_back(one.name);
    return list;
  }

 private:
  std::mutex mutex_;
  std::vector<Told> told_;
  Profile profile_;
};

void work() {
  StageZone outer("outer", 3);
  {
    const OperationZone layer("layer");
    const OperationZone product("product", 100, 8);
  }
  const StageZone inner("inner");
  const OperationZone product("product", 20, 4);
}

using Names = std::vector<std::string>;

TEST(Zones, AreToldAsTheyEndWithTheWorkInThem) {
  Notes notes(ZoneDetail::kOperations);
  work();
  ASSERT_EQ(notes.names(), (Names{"product", "layer", "product", "inner", "outer"}));
  const auto told = notes.told();
  EXPECT_EQ(told[1].operations, 100);
  EXPECT_EQ(told[1].bytes, 8);
  EXPECT_EQ(told[3].operations, 20);
  EXPECT_EQ(told[4].operations, 120);
  EXPECT_EQ(told[4].bytes, 12);
  EXPECT_EQ(told[4].items, 3);
  EXPECT_EQ(told[4].detail, ZoneDetail::kStages);
  for (const Told& one : told) {
    EXPECT_GE(one.start_us, told[4].start_us);
    EXPECT_LE(one.start_us + one.microseconds, told[4].start_us + told[4].microseconds + 1e-3);
  }
}

TEST(Zones, OfStagesAloneHaveTheSameWork) {
  Notes notes(ZoneDetail::kStages);
  work();
  ASSERT_EQ(notes.names(), (Names{"inner", "outer"}));
  EXPECT_EQ(notes.told()[0].operations, 20);
  EXPECT_EQ(notes.told()[1].operations, 120);
}

TEST(Zones, AreToldToEveryProfileAndToNoneAfterIt) {
  Notes stages(ZoneDetail::kStages);
  {
    Notes all(ZoneDetail::kOperations);
    work();
    EXPECT_EQ(all.names().size(), 5u);
  }
  work();
  EXPECT_EQ(stages.names().size(), 4u);
}

TEST(Zones, CostNothingWithoutAProfile) {
  EXPECT_FALSE(zones_on());
  StageZone stage("stage");
  std::this_thread::sleep_for(std::chrono::milliseconds(2));
  const double ms = stage.finish();
  EXPECT_GE(ms, 2);
  EXPECT_EQ(stage.finish(), ms);  // once
}

TEST(Zones, OfSeveralThreadsHaveTheirNumbers) {
  Notes notes(ZoneDetail::kOperations);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([] {
      for (int n = 0; n < 200; ++n) work();
    });
  for (auto& thread : threads) thread.join();
  std::map<int, int> outer;
  for (const Told& one : notes.told()) outer[one.thread] += one.name == "outer";
  ASSERT_EQ(outer.size(), 4u);
  for (const auto& [thread, count] : outer) {
    EXPECT_GT(thread, 0);
    EXPECT_EQ(count, 200);
  }
}

// A loop's shares on other threads are zones of those threads.
TEST(Zones, ShowTheThreadsOfALoop) {
  ThreadPool pool(3);
  Notes notes(ZoneDetail::kOperations);
  std::set<int> threads;
  for (int run = 0; run < 500 && threads.empty(); ++run) {
    pool.parallel_for(64, [](int, int) { std::this_thread::yield(); });
    for (const Told& one : notes.told())
      if (one.name == "share of a loop") threads.insert(one.thread);
  }
  EXPECT_FALSE(threads.empty());
}

// The zones of a callback's own work would call it again and again.
TEST(Zones, OfACallbackAreNotTold) {
  int calls = 0;
  Profile profile(ZoneDetail::kOperations, [&](const Zone&) {
    ++calls;
    work();
  });
  work();
  EXPECT_EQ(calls, 5);
}

// Whatever other threads were at: the child has no profile, and may have one of its own.
TEST(Zones, OfAForkedChildAreNotTold) {
  Notes notes(ZoneDetail::kOperations);
  EXPECT_TRUE(in_child([&] {
    if (zones_on()) return false;
    work();
    Notes own(ZoneDetail::kStages);
    work();
    return notes.names().empty() && own.names().size() == 2;
  }));
  EXPECT_TRUE(notes.names().empty());
}

}  // namespace
}  // namespace blip
