// The memory that requests share: who gets it, who waits, who is refused.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "blip/error.h"
#include "server/memory_budget.h"
#include "server/worker_pool.h"

namespace blip::server {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;
const auto kLate = std::chrono::minutes(5);
const auto kSoon = std::chrono::milliseconds(30);

TEST(MemoryBudget, SharesComeBack) {
  MemoryBudget memory(1100 * kMiB, 100 * kMiB);
  EXPECT_EQ(memory.held(MemoryKind::kModels), 100 * kMiB);
  EXPECT_EQ(memory.largest(MemoryKind::kPictures), 10 * (1000 * kMiB / 16));
  EXPECT_EQ(memory.largest(MemoryKind::kRequests), 1000 * kMiB / 16);
  EXPECT_EQ(memory.largest_body(), 1000 * kMiB / 16);
  {
    auto share = memory.take(MemoryKind::kPictures, 600 * kMiB, Clock::now());
    ASSERT_TRUE(share.has_value());
    EXPECT_EQ(memory.held(MemoryKind::kPictures), 600 * kMiB);
    EXPECT_FALSE(memory.take(MemoryKind::kPictures, 26 * kMiB, Clock::now() + kSoon).has_value());
    share->shrink_to(500 * kMiB);
    EXPECT_EQ(memory.held(MemoryKind::kPictures), 500 * kMiB);
    EXPECT_TRUE(share->grow(100 * kMiB));
    EXPECT_FALSE(share->grow(100 * kMiB));
    MemoryBudget::Share other = std::move(*share);
    EXPECT_EQ(other.bytes(), 600 * kMiB);
    EXPECT_EQ(share->bytes(), 0u);
  }
  EXPECT_EQ(memory.held(MemoryKind::kPictures), 0u);
}

TEST(MemoryBudget, TooLittleIsSaid) {
  try {
    MemoryBudget memory(100 * kMiB, 90 * kMiB);
    FAIL() << "ten megabytes for requests were enough";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUsage);
    EXPECT_STREQ(error.what(),
                 "--memory 100.0 MiB is too little: the program with its models takes 90.0 MiB, "
                 "and requests need at least 64.0 MiB beside it");
  }
}

TEST(MemoryBudget, TheLongestWaitingComesFirstHoweverLarge) {
  MemoryBudget memory(800 * kMiB, 0);
  auto held = memory.take(MemoryKind::kPictures, 400 * kMiB, Clock::now());
  std::atomic<bool> large_has_it{false}, next_has_it{false};
  std::atomic<int> waiting{0};
  std::thread large([&] {
    ++waiting;
    const auto share = memory.take(MemoryKind::kPictures, 450 * kMiB, Clock::now() + kLate);
    large_has_it = share.has_value();
  });
  while (waiting < 1) std::this_thread::yield();
  std::this_thread::sleep_for(kSoon);
  std::thread next([&] {  // would fit at once, but came later
    const auto share = memory.take(MemoryKind::kPictures, 60 * kMiB, Clock::now() + kLate);
    EXPECT_TRUE(large_has_it);
    next_has_it = share.has_value();
  });
  std::this_thread::sleep_for(kSoon);
  EXPECT_FALSE(next_has_it);
  // What is small, and what others wait for, is not kept waiting.
  EXPECT_TRUE(memory.take(MemoryKind::kPictures, kMiB, Clock::now()).has_value());
  EXPECT_TRUE(memory.take(MemoryKind::kWork, 60 * kMiB, Clock::now()).has_value());
  held->shrink_to(0);
  next.join();
  large.join();
  EXPECT_TRUE(large_has_it);
  EXPECT_TRUE(next_has_it);
}

TEST(MemoryBudget, WaitingEndsWithTheClient) {
  MemoryBudget memory(800 * kMiB, 0);
  const auto held = memory.take(MemoryKind::kPictures, 400 * kMiB, Clock::now());
  std::atomic<bool> gone{false};
  std::thread client([&] {
    EXPECT_FALSE(memory
                     .take(MemoryKind::kPictures, 400 * kMiB, Clock::now() + kLate,
                           [&] { return gone.load(); })
                     .has_value());
  });
  gone = true;
  client.join();
  EXPECT_EQ(memory.held(MemoryKind::kPictures), 400 * kMiB);
}

TEST(MemoryBudget, BodiesNeverGetAllOfIt) {
  MemoryBudget memory(800 * kMiB, 0);
  auto bodies = memory.empty(MemoryKind::kBodies);
  EXPECT_TRUE(bodies.grow(100 * kMiB));
  EXPECT_FALSE(bodies.grow(1));
  // Whatever is read out of them fits, and so does what they are then worked on with.
  const auto read = memory.take(MemoryKind::kRequests, 100 * kMiB, Clock::now());
  EXPECT_TRUE(read.has_value());
  EXPECT_TRUE(
      memory.take(MemoryKind::kRequests, memory.largest(MemoryKind::kRequests), Clock::now())
          .has_value());
  EXPECT_TRUE(
      memory.take(MemoryKind::kPictures, memory.largest(MemoryKind::kPictures), Clock::now())
          .has_value());
}

TEST(MemoryBudget, AsksThoseWhoCanDoWithout) {
  MemoryBudget memory(800 * kMiB, 0);
  auto spare = memory.take(MemoryKind::kCache, 450 * kMiB, Clock::now());
  std::size_t asked = 0;
  memory.add_reclaimer(&spare, [&](std::size_t wanted) {
    asked = wanted;
    spare->shrink_to(spare->bytes() - wanted);
    return wanted;
  });
  EXPECT_TRUE(memory.take(MemoryKind::kPictures, 100 * kMiB, Clock::now()).has_value());
  EXPECT_EQ(asked, 50 * kMiB);
  memory.remove_reclaimer(&spare);
}

TEST(MemoryBudget, SharesFromManyThreadsAddUp) {
  MemoryBudget memory(800 * kMiB, 0);
  std::atomic<std::size_t> used{0}, most{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i)
    threads.emplace_back([&, i] {
      for (int round = 0; round < 50; ++round) {
        const std::size_t bytes = static_cast<std::size_t>(50 + 50 * ((i + round) % 8)) * kMiB;
        const auto share = memory.take(MemoryKind::kPictures, bytes, Clock::now() + kLate);
        ASSERT_TRUE(share.has_value());
        const std::size_t now = used += bytes;
        for (std::size_t seen = most; now > seen && !most.compare_exchange_weak(seen, now);) {
        }
        std::this_thread::yield();
        used -= bytes;
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(most, memory.largest(MemoryKind::kPictures));
  EXPECT_GT(most, 100 * kMiB);
  EXPECT_EQ(memory.held(MemoryKind::kPictures), 0u);
}

TEST(WorkerPool, RequestsThatWaitGiveTheirPlaceToOthers) {
  std::atomic<bool> go{false};
  std::atomic<int> quick{0};
  WorkerPool pool(2, 20);
  for (int i = 0; i < 10; ++i)
    ASSERT_TRUE(pool.try_run([&] {
      const WorkerPool::Waiting waiting;
      go.wait(false);
    }));
  for (int i = 0; i < 5; ++i)
    ASSERT_TRUE(pool.try_run([&] {
      ++quick;
      quick.notify_all();
    }));
  for (int done; (done = quick) < 5;) quick.wait(done);  // none of the ten is done
  EXPECT_EQ(pool.requests(), 10);
  go = true;
  go.notify_all();
}

}  // namespace
}  // namespace blip::server
