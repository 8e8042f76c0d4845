// Pictures decoded ahead, in order, on another thread.
#include "cli/prefetch.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

namespace blip::cli {
namespace {

std::vector<Input> pictures_and_errors(int count) {
  const std::string picture = std::string(BLIP_SOURCE_DIR) + "/demo/scenes/clock.png";
  std::vector<Input> inputs;
  for (int i = 0; i < count; ++i) {
    if (i % 3 == 0) inputs.push_back({picture, ""});
    if (i % 3 == 1) inputs.push_back({"error " + std::to_string(i), "why " + std::to_string(i)});
    if (i % 3 == 2) inputs.push_back({"/nonexistent/" + std::to_string(i), ""});
  }
  return inputs;
}

Prefetch::Next from(std::vector<Input> inputs) {
  return [inputs = std::move(inputs), next = std::size_t{0}](const Stop&) mutable {
    return next < inputs.size() ? std::optional(inputs[next++]) : std::nullopt;
  };
}

TEST(Prefetch, GivesEveryInputInOrder) {
  for (const std::size_t ahead : {1u, 2u, 16u}) {
    const std::vector<Input> inputs = pictures_and_errors(30);
    Prefetch prefetch(from(inputs), {}, ahead);
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      const std::optional<Decoded> decoded = prefetch.next();
      ASSERT_TRUE(decoded);
      EXPECT_EQ(decoded->name, inputs[i].name);
      EXPECT_EQ(decoded->image.has_value(), i % 3 == 0);
      EXPECT_EQ(decoded->error.empty(), i % 3 == 0);
      if (i % 3 == 1) {
        EXPECT_EQ(decoded->error, inputs[i].error);
      }
    }
    EXPECT_FALSE(prefetch.next());
    EXPECT_FALSE(prefetch.next());
  }
}

TEST(Prefetch, StopsBeforeTheEnd) {
  for (int taken = 0; taken < 5; ++taken) {
    Prefetch prefetch(from(pictures_and_errors(200)), {}, 4);
    for (int i = 0; i < taken; ++i) EXPECT_TRUE(prefetch.next());
  }
}

TEST(Prefetch, LimitsReachTheDecoder) {
  Prefetch prefetch(from(pictures_and_errors(1)), {.limits = {.max_bytes = 10}, .background = {}},
                    1);
  const std::optional<Decoded> decoded = prefetch.next();
  ASSERT_TRUE(decoded);
  EXPECT_FALSE(decoded->image);
  EXPECT_NE(decoded->error.find("bytes"), std::string::npos) << decoded->error;
}

TEST(Prefetch, PreparesOnItsOwnThread) {
  const std::uint8_t black[3] = {};
  std::thread::id thread;
  const auto prepare = [&](const Image& image) {
    thread = std::this_thread::get_id();
    EXPECT_GT(image.width(), 1);
    return Image::from_rgb(black, 1, 1);
  };
  Prefetch prefetch(from(pictures_and_errors(1)), {}, 1, prepare);
  EXPECT_EQ(prefetch.next()->image->width(), 1);
  EXPECT_NE(thread, std::this_thread::get_id());
  EXPECT_NE(thread, std::thread::id());
}

TEST(Prefetch, APictureThatCannotBePreparedFailsAlone) {
  int count = 0;
  const auto prepare = [&](const Image& image) {
    if (++count == 1) throw Error(ErrorCode::kImage, "too dark");
    return image;
  };
  Prefetch prefetch(from(pictures_and_errors(4)), {}, 4, prepare);
  EXPECT_EQ(prefetch.next()->error, "too dark");
  prefetch.next();
  prefetch.next();
  EXPECT_TRUE(prefetch.next()->image);
}

TEST(Prefetch, PausesPassAndWhatTheSourceThrowsComesOut) {
  int calls = 0;
  std::atomic<bool> taken{false};
  const auto next = [&](const Stop&) -> std::optional<Input> {
    Input pause;
    pause.pause = true;
    if (++calls == 1) return pause;
    while (!taken) std::this_thread::yield();
    throw Error(ErrorCode::kIo, "no more");
  };
  Prefetch prefetch(next, {}, 4);
  const std::optional<Decoded> decoded = prefetch.next();
  ASSERT_TRUE(decoded);
  taken = true;
  EXPECT_TRUE(decoded->pause);
  EXPECT_FALSE(decoded->image);
  EXPECT_EQ(decoded->error, "");
  EXPECT_THROW(prefetch.next(), Error);
}

TEST(Prefetch, TheSameBytesAreDecodedOnce) {
  const std::string clock = std::string(BLIP_SOURCE_DIR) + "/demo/scenes/clock.png",
                    other = std::string(BLIP_SOURCE_DIR) + "/demo/scenes/balloons.png";
  Input in_archive{"a.tar/x", ""};
  in_archive.bytes = std::make_shared<const std::string>("no picture");
  const std::vector<Input> inputs = {{clock, ""},         {other, ""}, {clock, ""},
                                     in_archive,          in_archive,  {"/nonexistent", ""},
                                     {"/nonexistent", ""}};
  for (const bool dedupe : {false, true}) {
    Prefetch prefetch(from(inputs), {}, 4, {}, Dedupe{dedupe});
    std::vector<bool> duplicates, decoded;
    while (const std::optional<Decoded> next = prefetch.next()) {
      duplicates.push_back(next->duplicate);
      decoded.push_back(next->image.has_value());
    }
    const auto is = [&](bool yes) { return dedupe && yes; };
    EXPECT_EQ(duplicates, (std::vector{false, false, is(true), false, is(true), false, false}));
    EXPECT_EQ(decoded, (std::vector{true, true, !is(true), false, false, false, false}));
  }
}

TEST(Prefetch, WhatLooksTheSameIsNotKept) {
  const std::string scenes = std::string(BLIP_SOURCE_DIR) + "/demo/scenes/",
                    looks = std::string(BLIP_SOURCE_DIR) + "/tests/data/image/looks/";
  const std::vector<Input> inputs = {
      {scenes + "clock.png", ""},   {looks + "black.png", ""},
      {scenes + "cat-bus.png", ""}, {"/nonexistent", ""},
      {looks + "flat.png", ""},     {looks + "clock-small.png", ""},
      {scenes + "clock.png", ""},   {looks + "cat-bus-q20.jpg", ""},
      {looks + "radial.png", ""},   {looks + "clock-mirrored.png", ""}};
  Prefetch prefetch(from(inputs), {}, 4, {}, Dedupe{true, 4});
  std::vector<std::optional<std::uint64_t>> numbers, like;
  std::vector<bool> decoded, same_bytes;
  while (const std::optional<Decoded> next = prefetch.next()) {
    numbers.push_back(next->look);
    like.push_back(next->looks_like);
    decoded.push_back(next->image.has_value());
    same_bytes.push_back(next->duplicate);
  }
  using Numbers = std::vector<std::optional<std::uint64_t>>;
  const std::optional<std::uint64_t> none;
  // Flat pictures look like nothing.
  EXPECT_EQ(numbers, (Numbers{0, none, 1, none, none, none, none, none, 2, 3}));
  EXPECT_EQ(like, (Numbers{none, none, none, none, none, 0, none, 1, none, none}));
  EXPECT_EQ(decoded, (std::vector{true, true, true, false, true, false, false, false, true, true}));
  EXPECT_EQ(same_bytes,
            (std::vector{false, false, false, false, false, false, true, false, false, false}));
}

TEST(Recent, WhatIsPutInAgainIsTheNewest) {
  Recent<int> recent(2);
  const jobs::Key a{1, 1}, b{1, 2}, c{1, 3};
  recent.put(a, 1);
  recent.put(b, 2);
  recent.put(a, 3);
  recent.put(c, 4);  // b goes
  EXPECT_EQ(recent.find(b), nullptr);
  ASSERT_NE(recent.find(a), nullptr);
  EXPECT_EQ(*recent.find(a), 3);
  recent.put(b, 5);  // a goes, of which nothing is left to go again
  recent.put(b, 6);
  EXPECT_EQ(recent.find(a), nullptr);
  EXPECT_EQ(*recent.find(c), 4);
  EXPECT_EQ(*recent.find(b), 6);
}

TEST(Prefetch, ASourceThatWaitsGivesUp) {
  const auto next = [](const Stop& stop) -> std::optional<Input> {
    while (!stop()) std::this_thread::yield();
    return std::nullopt;
  };
  Prefetch prefetch(next, {}, 4);  // its destructor returns
}

TEST(Prefetch, NothingToDo) {
  Prefetch prefetch(from({}), {}, 4);
  EXPECT_FALSE(prefetch.next());
}

}  // namespace
}  // namespace blip::cli
