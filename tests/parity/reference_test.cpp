// The CPU in each of its number types beside the backend in double precision: how far rounding
// takes the states of every tower, and what a search finds in them.
#include <gtest/gtest.h>

#include <optional>

#include "golden.h"

namespace blip::parity {
namespace {

const std::filesystem::path kData = std::filesystem::path(BLIP_TEST_DATA) / "parity";

Engine on(const std::string& device, const Golden& golden, DType dtype) {
  EngineOptions options;
  options.device = device;
  options.dtype = dtype;
  options.threads = 2;
  options.adapters = golden.adapters();
  return Engine::load(golden.model_path(), options);
}

// What rounding may do to states, relative to their norm, by the number type: of pictures, and of
// texts over them. These models are narrow: 8 bits for 24 values lose more than for 768.
struct Type {
  DType dtype;
  double vision, texts;
};

class AgainstReference : public testing::TestWithParam<Type> {};

TEST_P(AgainstReference, StatesOfEveryTower) {
  const Type& type = GetParam();
  for (const char* name : {"caption", "match", "vqa"}) {
    const Golden golden(kData / name);
    const Engine cpu = on("cpu", golden, type.dtype);
    const Engine exact = on("reference", golden, DType::kF32);
    ASSERT_EQ(exact.device(), "reference");
    Session session(cpu), wanted(exact);
    int compared = 0;
    const auto compare_states = [&](Stage stage, const Image& image, const std::string& text) {
      const Tensor got = session.dump(stage, image, text), want = wanted.dump(stage, image, text);
      ASSERT_EQ(got.shape, want.shape);
      const Difference d = difference(got.values, want.values);
      EXPECT_LE(d.norm, stage == Stage::kVision ? type.vision : type.texts)
          << name << ", stage " << static_cast<int>(stage);
      EXPECT_TRUE(type.dtype == DType::kF32 || d.norm > 1e-6) << "nothing was rounded";
      ++compared;
    };
    for (const auto& picture : golden.image_names()) {
      const Image image = golden.image(picture);
      compare_states(Stage::kVision, image, "");
      if (cpu.info().can_match_itm) compare_states(Stage::kText, image, "a red ball on a table");
      if (cpu.info().can_ask) compare_states(Stage::kQuestion, image, "what is on the table?");
    }
    EXPECT_GE(compared, 2);
  }
}

INSTANTIATE_TEST_SUITE_P(Parity, AgainstReference,
                         testing::Values(Type{DType::kF32, 3e-6, 5e-6},
                                         Type{DType::kBf16, 0.02, 0.05},
                                         Type{DType::kInt8, 0.05, 0.3}),
                         [](const auto& param) { return to_string(param.param.dtype); });

// Both ways to search: the CPU hands its logits over, the reference picks the best by itself.
TEST(AgainstReference, FindsTheSameTexts) {
  const Golden golden(kData / "caption");
  Session cpu(on("cpu", golden, DType::kF32)), exact(on("reference", golden, DType::kF32));
  for (const auto& picture : golden.image_names()) {
    const EncodedImage a = cpu.encode(golden.image(picture)),
                       b = exact.encode(golden.image(picture));
    EXPECT_GT(b.bytes(), 0u);
    for (const int beams : {1, 3}) {
      CaptionOptions options;
      options.generate.beams = options.generate.num_return = beams;
      options.generate.repetition_penalty = 1.2f;
      const auto got = cpu.caption(a, options).all, want = exact.caption(b, options).all;
      ASSERT_EQ(got.size(), want.size());
      for (std::size_t i = 0; i < got.size(); ++i) {
        EXPECT_EQ(got[i].token_ids, want[i].token_ids) << picture << ", " << beams << " beams";
        EXPECT_NEAR(got[i].score, want[i].score, 1e-4);
      }
    }
  }
}

// A picture of one engine is none of another's, whatever their devices.
TEST(AgainstReference, PicturesStayOnTheirDevice) {
  const Golden golden(kData / "caption");
  Session cpu(on("cpu", golden, DType::kF32)), exact(on("reference", golden, DType::kF32));
  const EncodedImage image = cpu.encode(golden.image(golden.image_names()[0]));
  EXPECT_THROW(exact.caption(image), Error);
  try {
    on("reference", golden, DType::kBf16);
    ADD_FAILURE() << "the reference has no bf16";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUsage);
  }
}

}  // namespace
}  // namespace blip::parity
