// Every committed model against transformers: pixels, hidden states, probabilities, vectors, texts,
// rankings.
#include "golden.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace blip::parity {
namespace {

const std::filesystem::path kData = std::filesystem::path(BLIP_TEST_DATA) / "parity";

class Models : public testing::TestWithParam<const char*> {};

TEST_P(Models, AgreeWithTransformers) {
  const Golden golden(kData / GetParam());
  Findings found;
  Tolerance allowed = tolerance();
  for (const int threads : {1, 2}) {
    const Engine engine = load(golden.model_path(), threads, golden.adapters());
    allowed.attentions = engine.info().can_attend;
    Session session(engine);
    compare(golden, session, encode_all(golden, session), allowed, found);
  }
  for (const auto& failure : found.failures) ADD_FAILURE() << failure;
  // The goldens must hold what this test is for.
  const std::string kind = golden.json().at("shape").at("kind");
  const bool adapted = !golden.adapters().empty();
  EXPECT_GE(found.counts["hidden_tensors"], 2 * (adapted ? 2 : 3));
  EXPECT_GE(found.counts["pictures"], 2);
  EXPECT_GE(kind == "match" ? found.counts["matches"] : found.counts["texts"],
            2 * (adapted             ? 10
                 : kind == "caption" ? 30
                                     : 15));
  EXPECT_GE(found.counts["word_maps"], kind == "match" || !allowed.attentions ? 0 : 2 * 12);
  EXPECT_GE(found.counts["rankings"], kind == "vqa" ? 2 * 8 : 0);
}

// A checkpoint says nothing of the batch: pictures encoded one by one give what they give together.
TEST_P(Models, EncodeTheSameAloneAndInABatch) {
  const Golden golden(kData / GetParam());
  const Engine engine = load(golden.model_path(), 1, golden.adapters());
  Session session(engine);
  std::map<std::string, EncodedImage> alone;
  for (const auto& name : golden.image_names())
    alone.emplace(name, session.encode(golden.image(name)));
  Findings found;
  Tolerance allowed = tolerance();
  allowed.attentions = engine.info().can_attend;
  compare(golden, session, alone, allowed, found);
  for (const auto& failure : found.failures) ADD_FAILURE() << failure;
}

INSTANTIATE_TEST_SUITE_P(Parity, Models,
                         testing::Values("caption", "caption-official", "caption-interpolated",
                                         "match", "match-official", "vqa", "vqa-official",
                                         "adapter-attention", "adapter-everything", "adapter-heads",
                                         "adapter-words", "adapter-linear", "adapter-official",
                                         "adapter-several"),
                         [](const auto& param) {
                           std::string name = param.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace blip::parity
