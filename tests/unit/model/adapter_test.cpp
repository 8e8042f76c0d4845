// LoRA adapters: what of adapter_config.json counts, what is refused, and where the base is looked for. Their numbers are
// compared with peft's in tests/parity.
#include "model/adapter.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "blip/blip.h"
#include "blip/error.h"
#include "blip/hub.h"
#include "model/checkpoint.h"

namespace blip::model {
namespace {

namespace fs = std::filesystem;

const fs::path kData = fs::path(BLIP_TEST_DATA) / "parity";

std::string refusal(const std::string& json) {
  try {
    parse_adapter_json(json, "adapter_config.json");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kModel);
    return error.what();
  }
  return "";
}

AdapterSettings settings(const std::string& more) { return parse_adapter_json(R"({"peft_type":"LORA","r":4,"lora_alpha":8)" + more + "}", "x"); }

TEST(AdapterSettings, ScaleIsAlphaOverRank) {
  EXPECT_DOUBLE_EQ(settings("").scale("a.query", 4, "x"), 2.0);
  EXPECT_DOUBLE_EQ(settings(R"(,"use_rslora":true)").scale("a.query", 4, "x"), 4.0);
  EXPECT_THROW(settings("").scale("a.query", 5, "x"), Error);
}

TEST(AdapterSettings, PatternsAreNamesOrExpressionsForTheirEnd) {
  const AdapterSettings s = settings(R"(,"rank_pattern":{"layer\\.[01]\\.query":2,"fc1":16},"alpha_pattern":{"fc1":4,"^enc.fc2":1})");
  EXPECT_DOUBLE_EQ(s.scale("encoder.layer.0.query", 2, "x"), 4.0);
  EXPECT_DOUBLE_EQ(s.scale("encoder.layer.2.query", 4, "x"), 2.0);
  EXPECT_DOUBLE_EQ(s.scale("mlp.fc1", 16, "x"), 0.25);
  EXPECT_DOUBLE_EQ(s.scale("fc1", 16, "x"), 0.25);
  EXPECT_DOUBLE_EQ(s.scale("mlp.notfc1", 4, "x"), 2.0);
  EXPECT_DOUBLE_EQ(s.scale("enc.fc2", 4, "x"), 0.25);
  EXPECT_DOUBLE_EQ(s.scale("an.enc.fc2", 4, "x"), 2.0);
}

TEST(AdapterSettings, WhatIsNotUnderstoodIsRefusedByName) {
  for (const auto& [json, key] : std::initializer_list<std::pair<std::string, std::string>>{
           {R"({"r":4})", "peft_type is missing"},
           {R"({"peft_type":"IA3"})", "peft_type is \"IA3\""},
           {R"({"peft_type":"LORA","use_dora":true})", "use_dora is true"},
           {R"({"peft_type":"LORA","fan_in_fan_out":true})", "fan_in_fan_out"},
           {R"({"peft_type":"LORA","layer_replication":[[0,4]]})", "layer_replication"},
           {R"({"peft_type":"LORA","something_new":{"a":1}})", "something_new"},
           {R"({"peft_type":"LORA","init_lora_weights":"pissa"})", "init_lora_weights is \"pissa\""},
           {R"({"peft_type":"LORA","r":0})", "r is 0"},
           {R"({"peft_type":"LORA","rank_pattern":{"(a+)+b":2}})", "(a+)+b"},
           {R"({"peft_type":"LORA","rank_pattern":{"a[":2}})", "a["},
           {R"({"peft_type":"LORA","rank_pattern":{"a":"b"}})", "rank_pattern"},
           {std::string(100, '['), "not valid JSON"}}) {
    EXPECT_NE(refusal(json).find(key), std::string::npos) << json << ": " << refusal(json);
  }
  EXPECT_EQ(refusal(R"({"peft_type":"LORA","use_dora":false,"something_new":null,"init_lora_weights":"gaussian"})"), "");
}

class AdapterFolder : public ::testing::Test {
 protected:
  AdapterFolder() {
    std::string pattern = (fs::temp_directory_path() / "blip-adapter-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
    fs::copy(kData / "adapter-attention", folder_ / "adapter");
    setenv("HF_HUB_CACHE", (folder_ / "cache").c_str(), 1);
  }
  ~AdapterFolder() override { fs::remove_all(folder_); }

  fs::path adapter() const { return folder_ / "adapter"; }
  void set_base(const std::string& base) {
    std::ifstream in(adapter() / "adapter_config.json");
    auto json = nlohmann::json::parse(in);
    json["base_model_name_or_path"] = base;
    std::ofstream(adapter() / "adapter_config.json") << json;
  }
  std::string opening(const fs::path& path, const std::string& adapter = "") {
    try {
      const Checkpoint checkpoint = Checkpoint::open(path.string(), adapter);
      return checkpoint.values("vision.0.qkv.weight") == Checkpoint::open((kData / "caption").string(), (kData / "adapter-attention").string()).values("vision.0.qkv.weight")
                 ? "merged" : "something else";
    } catch (const Error& error) {
      return error.what();
    }
  }

  fs::path folder_;
};

TEST_F(AdapterFolder, ABaseIsFoundByItsPathItsNameOrBesideTheAdapter) {
  set_base((kData / "caption").string());
  EXPECT_EQ(opening(adapter()), "merged");
  EXPECT_EQ(opening(kData / "caption", adapter().string()), "merged");
  EXPECT_EQ(adapter_base(adapter().string()), (kData / "caption").string());
  set_base("org/base");
  EXPECT_NE(opening(adapter()).find("is for org/base, which is not in the cache; `blip pull org/base`"), std::string::npos) << opening(adapter());
  const std::string commit(40, 'c');
  fs::create_directories(folder_ / "cache/models--org--base/refs");
  fs::create_directories(folder_ / "cache/models--org--base/snapshots");
  std::ofstream(folder_ / "cache/models--org--base/refs/main") << commit;
  fs::copy(kData / "caption", folder_ / "cache/models--org--base/snapshots" / commit);
  EXPECT_EQ(opening(adapter()), "merged");
  EXPECT_EQ(opening("org/base", adapter().string()), "merged");
  set_base("/gone/with/the/machine/that/trained");
  EXPECT_NE(opening(adapter()).find("no model here"), std::string::npos) << opening(adapter());
  for (const char* name : {"config.json", "preprocessor_config.json", "vocab.txt", "model.safetensors"}) fs::copy(kData / "caption" / name, adapter() / name);
  EXPECT_EQ(opening(adapter()), "merged");
}

TEST_F(AdapterFolder, WhatDoesNotFitIsNamed) {
  EXPECT_NE(opening(kData / "match", adapter().string()).find("the base model has no tensor"), std::string::npos);
  EXPECT_NE(opening(kData / "caption-official" / "model.pth", adapter().string()).find("transformers' tensor names"), std::string::npos);
  EXPECT_NE(opening(kData / "caption", (kData / "caption").string()).find("holds no adapter"), std::string::npos);
  EXPECT_NE(opening(kData / "caption", "org/none").find("is no folder here and not in the cache"), std::string::npos);
  fs::remove(adapter() / "adapter_model.safetensors");
  EXPECT_NE(opening(kData / "caption", adapter().string()).find("neither adapter_model.safetensors nor adapter_model.bin"), std::string::npos);
}

TEST_F(AdapterFolder, EveryCutIsAnError) {
  const auto size = fs::file_size(adapter() / "adapter_model.safetensors");
  for (std::uintmax_t keep = 0; keep < size; keep += 97) {
    fs::copy_file(kData / "adapter-attention/adapter_model.safetensors", adapter() / "adapter_model.safetensors", fs::copy_options::overwrite_existing);
    fs::resize_file(adapter() / "adapter_model.safetensors", keep);
    const std::string said = opening(kData / "caption", adapter().string());
    EXPECT_TRUE(said != "merged" && said != "something else") << keep;
  }
}

}  // namespace
}  // namespace blip::model
