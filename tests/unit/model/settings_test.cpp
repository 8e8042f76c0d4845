// config.json and preprocessor_config.json.
#include "model/settings.h"

#include "model/gguf_config.h"
#include "model_fixture.h"

namespace blip::model {
namespace {

std::string config_error(const std::string& json) {
  return error_of(ErrorCode::kModel, [&] { parse_config_json(json, "config.json"); });
}

std::string preprocessor_error(const std::string& json) {
  return error_of(ErrorCode::kModel, [&] {
    Settings settings;
    apply_preprocessor_json(settings, json, "preprocessor_config.json");
  });
}

TEST(Config, DefaultsAreThoseOfTransformers) {
  const Settings settings = parse_config_json("{}", "config.json");
  EXPECT_EQ(settings.vision.eps, 1e-5f);
  EXPECT_EQ(settings.vision.default_heads, 12);
  EXPECT_EQ(settings.text.eps, 1e-12f);
  EXPECT_EQ(settings.text.default_heads, 8);
  EXPECT_FALSE(settings.vision.width.has_value());
  EXPECT_EQ(settings.architecture, Architecture::kUnstated);
}

TEST(Config, StatedValues) {
  const Settings settings = parse_config_json(
      R"({"architectures": ["BlipForQuestionAnswering"], "model_type": "blip",
          "vision_config": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16,
                            "intermediate_size": 4096,
                            "image_size": [480, 480], "patch_size": 16, "layer_norm_eps": 1e-6,
                            "hidden_act": "gelu"},
          "text_config": {"hidden_size": 768, "vocab_size": 30524, "max_position_embeddings": 512,
                          "encoder_hidden_size": 1024,
                          "num_attention_heads": null}})",
      "config.json");
  EXPECT_EQ(settings.vision.width, 1024);
  EXPECT_EQ(settings.vision.layers, 24);
  EXPECT_EQ(settings.vision.heads, 16);
  EXPECT_EQ(settings.vision.mlp, 4096);
  EXPECT_EQ(settings.vision.image_size, 480);
  EXPECT_EQ(settings.vision.eps, 1e-6f);
  EXPECT_EQ(settings.text.vocab, 30524);
  EXPECT_EQ(settings.text.positions, 512);
  EXPECT_FALSE(settings.text.heads.has_value());
  EXPECT_EQ(settings.architecture, Architecture::kQuestionAnswering);
}

TEST(Config, ErrorsSayWhereAndWhatIsExpected) {
  expect_contains(config_error(R"({"vision_config": {"hidden_size": 0}})"),
                  "config.json: vision_config.hidden_size is 0; expected an integer of 1 to 65536");
  expect_contains(config_error(R"({"vision_config": {"hidden_size": 12.5}})"),
                  "hidden_size is 12.5; expected an integer");
  expect_contains(config_error(R"({"text_config": {"vocab_size": 1000001}})"),
                  "text_config.vocab_size is 1000001; expected an integer of 1 to 1000000");
  expect_contains(config_error(R"({"text_config": {"vocab_size": 18446744073709551615}})"),
                  "vocab_size is 18446744073709551615");
  expect_contains(config_error(R"({"text_config": {"num_hidden_layers": 1001}})"),
                  "num_hidden_layers is 1001");
  expect_contains(config_error(R"({"text_config": {"num_attention_heads": "12"}})"),
                  "num_attention_heads is \"12\"");
  expect_contains(config_error(R"({"text_config": {"layer_norm_eps": -1}})"),
                  "layer_norm_eps is -1; expected a number between 0 and 1");
  expect_contains(config_error(R"({"vision_config": {"image_size": [384, 256]}})"),
                  "image_size is [384,256]; expected a square");
  expect_contains(config_error(R"({"vision_config": {"image_size": {"width": 3}}})"),
                  "expected an integer or a height and a width");
  expect_contains(config_error(R"({"vision_config": {"hidden_act": "relu"}})"),
                  "hidden_act is \"relu\"; expected \"gelu\"");
  expect_contains(config_error(R"({"vision_config": 3})"),
                  "config.json: vision_config is 3; expected an object");
  expect_contains(config_error(R"({"model_type": "blip-2"})"),
                  "config.json: model_type is \"blip-2\"; expected \"blip\"");
  expect_contains(config_error("[]"), "config.json is []; expected an object");
  expect_contains(config_error("{\"a\": "),
                  "config.json: not valid JSON: parse error at line 1, column 7");
  expect_contains(config_error(""), "not valid JSON");
  expect_contains(config_error("{\"a\": 1e999}"), "not valid JSON");
  expect_contains(config_error("{\"model_type\": \"\xff\"}"), "not valid JSON");
}

