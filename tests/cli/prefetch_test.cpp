// Pictures decoded ahead, in order, on another thread.
#include "cli/prefetch.h"

#include <gtest/gtest.h>

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

TEST(Prefetch, GivesEveryInputInOrder) {
  for (const std::size_t ahead : {1u, 2u, 16u}) {
    const std::vector<Input> inputs = pictures_and_errors(30);
    Prefetch prefetch(inputs, {}, ahead);
    EXPECT_EQ(prefetch.size(), inputs.size());
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
    Prefetch prefetch(pictures_and_errors(200), {}, 4);
    for (int i = 0; i < taken; ++i) EXPECT_TRUE(prefetch.next());
  }
}

TEST(Prefetch, LimitsReachTheDecoder) {
  Prefetch prefetch(pictures_and_errors(1), {.limits = {.max_bytes = 10}, .background = {}}, 1);
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
  Prefetch prefetch(pictures_and_errors(1), {}, 1, prepare);
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
  Prefetch prefetch(pictures_and_errors(4), {}, 4, prepare);
  EXPECT_EQ(prefetch.next()->error, "too dark");
  prefetch.next();
  prefetch.next();
  EXPECT_TRUE(prefetch.next()->image);
}

TEST(Prefetch, NothingToDo) {
  Prefetch prefetch({}, {}, 4);
  EXPECT_FALSE(prefetch.next());
}

}  // namespace
}  // namespace blip::cli
