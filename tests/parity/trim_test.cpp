// Memory that an engine keeps: told, given back, and no part of any answer.
#include <gtest/gtest.h>

#include <optional>

#include "golden.h"

namespace blip::parity {
namespace {

const std::filesystem::path kData = std::filesystem::path(BLIP_TEST_DATA) / "parity";

TEST(Trim, GivesBackWhatIsKeptAndChangesNoAnswer) {
  const Golden golden(kData / "caption");
  for (const DType dtype : device_dtypes("cpu")) {
    EngineOptions options;
    options.dtype = dtype;
    options.threads = 2;
    const Engine engine = Engine::load(golden.model_path(), options);
    Session session(engine);
    const Image image = golden.image(golden.image_names()[0]);
    std::optional<EncodedImage> encoded = session.encode(image);
    const Generation before = session.caption(*encoded);
    encoded.reset();
    EXPECT_GT(engine.spare_bytes(), 0u);
    const std::size_t kept = engine.spare_bytes() + kept_bytes();
    EXPECT_EQ(engine.trim(), kept);
    EXPECT_EQ(engine.spare_bytes(), 0u);
    EXPECT_EQ(kept_bytes(), 0u);
    EXPECT_EQ(engine.trim(), 0u);
    const Generation after = session.caption(session.encode(image));
    EXPECT_EQ(after.token_ids, before.token_ids);
    EXPECT_EQ(after.score, before.score);
    EXPECT_GT(engine.spare_bytes(), 0u);
  }
}

// Scratch of threads of a session's own goes with it.
TEST(Trim, ASessionTakesItsThreadsMemoryAlong) {
  const Golden golden(kData / "caption");
  const Engine engine = load(golden.model_path(), 1);
  engine.trim();
  {
    Session session(engine, {.threads = 2});
    session.caption(session.encode(golden.image(golden.image_names()[0])));
  }
  EXPECT_EQ(engine.spare_bytes(), 0u);
}

}  // namespace
}  // namespace blip::parity
