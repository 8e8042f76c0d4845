// Pictures decoded ahead, in order, on another thread.
#include "cli/prefetch.h"

#include <gtest/gtest.h>

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
  Prefetch prefetch(pictures_and_errors(1), {.max_bytes = 10}, 1);
  const std::optional<Decoded> decoded = prefetch.next();
  ASSERT_TRUE(decoded);
  EXPECT_FALSE(decoded->image);
  EXPECT_NE(decoded->error.find("bytes"), std::string::npos) << decoded->error;
}

TEST(Prefetch, NothingToDo) {
  Prefetch prefetch({}, {}, 4);
  EXPECT_FALSE(prefetch.next());
}

}  // namespace
}  // namespace blip::cli