TEST(Preprocessor, SizesInEverySpelling) {
  for (const char* size : {"384", "[384, 384]", R"({"height": 384, "width": 384})"}) {
    Settings settings;
    apply_preprocessor_json(settings, std::string(R"({"size": )") + size + "}", "p");
    EXPECT_EQ(settings.preprocessor_size, 384) << size;
  }
}

TEST(Preprocessor, NormalizationAndNesting) {
  Settings settings;
  apply_preprocessor_json(
      settings,
      R"({"image_processor": {"image_mean": [0, 0.5, 1], "image_std": [1, 2, 3], )"
      R"("resample": 3, "rescale_factor": 0.00392156862745098}})",
      "p");
  EXPECT_EQ(settings.normalization.mean, (std::array<float, 3>{0.f, 0.5f, 1.f}));
  EXPECT_EQ(settings.normalization.std, (std::array<float, 3>{1.f, 2.f, 3.f}));
  apply_preprocessor_json(settings, R"({"do_normalize": false})", "p");
  EXPECT_EQ(settings.normalization.mean, (std::array<float, 3>{0.f, 0.f, 0.f}));
  EXPECT_EQ(settings.normalization.std, (std::array<float, 3>{1.f, 1.f, 1.f}));
}

TEST(Preprocessor, Errors) {
  expect_contains(
      preprocessor_error(R"({"size": {"height": 3, "width": 4}})"),
      "preprocessor_config.json: size is {\"height\":3,\"width\":4}; expected a square");
  expect_contains(preprocessor_error(R"({"size": {"shortest_edge": 3}})"),
                  "expected an integer or a height and a width");
  expect_contains(preprocessor_error(R"({"image_mean": [1, 2]})"),
                  "image_mean is [1,2]; expected three numbers");
  expect_contains(preprocessor_error(R"({"image_std": [1, 0, 1]})"),
                  "expected three numbers above 0");
  expect_contains(preprocessor_error(R"({"resample": 2})"), "resample is 2; expected 3 (bicubic");
  expect_contains(preprocessor_error(R"({"rescale_factor": 1})"), "expected 1/255");
  expect_contains(preprocessor_error(R"({"do_rescale": false})"),
                  "do_rescale is false; expected true");
}

TEST(GgufConfig, WhatIsWrittenIsReadBack) {
  const ModelConfig config = Checkpoint::open(data_path("combined")).config();
  Metadata metadata{{"general.architecture", std::string("blip")}};
  write_config(config, metadata);
  const ModelConfig back = read_config(metadata, "m.gguf");
  Metadata again{{"general.architecture", std::string("blip")}};
  write_config(back, again);
  EXPECT_EQ(metadata, again);
  EXPECT_EQ(back.prompt, "a red ");
  EXPECT_EQ(back.max_text, 20);
  EXPECT_EQ(back.vision.eps, config.vision.eps);
  EXPECT_EQ(back.normalization.mean, config.normalization.mean);
  EXPECT_EQ(back.answer_decoder->vision_width, 32);
  EXPECT_TRUE(back.has_itm_head);
}

TEST(GgufConfig, EveryKeyIsRequiredAndChecked) {
  const ModelConfig config = Checkpoint::open(data_path("combined")).config();
  Metadata metadata{{"general.architecture", std::string("blip")}};
  write_config(config, metadata);
  for (const auto& [key, value] : metadata) {
    // Without its layer count a tower counts as absent, which the tensors of that tower then
    // contradict.
    const bool tower = key.ends_with(".block_count") && key != "blip.vision.block_count";
    Metadata without = metadata;
    without.erase(key);
    if (!tower)
      expect_contains(error_of(ErrorCode::kModel, [&] { read_config(without, "m.gguf"); }), key);
    Metadata wrong = metadata;
    wrong[key] = std::vector<std::string>{"x"};
    expect_contains(error_of(ErrorCode::kModel, [&] { read_config(wrong, "m.gguf"); }), key);
  }
  metadata["blip.text.vocab_size"] = std::int64_t{1} << 40;
  expect_contains(error_of(ErrorCode::kModel, [&] { read_config(metadata, "m.gguf"); }),
                  "blip.text.vocab_size is 1099511627776; expected 1 to 1000000");
}

}  // namespace
}  // namespace blip::model
