// LoRA adapters: where bases and adapters are looked for, and what fits nothing is refused by name.
// Their numbers are compared with those of transformers and peft in tests/parity.
#include "model/adapter.h"

#include <stdlib.h>

#include <cmath>
#include <limits>
#include <optional>

#include "model_fixture.h"

namespace blip::model {
namespace {

const fs::path kData = fs::path(BLIP_TEST_DATA) / "parity";
const std::string kQuery =
    "base_model.model.text_decoder.bert.encoder.layer.0.attention.self.query";

std::vector<float> query_of(const Checkpoint& checkpoint) {
  return checkpoint.values("caption.0.self.q.weight");
}

RawTensor of_floats(std::vector<std::int64_t> shape, const std::vector<float>& values) {
  return {"F32", std::move(shape),
          std::string(reinterpret_cast<const char*>(values.data()), 4 * values.size())};
}

// A copy of the base "caption" and of an adapter of it, in a cache of their own.
class AdapterFolder : public ::testing::Test {
 protected:
  AdapterFolder() {
    setenv("HF_HUB_CACHE", folder_.file("cache").c_str(), 1);
    fs::copy(kData / "caption", base_);
    fs::copy(kData / "adapter-attention", adapter_);
    config_ = load_json(adapter_ + "/adapter_config.json");
    tensors_ = read_raw(adapter_ + "/adapter_model.safetensors");
    merged_ = query_of(Checkpoint::open(base_, {adapter_}));
    plain_ = query_of(Checkpoint::open(base_));
  }
  ~AdapterFolder() override { unsetenv("HF_HUB_CACHE"); }

  void save() const {
    folder_.write("adapter/adapter_config.json", config_.dump());
    folder_.write("adapter/adapter_model.safetensors", safetensors_bytes(tensors_));
  }
  void set_base(const std::string& base) {
    config_["base_model_name_or_path"] = base;
    save();
  }
  void add_to_cache(const std::string& name, const std::string& from, char digit) const {
    const std::string commit(40, digit), at = folder_.file("cache/models--" + name);
    fs::create_directories(at + "/refs");
    fs::create_directories(at + "/snapshots");
    std::ofstream(at + "/refs/main") << commit;
    fs::copy(from, at + "/snapshots/" + commit);
  }
  std::string opening(const std::string& path,
                      const std::vector<std::string>& adapters = {}) const {
    try {
      const std::vector<float> query = query_of(Checkpoint::open(path, adapters));
      return query == merged_ ? "merged" : query == plain_ ? "plain" : "something else";
    } catch (const Error& error) {
      return error.what();
    }
  }
  std::string refusal() const {
    save();
    return error_of(ErrorCode::kModel, [&] { Checkpoint::open(base_, {adapter_}); });
  }

