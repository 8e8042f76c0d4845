// adapter_config.json: what of it counts, and what is refused by name.
#include "model/adapter_settings.h"

#include <gtest/gtest.h>

#include <chrono>

#include "model_fixture.h"

namespace blip::model {
namespace {

constexpr auto kYes = std::optional(true), kNo = std::optional(false);
constexpr std::optional<bool> kUnknown;

AdapterSettings settings(const std::string& more) {
  return parse_adapter_json(R"({"peft_type":"LORA","r":4,"lora_alpha":8)" + more + "}", "x");
}

std::string refusal(const std::string& json) {
  return error_of(ErrorCode::kModel, [&] { parse_adapter_json(json, "adapter_config.json"); });
}

TEST(AdapterSettings, ScaleIsAlphaOverRank) {
  EXPECT_DOUBLE_EQ(settings("").scale("a.query", 4, "x"), 2.0);
  EXPECT_DOUBLE_EQ(settings(R"(,"use_rslora":true)").scale("a.query", 4, "x"), 4.0);
  EXPECT_DOUBLE_EQ(parse_adapter_json(R"({"peft_type":"LORA"})", "x").scale("a.query", 8, "x"),
                   1.0);
  expect_contains(error_of(ErrorCode::kModel, [] { settings("").scale("a.query", 5, "file"); }),
                  "file: a.query has rank 5; expected 4 by r and rank_pattern");
}

TEST(AdapterSettings, PatternsAreNamesOrExpressionsForTheirEnd) {
  const AdapterSettings s = settings(R"(,"rank_pattern":{"layer\\.[01]\\.query":2,"fc1":16},)"
                                     R"("alpha_pattern":{"fc1":4,"^enc.fc2":1,"a|b":16})");
  EXPECT_DOUBLE_EQ(s.scale("encoder.layer.0.query", 2, "x"), 4.0);
  EXPECT_DOUBLE_EQ(s.scale("layer.1.query", 2, "x"), 4.0);
  EXPECT_DOUBLE_EQ(s.scale("encoder.layer.2.query", 4, "x"), 2.0);
  EXPECT_DOUBLE_EQ(s.scale("encoder.player.0.query", 4, "x"), 2.0);
  EXPECT_DOUBLE_EQ(s.scale("mlp.fc1", 16, "x"), 0.25);
  EXPECT_DOUBLE_EQ(s.scale("fc1", 16, "x"), 0.25);
  EXPECT_DOUBLE_EQ(s.scale("mlp.notfc1", 4, "x"), 2.0);
  EXPECT_DOUBLE_EQ(s.scale("enc.fc2", 4, "x"), 0.25);
  EXPECT_DOUBLE_EQ(s.scale("an.enc.fc2", 4, "x"), 2.0);
  EXPECT_DOUBLE_EQ(s.scale("x.a", 4, "x"), 4.0);
  EXPECT_DOUBLE_EQ(s.scale("x.b", 4, "x"), 4.0);
  EXPECT_DOUBLE_EQ(s.scale("x.ab", 4, "x"), 2.0);
}

TEST(AdapterSettings, TheFirstPatternOfTheFileCounts) {
  EXPECT_DOUBLE_EQ(
      settings(R"(,"alpha_pattern":{"self.query":1,"query":2})").scale("a.self.query", 4, "x"),
      0.25);
  EXPECT_DOUBLE_EQ(
      settings(R"(,"alpha_pattern":{"query":2,"self.query":1})").scale("a.self.query", 4, "x"),
      0.5);
  EXPECT_DOUBLE_EQ(
      settings(R"(,"alpha_pattern":{"z":2,"query":3,"a.*":1})").scale("a.self.query", 4, "x"),
      0.75);
}

TEST(AdapterSettings, TargetsAreAListOrAnExpression) {
  const AdapterSettings list =
      settings(R"(,"target_modules":["query","mlp.fc1"],)"
               R"("exclude_modules":["crossattention.self.query"],"modules_to_save":["head"])");
  EXPECT_EQ(list.targets("d.layer.0.attention.self.query"), kYes);
  EXPECT_EQ(list.targets("d.layer.0.crossattention.self.query"), kNo);
  EXPECT_EQ(list.targets("query"), kYes);
  EXPECT_EQ(list.targets("d.subquery"), kNo);
  EXPECT_EQ(list.targets("layers.0.mlp.fc1"), kYes);
  EXPECT_EQ(list.targets("layers.0.other.fc1"), kNo);
  EXPECT_EQ(list.targets("head.query"), kNo);
  EXPECT_TRUE(list.saves("a.head.query"));
  EXPECT_FALSE(list.saves("a.ahead.query"));
  const AdapterSettings expression =
      settings(R"x(,"target_modules":".*text_decoder.*\\.(query|value)")x");
  EXPECT_EQ(expression.targets("text_decoder.layer.0.self.value"), kYes);
  EXPECT_EQ(expression.targets("text_decoder.layer.0.self.key"), kNo);
  EXPECT_EQ(expression.targets("vision.query"), kNo);
  EXPECT_EQ(settings(R"(,"target_modules":"all-linear")").targets("vision.query"), kUnknown);
  EXPECT_EQ(settings(R"(,"target_modules":"all-linear","exclude_modules":"vision.*")")
                .targets("vision.query"),
            kNo);
  EXPECT_EQ(settings(R"(,"target_modules":"^(?!vision).*query$")").targets("vision.query"),
            kUnknown);
  EXPECT_EQ(settings(R"(,"target_modules":["query"],"exclude_modules":"(?i)VISION.*")")
                .targets("vision.query"),
            kUnknown);
  EXPECT_EQ(settings(R"(,"target_modules":null)").targets("vision.query"), kUnknown);
}

TEST(AdapterSettings, LayersAreThoseOfTheFirstNumberInAName) {
  const auto targets = [](const std::string& more, const std::string& module) {
    return settings(R"(,"target_modules":["query"],)" + more).targets(module);
  };
  EXPECT_EQ(targets(R"("layers_to_transform":1)", "d.encoder.layer.1.self.query"), kYes);
  EXPECT_EQ(targets(R"("layers_to_transform":1)", "d.encoder.layer.0.self.query"), kNo);
  EXPECT_EQ(targets(R"("layers_to_transform":[0,11])", "d.encoder.layer.11.self.query"), kYes);
  EXPECT_EQ(targets(R"("layers_to_transform":[0,11])", "d.encoder.layer.1.self.query"), kNo);
  EXPECT_EQ(targets(R"("layers_to_transform":[0])", "d.query"), kNo);
  EXPECT_EQ(
      targets(R"("layers_to_transform":[0],"layers_pattern":"layer")", "d.encoder.layer.0.query"),
      kYes);
  EXPECT_EQ(targets(R"("layers_to_transform":[0],"layers_pattern":["layer"])",
                    "d.encoder.layers.0.query"),
            kNo);
  EXPECT_EQ(targets(R"("layers_to_transform":[0],"layers_pattern":["layers?"])",
                    "d.encoder.layers.0.query"),
            kUnknown);
  EXPECT_EQ(targets(R"("layers_to_transform":[],"layers_pattern":[])", "d.encoder.layer.7.query"),
            kYes);
}

TEST(AdapterSettings, TheBaseIsANameAtARevisionOrAPath) {
  EXPECT_EQ(settings(R"(,"base_model_name_or_path":"org/base","revision":"v2")").base,
            "org/base@v2");
  EXPECT_EQ(settings(R"(,"base_model_name_or_path":"org/base","revision":null)").base, "org/base");
  EXPECT_EQ(settings(R"(,"base_model_name_or_path":"/models/base","revision":"v2")").base,
            "/models/base");
  EXPECT_EQ(settings("").base, "");
  for (const char* base : {"../base", "..", "a/../../etc", "org/..", "/models/../etc/passwd"})
    expect_contains(
        refusal(R"({"peft_type":"LORA","base_model_name_or_path":")" + std::string(base) + "\"}"),
        "base_model_name_or_path is \"" + std::string(base) +
            "\"; expected a model's name or a path without \"..\"");
  for (const char* revision : {"../../x", "..", "/etc"})
    expect_contains(
        refusal(R"({"peft_type":"LORA","base_model_name_or_path":"org/base","revision":")" +
                std::string(revision) + "\"}"),
        "revision is \"");
}

