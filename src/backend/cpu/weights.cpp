#include "backend/cpu/weights.h"

#include <algorithm>
#include <initializer_list>

#include "kernels/vector.h"

namespace blip::backend::cpu {
namespace {

// Reads tensors by canonical name and counts them.
class Loader {
 public:
  Loader(const model::Checkpoint& checkpoint, ops::NumberType type, const std::function<void(std::size_t, std::size_t)>& progress)
      : checkpoint_(checkpoint), type_(type), progress_(progress) {}

  ops::NumberType type() const { return type_; }
  // bfloat16 keys and values halve what attention reads; only where the layers are rounded anyway.
  ops::NumberType cache_type() const {
    return type_ != ops::NumberType::kF32 && kernels::has_bf16_attention() ? ops::NumberType::kBf16 : ops::NumberType::kF32;
  }

  std::vector<float> values(const std::string& name) {
    if (progress_) progress_(++read_, checkpoint_.names().size());
    return checkpoint_.values(name);
  }

  AlignedArray<float> array(const std::string& name) {
    const auto v = values(name);
    AlignedArray<float> a(v.size());
    std::copy(v.begin(), v.end(), a.data());
    return a;
  }

  ops::LayerNorm norm(const std::string& name, float eps) { return {array(name + ".weight"), array(name + ".bias"), eps}; }

  // The layers `names`, all reading the same input, stacked along their outputs.
  ops::Linear linear(std::initializer_list<std::string> names, int in, int out) { return linear(names, in, out, type_); }
  ops::Linear linear(std::initializer_list<std::string> names, int in, int out, ops::NumberType type) {
    std::vector<float> weight, bias;
    for (const auto& name : names) {
      const auto w = values(name + ".weight"), b = values(name + ".bias");
      weight.insert(weight.end(), w.begin(), w.end());
      bias.insert(bias.end(), b.begin(), b.end());
    }
    return {weight, bias, in, out, type};
  }

  const model::Checkpoint& checkpoint() const { return checkpoint_; }

 private:
  const model::Checkpoint& checkpoint_;
  ops::NumberType type_;
  const std::function<void(std::size_t, std::size_t)>& progress_;
  std::size_t read_ = 0;
};

VisionWeights load_vision(Loader& load, const model::VisionConfig& c) {
  VisionWeights w;
  w.config = c;
  w.cache_type = load.cache_type();
  w.patch = load.linear({"vision.patch"}, 3 * c.patch_size * c.patch_size, c.width, load.cache_type());  // 8 bits would lose pixels
  w.class_token = load.array("vision.class_token");
  w.position = load.array("vision.position");
  w.norm = load.norm("vision.norm", c.eps);
  for (int i = 0; i < c.layers; ++i) {
    const std::string layer = "vision." + std::to_string(i);
    w.layers.push_back({.norm1 = load.norm(layer + ".norm1", c.eps),
                        .norm2 = load.norm(layer + ".norm2", c.eps),
                        .qkv = load.linear({layer + ".qkv"}, c.width, 3 * c.width),
                        .proj = load.linear({layer + ".proj"}, c.width, c.width),
                        .fc1 = load.linear({layer + ".fc1"}, c.width, c.mlp),
                        .fc2 = load.linear({layer + ".fc2"}, c.mlp, c.width)});
  }
  return w;
}

TextLayer load_text_layer(Loader& load, const std::string& layer, const model::TextConfig& c) {
  const auto self = layer + ".self", cross = layer + ".cross";
  return {.self_qkv = load.linear({self + ".q", self + ".k", self + ".v"}, c.width, 3 * c.width),
          .self_out = load.linear({self + ".out"}, c.width, c.width),
          .self_norm = load.norm(self + ".norm", c.eps),
          .cross_q = load.linear({cross + ".q"}, c.width, c.width),
          .cross_kv = load.linear({cross + ".k", cross + ".v"}, c.vision_width, 2 * c.width),
          .cross_out = load.linear({cross + ".out"}, c.width, c.width),
          .cross_norm = load.norm(cross + ".norm", c.eps),
          .fc1 = load.linear({layer + ".fc1"}, c.width, c.mlp),
          .fc2 = load.linear({layer + ".fc2"}, c.mlp, c.width),
          .norm = load.norm(layer + ".norm", c.eps)};
}

TextHead load_head(Loader& load, const std::string& tower, const TextWeights& w) {
  const auto head = tower + ".head";
  const bool untied = load.checkpoint().has(head + ".weight");
  const std::vector<float> decoder = untied ? load.values(head + ".weight") : std::vector<float>{};
  const std::vector<float> bias = load.values(head + ".bias");
  return {.dense = load.linear({head + ".dense"}, w.config.width, w.config.width),
          .norm = load.norm(head + ".norm", w.config.eps),
          .decoder = ops::Linear(untied ? std::span<const float>(decoder) : std::span<const float>(w.word), bias, w.config.width, w.config.vocab,
                                 load.type())};
}

std::optional<TextWeights> load_text(Loader& load, const std::string& tower, const std::optional<model::TextConfig>& config, bool head) {
  if (!config) return std::nullopt;
  TextWeights w;
  w.config = *config;
  w.cache_type = load.cache_type();
  w.word = load.array(tower + ".word");
  w.position = load.array(tower + ".position");
  w.norm = load.norm(tower + ".norm", config->eps);
  for (int i = 0; i < config->layers; ++i) w.layers.push_back(load_text_layer(load, tower + "." + std::to_string(i), *config));
  if (head) w.head = load_head(load, tower, w);
  return w;
}

}  // namespace

Weights load_weights(const model::Checkpoint& checkpoint, ops::NumberType type, const std::function<void(std::size_t, std::size_t)>& progress) {
  Loader load(checkpoint, type, progress);
  const auto& c = checkpoint.config();
  Weights w;
  w.type = type;
  w.vision = load_vision(load, c.vision);
  w.text = load_text(load, "text", c.text_encoder, false);
  w.caption = load_text(load, "caption", c.caption_decoder, true);
  w.question = load_text(load, "question", c.question_encoder, false);
  w.answer = load_text(load, "answer", c.answer_decoder, true);
  if (c.has_itm_head) w.itm = load.linear({"itm"}, c.text_encoder->width, 2, ops::NumberType::kF32);
  if (c.embed_dim) {
    w.itc_vision = load.linear({"itc.vision"}, c.vision.width, c.embed_dim, ops::NumberType::kF32);
    w.itc_text = load.linear({"itc.text"}, c.text_encoder->width, c.embed_dim, ops::NumberType::kF32);
  }
  return w;
}

}  // namespace blip::backend::cpu