  TemporaryFolder folder_;
  const std::string base_ = folder_.file("base"), adapter_ = folder_.file("adapter");
  Json config_;
  RawTensors tensors_;
  std::vector<float> merged_, plain_;
};

TEST_F(AdapterFolder, MergesScaledFactors) {
  ASSERT_NE(merged_, plain_);
  const RawTensor &a = tensors_.at(kQuery + ".lora_A.weight"),
                  &b = tensors_.at(kQuery + ".lora_B.weight");
  const auto value = [](const RawTensor& t, std::size_t i) {
    float v;
    std::memcpy(&v, t.bytes.data() + 4 * i, 4);
    return static_cast<double>(v);
  };
  for (std::size_t i = 0; i < 32; ++i) {
    for (std::size_t j = 0; j < 32; ++j) {
      double sum = static_cast<double>(plain_[i * 32 + j]);
      for (std::size_t k = 0; k < 4; ++k) sum += 2 * value(b, i * 4 + k) * value(a, k * 32 + j);
      EXPECT_NEAR(merged_[i * 32 + j], sum, 1e-5);
    }
  }
}

TEST_F(AdapterFolder, ABaseIsFoundByItsPathOrItsName) {
  set_base(base_);
  EXPECT_EQ(opening(adapter_), "merged");
  EXPECT_EQ(opening(adapter_ + "/"), "merged");
  EXPECT_EQ(opening(adapter_ + "/adapter_model.safetensors"), "merged");
  EXPECT_EQ(opening(adapter_ + "/adapter_config.json"), "merged");
  EXPECT_EQ(opening(adapter_, {adapter_}), "merged");
  EXPECT_EQ(opening(base_, {adapter_ + "/adapter_model.safetensors"}), "merged");
  EXPECT_EQ(opening(base_ + "/model.safetensors", {adapter_}), "merged");
  EXPECT_EQ(stated_base(adapter_), base_);
  set_base("org/base");
  EXPECT_EQ(stated_base(adapter_), "org/base");
  expect_contains(
      opening(adapter_),
      "the adapter in " + adapter_ +
          " is for org/base, which is not in the cache; `blip pull org/base` downloads it");
  add_to_cache("org--base", base_, 'c');
  EXPECT_EQ(opening(adapter_), "merged");
  EXPECT_EQ(opening("org/base", {adapter_}), "merged");
  EXPECT_EQ(opening("org/base"), "plain");
  add_to_cache("org--lora", adapter_, 'd');
  EXPECT_EQ(opening("org/lora"), "merged");
  const std::vector<std::string> name{"org/lora"};
  EXPECT_EQ(Checkpoint::open("org/lora").info().adapters, name);
  EXPECT_EQ(opening(base_, {"org/lora"}), "merged");
  EXPECT_EQ(Checkpoint::open(base_, {"org/lora"}).info().adapters, name);
  set_base("/gone/with/the/machine/that/trained");
  expect_contains(opening(adapter_),
                  "is for /gone/with/the/machine/that/trained, which is no file or folder here; "
                  "give the base as the model");
  set_base(adapter_);
  expect_contains(opening(adapter_), "where there is another adapter");
  config_.erase("base_model_name_or_path");
  save();
  expect_contains(
      opening(adapter_),
      "does not state its base model (base_model_name_or_path); give the base as the model");
  EXPECT_EQ(opening(base_, {adapter_}), "merged");
}

TEST_F(AdapterFolder, AnAdapterBesideAModelIsMerged) {
  set_base("org/never-asked-for");
  for (const char* name : {"adapter_config.json", "adapter_model.safetensors"})
    fs::copy(adapter_ + "/" + name, base_ + "/" + name);
  EXPECT_EQ(opening(base_), "merged");
  EXPECT_EQ(opening(base_ + "/model.safetensors"), "merged");
  EXPECT_EQ(opening(base_, {base_}), "merged");
  EXPECT_EQ(stated_base(base_), "");
  EXPECT_EQ(Checkpoint::open(base_).info().adapters, std::vector<std::string>{"base"});
  expect_contains(
      opening(base_, {adapter_}),
      "base has an adapter of its own; name it too (--adapter), or give the base model alone");
  const auto twice = query_of(Checkpoint::open(base_, {base_, adapter_}));
  for (std::size_t i = 0; i < twice.size(); ++i)
    EXPECT_NEAR(twice[i], 2 * merged_[i] - plain_[i], 1e-5);
  fs::remove(base_ + "/adapter_model.safetensors");
  expect_contains(opening(base_), base_ +
                                      ": adapter_config.json is there, but neither "
                                      "adapter_model.safetensors nor adapter_model.bin");
}

TEST_F(AdapterFolder, EveryPartOfAnAdapterThatFitsNothingIsNamed) {
  const RawTensors whole = tensors_;
  const std::string where = adapter_ + "/adapter_model.safetensors: ";
  const auto refused_with = [&](const std::string& name, const std::optional<RawTensor>& tensor) {
    tensors_ = whole;
    if (tensor)
      tensors_[name] = *tensor;
    else
      tensors_.erase(name);
    return refusal();
  };
  const std::string a = kQuery + ".lora_A.weight", b = kQuery + ".lora_B.weight",
                    module = kQuery.substr(17);
  expect_contains(refused_with(a, std::nullopt),
                  where + module + " has one of its two factors only");
  expect_contains(
      refused_with(a, zeros({4, 31})),
      where + module +
          ": factors of f16 [4, 31] and f32 [32, 4] do not fit the base model's f16 [32, 32]");
  expect_contains(refused_with(a, zeros({32, 4})), "do not fit the base model's");
  expect_contains(refused_with(b, zeros({4, 32})), "do not fit the base model's");
  expect_contains(refused_with(b, zeros({32, 5})), "do not fit the base model's");
  expect_contains(refused_with(b, zeros({128})), "do not fit the base model's");
  expect_contains(refused_with(a, zeros({0, 32})), "do not fit the base model's");
  expect_contains(
      refused_with("base_model.model.text_decoder.other.lora_A.weight", zeros({4, 32})),
      "the base model has no tensor text_decoder.other.weight; is this adapter for another model?");
  expect_contains(refused_with("base_model.model.text_decoder.other.bias", zeros({32})),
                  "the base model has no tensor text_decoder.other.bias");
  expect_contains(refused_with(kQuery + ".bias", zeros({31})),
                  kQuery + ".bias is f16 [31]; the base model has f16 [32]");
  expect_contains(refused_with(kQuery + ".lora_magnitude_vector", zeros({32})),
                  "lora_magnitude_vector is of a kind that is not understood");
  expect_contains(refused_with(kQuery + ".lora_A.default.weight", zeros({4, 32})),
                  "lora_A.default.weight is of a kind that is not understood");
  expect_contains(refused_with(a, RawTensor{"I16", {4, 32}, std::string(256, '\0')}),
                  "expected floating-point values, got i16");
  std::vector<float> values(128, 0.5f);
  values[7] = std::numeric_limits<float>::quiet_NaN();
  expect_contains(refused_with(a, of_floats({4, 32}, values)), where + "tensor " + a);
  values[7] = std::numeric_limits<float>::infinity();
  expect_contains(refused_with(a, of_floats({4, 32}, values)), where + "tensor " + a);
  expect_contains(
      refused_with(kQuery + ".bias", of_floats({32}, std::vector<float>(32, std::nanf("")))),
      where + "tensor " + kQuery + ".bias");
  tensors_ = whole;
  tensors_[kQuery + ".lora_embedding_A"] = tensors_.at(a);
  expect_contains(refusal(), "has factors of another kind of layer");
  tensors_[kQuery + ".lora_embedding_B"] = tensors_.at(b);
  tensors_.erase(a);
  tensors_.erase(b);
  expect_contains(refusal(), "has factors of another kind of layer");
  tensors_.clear();
  expect_contains(refusal(), "holds no tensors of an adapter");
}

TEST_F(AdapterFolder, SettingsAndTensorsMustAgree) {
  config_["r"] = 3;
  expect_contains(refusal(), "has rank 4; expected 3 by r and rank_pattern");
  config_["r"] = 4;
  config_["lora_alpha"] = 1e300;
  expect_contains(refusal(),
                  "has values beyond those of f32; lora_alpha or the factors are too large");
  config_["lora_alpha"] = 8;
  config_["target_modules"] = {"value", "qkv"};
  expect_contains(refusal(),
                  "has factors for text_decoder.bert.encoder.layer.0.attention.self.query, which "
                  "target_modules of adapter_config.json does not name");
  config_["target_modules"] = ".*(value|qkv)";
  expect_contains(refusal(), "which target_modules of adapter_config.json does not name");
  config_["target_modules"] = "all-linear";
  save();
  EXPECT_EQ(opening(base_, {adapter_}), "merged");
  config_["target_modules"] = {"value", "qkv", "query", "fc1"};
  config_["modules_to_save"] = {"cls"};
  save();
  const Checkpoint checkpoint = Checkpoint::open(base_, {adapter_});
  EXPECT_EQ(query_of(checkpoint), merged_);
  ASSERT_EQ(checkpoint.info().warnings.size(), 1u);
  expect_contains(
      checkpoint.info().warnings[0],
      "holds nothing for 3 modules that adapter_config.json names "
      "(vision_model.encoder.layers.0.mlp.fc1, vision_model.encoder.layers.1.mlp.fc1, cls)");
}

// A word table and the output matrix that is tied to it: what is written in the base's place
// changes both, a copy or a low-rank change does not.
TEST_F(AdapterFolder, TiedMatricesFollowAsInTransformers) {
  const Checkpoint base = Checkpoint::open(base_);
  ASSERT_FALSE(base.has("caption.head.weight"));
  const std::vector<float> words = base.values("caption.word");
  const std::vector<std::int64_t> shape = base.tensor("caption.word").shape;
  const RawTensor other = of_floats(shape, std::vector<float>(words.size(), 0.25f));
  tensors_ = {{"base_model.model.text_decoder.bert.embeddings.word_embeddings.weight", other}};
  save();
  const Checkpoint both = Checkpoint::open(base_, {adapter_});
  EXPECT_FALSE(both.has("caption.head.weight"));
  EXPECT_EQ(both.values("caption.word")[5], 0.25f);
  config_["modules_to_save"] = {"word_embeddings"};
  save();
  const Checkpoint apart = Checkpoint::open(base_, {adapter_});
  EXPECT_EQ(apart.values("caption.word")[5], 0.25f);
  ASSERT_TRUE(apart.has("caption.head.weight"));
  EXPECT_EQ(apart.values("caption.head.weight"), words);
  EXPECT_EQ(std::count(apart.names().begin(), apart.names().end(), "caption.head.weight"), 1);
}

TEST_F(AdapterFolder, SeveralAddUpUnlessOneStoresWhole) {
  const std::string second = folder_.file("second");
  fs::copy(adapter_, second);
  const Checkpoint twice = Checkpoint::open(base_, {adapter_, second});
  EXPECT_EQ(twice.info().adapters, (std::vector<std::string>{"adapter", "second"}));
  const std::vector<float> query = query_of(twice);
  for (std::size_t i = 0; i < query.size(); ++i)
    EXPECT_NEAR(query[i], 2 * merged_[i] - plain_[i], 1e-5);
  tensors_[kQuery + ".base_layer.bias"] = zeros({32});
  save();
  EXPECT_EQ(Checkpoint::open(base_, {adapter_, second}).values("caption.0.self.q.bias"),
            std::vector<float>(32, 0.0f));
  fs::copy(adapter_ + "/adapter_model.safetensors", second + "/adapter_model.safetensors",
           fs::copy_options::overwrite_existing);
  expect_contains(error_of(ErrorCode::kModel,
                           [&] {
                             Checkpoint::open(base_, {adapter_, second});
                           }),
                  second +
                      "/adapter_model.safetensors: changes "
                      "text_decoder.bert.encoder.layer.0.attention.self.query.bias, as " +
                      adapter_);
}

TEST_F(AdapterFolder, WhatIsNoAdapterIsNamed) {
  expect_contains(
      opening((kData / "match").string(), {adapter_}),
      "the base model has no tensor text_decoder.bert.encoder.layer.0.attention.self.query.weight");
  expect_contains(opening((kData / "caption-official/model.pth").string(), {adapter_}),
                  "do not fit the base model's");
  expect_contains(opening(base_, {base_}),
                  base_ + " holds no adapter: there is no adapter_config.json");
  expect_contains(opening(base_, {"org/none"}), "; `blip pull org/none` downloads it");
  expect_contains(opening(base_, {"/no/such/folder"}),
                  "the adapter /no/such/folder is no folder here");
  fs::remove(adapter_ + "/adapter_config.json");
  expect_contains(opening(adapter_),
                  "adapter_model.safetensors: an adapter changes the model's answers, but its "
                  "adapter_config.json is missing");
}

TEST_F(AdapterFolder, EveryCutIsAnError) {
  const std::string file = adapter_ + "/adapter_model.safetensors";
  const std::string bytes = read_text(file);
  for (std::size_t keep = 0; keep < bytes.size(); keep += 97) {
    folder_.write("adapter/adapter_model.safetensors", bytes.substr(0, keep));
    const std::string said = opening(base_, {adapter_});
    EXPECT_TRUE(said != "merged" && said != "plain" && said != "something else") << keep;
  }
}

}  // namespace
}  // namespace blip::model