TEST(AdapterSettings, WhatIsNotUnderstoodIsRefusedByName) {
  for (const auto& [json, key] : std::initializer_list<std::pair<std::string, std::string>>{
           {R"({"r":4})", "peft_type is missing"},
           {R"({"peft_type":"IA3"})", "peft_type is \"IA3\""},
           {R"({"peft_type":"ADALORA"})", "peft_type is \"ADALORA\""},
           {R"({"peft_type":"LORA","use_dora":true})", "use_dora is true"},
           {R"({"peft_type":"LORA","use_qalora":true})", "use_qalora is true"},
           {R"({"peft_type":"LORA","layer_replication":[[0,4]]})", "layer_replication is [[0,4]]"},
           {R"({"peft_type":"LORA","trainable_token_indices":[1]})",
            "trainable_token_indices is [1]"},
           {R"({"peft_type":"LORA","target_parameters":["a"]})", "target_parameters is [\"a\"]"},
           {R"({"peft_type":"LORA","alora_invocation_tokens":[1]})", "alora_invocation_tokens"},
           {R"({"peft_type":"LORA","something_new":{"a":1}})",
            "something_new is {\"a\":1}; expected it to be off"},
           {R"({"peft_type":"LORA","init_lora_weights":"pissa"})",
            "init_lora_weights is \"pissa\""},
           {R"({"peft_type":"LORA","init_lora_weights":"loftq"})",
            "init_lora_weights is \"loftq\""},
           {R"({"peft_type":"LORA","bias":"some"})",
            "bias is \"some\"; expected \"none\", \"all\" or \"lora_only\""},
           {R"({"peft_type":"LORA","bias":5})", "bias is 5"},
           {R"({"peft_type":"LORA","r":0})", "r is 0; expected"},
           {R"({"peft_type":"LORA","r":-1})", "r is -1; expected"},
           {R"({"peft_type":"LORA","r":1000000000000})", "r is 1000000000000; expected"},
           {R"({"peft_type":"LORA","r":"8"})", "r is \"8\""},
           {R"({"peft_type":"LORA","lora_alpha":"8"})", "lora_alpha is \"8\""},
           {R"({"peft_type":"LORA","lora_alpha":NaN})", "not valid JSON"},
           {R"({"peft_type":"LORA","lora_alpha":1e999})", "not valid JSON"},
           {R"({"peft_type":"LORA","r":4,"r":8})", "not valid JSON"},
           {R"({"peft_type":"LORA","use_rslora":1})", "use_rslora is 1"},
           {R"({"peft_type":"LORA","rank_pattern":{"a":0}})", "rank_pattern"},
           {R"({"peft_type":"LORA","rank_pattern":{"a":"b"}})", "rank_pattern.a is \"b\""},
           {R"({"peft_type":"LORA","rank_pattern":["a"]})", "rank_pattern is [\"a\"]"},
           {R"({"peft_type":"LORA","rank_pattern":{"a[":2}})", "rank_pattern.a["},
           {R"({"peft_type":"LORA","rank_pattern":{"a)(b":2}})", "rank_pattern.a)(b"},
           {R"({"peft_type":"LORA","rank_pattern":{"(?=a)b":2}})", "rank_pattern.(?=a)b"},
           {R"({"peft_type":"LORA","alpha_pattern":{"(a)\\1":2}})", "alpha_pattern.(a)\\1"},
           {R"({"peft_type":"LORA","alpha_pattern":{"((a{99}){99}){99}":2}})", "alpha_pattern."},
           {R"({"peft_type":"LORA","alpha_pattern":{")" + std::string(10000, '(') + R"(":2}})",
            "alpha_pattern."},
           {R"({"peft_type":"LORA","target_modules":[1]})", "target_modules is [1]"},
           {R"({"peft_type":"LORA","layers_to_transform":[-1]})", "layers_to_transform is [-1]"},
           {R"({"peft_type":"LORA","layers_to_transform":"all"})",
            "layers_to_transform is \"all\""},
           {"[]", "expected an object"},
           {"", "not valid JSON"},
           {std::string(100000, '['), "nested deeper than"}}) {
    expect_contains(refusal(json), key);
    EXPECT_LT(refusal(json).size(), 12000u);
  }
  settings(R"(,"use_dora":false,"something_new":null,"another":{},)"
           R"("init_lora_weights":"gaussian","fan_in_fan_out":true,)"
           R"("auto_mapping":{"base_model_class":"x"})");
}

// Python's matcher would try 2^60 ways.
TEST(AdapterSettings, NoExpressionTakesLong) {
  std::string ways = ".?";
  for (int i = 0; i < 5; ++i) ways += ways;
  const auto started = std::chrono::steady_clock::now();
  for (const std::string hard :
       {"(a|.)*(a|.)*(a|.)*x", "(.*)*x", ".*.*.*.*.*.*.*.*x", "((.+)+)+x", "((((.*)*)*)*)*x"}) {
    const AdapterSettings s =
        settings(R"(,"alpha_pattern":{")" + hard + R"(":2,")" + ways + R"(x":3})");
    for (int i = 0; i < 20; ++i)
      EXPECT_DOUBLE_EQ(
          s.scale("text_decoder.bert.encoder.layer.1.crossattention.output.dense", 4, "x"), 2.0)
          << hard;
  }
  EXPECT_LT(std::chrono::steady_clock::now() - started, std::chrono::seconds(20));
}

}  // namespace
}  // namespace blip::model
