#include "core/large_memory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <new>
#include <thread>
#include <vector>

#include "core/aligned.h"

namespace blip {
namespace {

constexpr std::size_t kMegabyte = std::size_t{1} << 20;

bool all_are(const std::byte* data, std::size_t bytes, std::size_t value) {
  return std::all_of(data, data + bytes,
                     [value](std::byte b) { return b == static_cast<std::byte>(value); });
}

bool is_aligned(const std::byte* data) {
  return reinterpret_cast<std::uintptr_t>(data) % kAlignment == 0;
}

TEST(Zeros, AreAlignedZeroAndApart) {
  std::vector<std::shared_ptr<std::byte>> pieces;
  const std::size_t sizes[] = {0, 1, 100, 65535, 65536, 65537, 3 * kMegabyte + 1, 70 * kMegabyte,
                               5};
  for (const std::size_t size : sizes) pieces.push_back(allocate_zeros(size));
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    EXPECT_TRUE(is_aligned(pieces[i].get()));
    EXPECT_TRUE(all_are(pieces[i].get(), sizes[i], 0));
    std::memset(pieces[i].get(), static_cast<int>(i + 1), sizes[i]);
  }
  for (std::size_t i = 0; i < pieces.size(); ++i)
    EXPECT_TRUE(all_are(pieces[i].get(), sizes[i], i + 1)) << i;
}

TEST(Zeros, AreZeroWhateverArenasHeld) {
  for (int round = 0; round < 3; ++round) {
    std::memset(Arena(64 * kMegabyte).carve(64 * kMegabyte).get(), 0xff, 64 * kMegabyte);
    EXPECT_TRUE(all_are(allocate_zeros(60 * kMegabyte).get(), 60 * kMegabyte, 0));
  }
}

TEST(Arena, PiecesAreAlignedApartAndOutliveIt) {
  std::vector<std::shared_ptr<std::byte>> pieces;
  const std::size_t sizes[] = {1, 64, 65, 2 * kMegabyte, 100000};
  {
    Arena arena(64 + 64 + 128 + 2 * kMegabyte + 100032);
    EXPECT_TRUE(is_aligned(Arena(0).carve(0).get()));
    pieces.push_back(Arena(70000).carve(1));
    pieces.clear();
    for (const std::size_t size : sizes) pieces.push_back(arena.carve(size));
  }
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    EXPECT_TRUE(is_aligned(pieces[i].get()));
    std::memset(pieces[i].get(), static_cast<int>(i + 1), sizes[i]);
  }
  for (std::size_t i = 0; i < pieces.size(); ++i)
    EXPECT_TRUE(all_are(pieces[i].get(), sizes[i], i + 1)) << i;
}

TEST(Arena, PagesAreUsedAgainOnceAllPiecesAreDropped) {
  Arena first(20 * kMegabyte);
  auto piece = first.carve(5 * kMegabyte);
  const std::byte* before = piece.get();
  first = Arena(10 * kMegabyte);
  const auto held = Arena(18 * kMegabyte).carve(1);  // the piece still holds the others
  EXPECT_NE(held.get(), before);
  piece.reset();
  EXPECT_NE(Arena(5 * kMegabyte).carve(1).get(), before);  // too small for so many pages
  EXPECT_EQ(Arena(12 * kMegabyte).carve(1).get(), before);
}

TEST(Arena, ThreadsTakeAndDropAtOnce) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([t] {
      for (int i = 0; i < 50; ++i) {
        Arena arena(kMegabyte * static_cast<std::size_t>(1 + (i * 7 + t) % 40));
        const auto piece = arena.carve(4096);
        std::memset(piece.get(), t + 1, 4096);
        std::this_thread::yield();
        EXPECT_TRUE(all_are(piece.get(), 4096, static_cast<std::size_t>(t + 1)));
      }
    });
  for (auto& thread : threads) thread.join();
}

TEST(LargeMemory, RefusesWhatNoMachineHas) {
  EXPECT_THROW(allocate_zeros(SIZE_MAX - 5), std::bad_alloc);
  EXPECT_THROW(Arena(SIZE_MAX - 5), std::bad_alloc);
}

}  // namespace
}  // namespace blip
