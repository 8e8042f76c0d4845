// LoRA adapters through the interface: engines, conversion, and what a model says was merged into
// it.
#include <gtest/gtest.h>

#include "blip/blip.h"
#include "blip/hub.h"
#include "unit/model/model_fixture.h"

namespace blip {
namespace {

namespace fs = std::filesystem;
using model::Checkpoint;
using model::expect_contains;

const fs::path kData = fs::path(BLIP_TEST_DATA) / "parity";

std::vector<float> query_of(const Checkpoint& checkpoint) {
  return checkpoint.values("caption.0.self.q.weight");
}

class Adapters : public ::testing::Test {
 protected:
  Adapters() {
    fs::copy(kData / "caption", base_);
    fs::copy(kData / "adapter-attention", adapter_);
    auto config = model::load_json(adapter_ + "/adapter_config.json");
    config["base_model_name_or_path"] = base_;
    folder_.write("adapter/adapter_config.json", config.dump());
    merged_ = query_of(Checkpoint::open(base_, {adapter_}));
    plain_ = query_of(Checkpoint::open(base_));
  }

  model::TemporaryFolder folder_;
  const std::string base_ = folder_.file("base"), adapter_ = folder_.file("adapter");
  std::vector<float> merged_, plain_;
};

TEST_F(Adapters, AModelSaysWhatWasMerged) {
  EXPECT_EQ(adapter_base(adapter_), base_);
  EXPECT_EQ(adapter_base(base_), "");
  EXPECT_EQ(Engine::load(adapter_).info().adapters, std::vector<std::string>{"adapter"});
  EXPECT_EQ(inspect(adapter_).adapters, std::vector<std::string>{"adapter"});
  EXPECT_EQ(Engine::load(base_, {.adapters = {adapter_}}).info().adapters,
            std::vector<std::string>{"adapter"});
  EXPECT_TRUE(Engine::load(base_).info().adapters.empty());
  const std::string what = model::error_of(ErrorCode::kUnsupported, [&] {
    Engine::load("x.bmodel", {.device = "sophon:0", .adapters = {adapter_}});
  });
  expect_contains(what, "a compiled model takes no adapter; merge it before");
}

// A GGUF file stands for itself, also where it was written beside the adapter that is merged in it.
TEST_F(Adapters, AConvertedModelIsNotChangedTwice) {
  ConvertOptions options;
  options.type = FileType::kF32;
  convert(base_, folder_.file("base.gguf"), options);
  EXPECT_EQ(query_of(Checkpoint::open(folder_.file("base.gguf"), {adapter_})), merged_);
  const std::string beside = adapter_ + "/merged.gguf";
  convert(adapter_, beside, options);
  const Checkpoint converted = Checkpoint::open(beside);
  EXPECT_EQ(query_of(converted), merged_);
  EXPECT_EQ(converted.info().adapters, std::vector<std::string>{"adapter"});
  EXPECT_TRUE(converted.info().warnings.empty());
  EXPECT_EQ(query_of(Checkpoint::open(adapter_)), merged_);
  fs::copy(folder_.file("base.gguf"), adapter_ + "/base.gguf");
  const Checkpoint other = Checkpoint::open(adapter_ + "/base.gguf");
  EXPECT_EQ(query_of(other), plain_);
  ASSERT_EQ(other.info().warnings.size(), 1u);
  expect_contains(other.info().warnings[0], adapter_ + "/adapter_config.json: not followed");
  for (const std::string& target :
       {adapter_ + "/adapter_model.safetensors", adapter_ + "/adapter_config.json",
        base_ + "/model.safetensors"}) {
    const std::string what =
        model::error_of(ErrorCode::kUsage, [&] { convert(adapter_, target, {}); });
    expect_contains(what, "source and destination are the same file: " + target);
  }
  EXPECT_EQ(query_of(Checkpoint::open(adapter_)), merged_);
}

}  // namespace
}  // namespace blip
