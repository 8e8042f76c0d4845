#include "model/tensor_table.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <initializer_list>
#include <span>

namespace blip::model {
namespace {

// Symbolic dimensions of the declarations below.
enum class Dim {
  kNone,
  kWidth,
  kWidth2,
  kWidth3,
  kMlp,
  kTokens,
  kChannels,
  kPatch,
  kVocab,
  kPositions,
  kCross
};

// One declaration. '#' stands for the layer number.
struct Row {
  const char* canonical;
  const char* hugging_face;
  const char* official;
  std::array<Dim, 4> shape;
  TensorKind kind;
};

constexpr TensorKind kMatrix = TensorKind::kMatrix;
constexpr TensorKind kVector = TensorKind::kVector;

constexpr Row kVisionRows[] = {
    {"class_token", "embeddings.class_embedding", "cls_token", {Dim::kWidth}, kVector},
    {"position",
     "embeddings.position_embedding",
     "pos_embed",
     {Dim::kTokens, Dim::kWidth},
     kVector},
    {"patch.weight",
     "embeddings.patch_embedding.weight",
     "patch_embed.proj.weight",
     {Dim::kWidth, Dim::kChannels, Dim::kPatch, Dim::kPatch},
     kMatrix},
    {"patch.bias",
     "embeddings.patch_embedding.bias",
     "patch_embed.proj.bias",
     {Dim::kWidth},
     kVector},
    {"norm.weight", "post_layernorm.weight", "norm.weight", {Dim::kWidth}, kVector},
    {"norm.bias", "post_layernorm.bias", "norm.bias", {Dim::kWidth}, kVector},
};

constexpr Row kVisionLayerRows[] = {
    {"#.norm1.weight",
     "encoder.layers.#.layer_norm1.weight",
     "blocks.#.norm1.weight",
     {Dim::kWidth},
     kVector},
    {"#.norm1.bias",
     "encoder.layers.#.layer_norm1.bias",
     "blocks.#.norm1.bias",
     {Dim::kWidth},
     kVector},
    {"#.qkv.weight",
     "encoder.layers.#.self_attn.qkv.weight",
     "blocks.#.attn.qkv.weight",
     {Dim::kWidth3, Dim::kWidth},
     kMatrix},
    {"#.qkv.bias",
     "encoder.layers.#.self_attn.qkv.bias",
     "blocks.#.attn.qkv.bias",
     {Dim::kWidth3},
     kVector},
    {"#.proj.weight",
     "encoder.layers.#.self_attn.projection.weight",
     "blocks.#.attn.proj.weight",
     {Dim::kWidth, Dim::kWidth},
     kMatrix},
    {"#.proj.bias",
     "encoder.layers.#.self_attn.projection.bias",
     "blocks.#.attn.proj.bias",
     {Dim::kWidth},
     kVector},
    {"#.norm2.weight",
     "encoder.layers.#.layer_norm2.weight",
     "blocks.#.norm2.weight",
     {Dim::kWidth},
     kVector},
    {"#.norm2.bias",
     "encoder.layers.#.layer_norm2.bias",
     "blocks.#.norm2.bias",
     {Dim::kWidth},
     kVector},
    {"#.fc1.weight",
     "encoder.layers.#.mlp.fc1.weight",
     "blocks.#.mlp.fc1.weight",
     {Dim::kMlp, Dim::kWidth},
     kMatrix},
    {"#.fc1.bias", "encoder.layers.#.mlp.fc1.bias", "blocks.#.mlp.fc1.bias", {Dim::kMlp}, kVector},
    {"#.fc2.weight",
     "encoder.layers.#.mlp.fc2.weight",
     "blocks.#.mlp.fc2.weight",
     {Dim::kWidth, Dim::kMlp},
     kMatrix},
    {"#.fc2.bias",
     "encoder.layers.#.mlp.fc2.bias",
     "blocks.#.mlp.fc2.bias",
     {Dim::kWidth},
     kVector},
};

// Both layouts use BERT's names for the text towers.
#define BLIP_BERT(canonical, bert, kind, ...) \
  { canonical, bert, bert, {__VA_ARGS__}, kind }
constexpr Row kTextRows[] = {
    BLIP_BERT("word", "embeddings.word_embeddings.weight", kMatrix, Dim::kVocab, Dim::kWidth),
    BLIP_BERT("position", "embeddings.position_embeddings.weight", kVector, Dim::kPositions,
              Dim::kWidth),
    BLIP_BERT("norm.weight", "embeddings.LayerNorm.weight", kVector, Dim::kWidth),
    BLIP_BERT("norm.bias", "embeddings.LayerNorm.bias", kVector, Dim::kWidth),
};

constexpr Row kSelfRows[] = {
    BLIP_BERT("#.self.q.weight", "encoder.layer.#.attention.self.query.weight", kMatrix,
              Dim::kWidth, Dim::kWidth),
    BLIP_BERT("#.self.q.bias", "encoder.layer.#.attention.self.query.bias", kVector, Dim::kWidth),
    BLIP_BERT("#.self.k.weight", "encoder.layer.#.attention.self.key.weight", kMatrix, Dim::kWidth,
              Dim::kWidth),
    BLIP_BERT("#.self.k.bias", "encoder.layer.#.attention.self.key.bias", kVector, Dim::kWidth),
    BLIP_BERT("#.self.v.weight", "encoder.layer.#.attention.self.value.weight", kMatrix,
              Dim::kWidth, Dim::kWidth),
    BLIP_BERT("#.self.v.bias", "encoder.layer.#.attention.self.value.bias", kVector, Dim::kWidth),
    BLIP_BERT("#.self.out.weight", "encoder.layer.#.attention.output.dense.weight", kMatrix,
              Dim::kWidth, Dim::kWidth),
    BLIP_BERT("#.self.out.bias", "encoder.layer.#.attention.output.dense.bias", kVector,
              Dim::kWidth),
    BLIP_BERT("#.self.norm.weight", "encoder.layer.#.attention.output.LayerNorm.weight", kVector,
              Dim::kWidth),
    BLIP_BERT("#.self.norm.bias", "encoder.layer.#.attention.output.LayerNorm.bias", kVector,
              Dim::kWidth),
};

constexpr Row kCrossRows[] = {
    BLIP_BERT("#.cross.q.weight", "encoder.layer.#.crossattention.self.query.weight", kMatrix,
              Dim::kWidth, Dim::kWidth),
    BLIP_BERT("#.cross.q.bias", "encoder.layer.#.crossattention.self.query.bias", kVector,
              Dim::kWidth),
    BLIP_BERT("#.cross.k.weight", "encoder.layer.#.crossattention.self.key.weight", kMatrix,
              Dim::kWidth, Dim::kCross),
    BLIP_BERT("#.cross.k.bias", "encoder.layer.#.crossattention.self.key.bias", kVector,
              Dim::kWidth),
    BLIP_BERT("#.cross.v.weight", "encoder.layer.#.crossattention.self.value.weight", kMatrix,
              Dim::kWidth, Dim::kCross),
    BLIP_BERT("#.cross.v.bias", "encoder.layer.#.crossattention.self.value.bias", kVector,
              Dim::kWidth),
    BLIP_BERT("#.cross.out.weight", "encoder.layer.#.crossattention.output.dense.weight", kMatrix,
              Dim::kWidth, Dim::kWidth),
    BLIP_BERT("#.cross.out.bias", "encoder.layer.#.crossattention.output.dense.bias", kVector,
              Dim::kWidth),
};

// BLIP-NLVR looks at each of two pictures with an attention of its own.
constexpr Row kTwinRows[] = {
    BLIP_BERT("#.cross0.q.weight", "encoder.layer.#.crossattention.self0.query.weight", kMatrix,
              Dim::kWidth, Dim::kWidth),
    BLIP_BERT("#.cross0.q.bias", "encoder.layer.#.crossattention.self0.query.bias", kVector,
              Dim::kWidth),
    BLIP_BERT("#.cross0.k.weight", "encoder.layer.#.crossattention.self0.key.weight", kMatrix,
              Dim::kWidth, Dim::kCross),
    BLIP_BERT("#.cross0.k.bias", "encoder.layer.#.crossattention.self0.key.bias", kVector,
              Dim::kWidth),
    BLIP_BERT("#.cross0.v.weight", "encoder.layer.#.crossattention.self0.value.weight", kMatrix,
              Dim::kWidth, Dim::kCross),
    BLIP_BERT("#.cross0.v.bias", "encoder.layer.#.crossattention.self0.value.bias", kVector,
              Dim::kWidth),
    BLIP_BERT("#.cross0.out.weight", "encoder.layer.#.crossattention.output.dense0.weight", kMatrix,
              Dim::kWidth, Dim::kWidth),
    BLIP_BERT("#.cross0.out.bias", "encoder.layer.#.crossattention.output.dense0.bias", kVector,
              Dim::kWidth),
    BLIP_BERT("#.cross1.q.weight", "encoder.layer.#.crossattention.self1.query.weight", kMatrix,
              Dim::kWidth, Dim::kWidth),
    BLIP_BERT("#.cross1.q.bias", "encoder.layer.#.crossattention.self1.query.bias", kVector,
              Dim::kWidth),
    BLIP_BERT("#.cross1.k.weight", "encoder.layer.#.crossattention.self1.key.weight", kMatrix,
              Dim::kWidth, Dim::kCross),
    BLIP_BERT("#.cross1.k.bias", "encoder.layer.#.crossattention.self1.key.bias", kVector,
              Dim::kWidth),
    BLIP_BERT("#.cross1.v.weight", "encoder.layer.#.crossattention.self1.value.weight", kMatrix,
              Dim::kWidth, Dim::kCross),
    BLIP_BERT("#.cross1.v.bias", "encoder.layer.#.crossattention.self1.value.bias", kVector,
              Dim::kWidth),
    BLIP_BERT("#.cross1.out.weight", "encoder.layer.#.crossattention.output.dense1.weight", kMatrix,
              Dim::kWidth, Dim::kWidth),
    BLIP_BERT("#.cross1.out.bias", "encoder.layer.#.crossattention.output.dense1.bias", kVector,
              Dim::kWidth),
};

// Its layers from kNlvrFirstMerge on.
constexpr Row kMergeRows[] = {
    BLIP_BERT("#.merge.weight", "encoder.layer.#.crossattention.output.merge_layer.weight", kMatrix,
              Dim::kWidth, Dim::kWidth2),
    BLIP_BERT("#.merge.bias", "encoder.layer.#.crossattention.output.merge_layer.bias", kVector,
              Dim::kWidth),
};

constexpr Row kAfterCrossRows[] = {
    BLIP_BERT("#.cross.norm.weight", "encoder.layer.#.crossattention.output.LayerNorm.weight",
              kVector, Dim::kWidth),
    BLIP_BERT("#.cross.norm.bias", "encoder.layer.#.crossattention.output.LayerNorm.bias", kVector,
              Dim::kWidth),
    BLIP_BERT("#.fc1.weight", "encoder.layer.#.intermediate.dense.weight", kMatrix, Dim::kMlp,
              Dim::kWidth),
    BLIP_BERT("#.fc1.bias", "encoder.layer.#.intermediate.dense.bias", kVector, Dim::kMlp),
    BLIP_BERT("#.fc2.weight", "encoder.layer.#.output.dense.weight", kMatrix, Dim::kWidth,
              Dim::kMlp),
    BLIP_BERT("#.fc2.bias", "encoder.layer.#.output.dense.bias", kVector, Dim::kWidth),
    BLIP_BERT("#.norm.weight", "encoder.layer.#.output.LayerNorm.weight", kVector, Dim::kWidth),
    BLIP_BERT("#.norm.bias", "encoder.layer.#.output.LayerNorm.bias", kVector, Dim::kWidth),
};

constexpr Row kHeadRows[] = {
    BLIP_BERT("head.dense.weight", "cls.predictions.transform.dense.weight", kMatrix, Dim::kWidth,
              Dim::kWidth),
    BLIP_BERT("head.dense.bias", "cls.predictions.transform.dense.bias", kVector, Dim::kWidth),
    BLIP_BERT("head.norm.weight", "cls.predictions.transform.LayerNorm.weight", kVector,
              Dim::kWidth),
    BLIP_BERT("head.norm.bias", "cls.predictions.transform.LayerNorm.bias", kVector, Dim::kWidth),
    BLIP_BERT("head.weight", "cls.predictions.decoder.weight", kMatrix, Dim::kVocab, Dim::kWidth),
    BLIP_BERT("head.bias", "cls.predictions.bias", kVector, Dim::kVocab),
};
#undef BLIP_BERT

// The numbers that the symbolic dimensions of one tower stand for.
struct Sizes {
  std::int64_t width = 0, mlp = 0, cross = 0, vocab = 0, positions = 0, tokens = 0, patch = 0;

  std::int64_t of(Dim dim) const {
    switch (dim) {
      case Dim::kNone:
        return 0;
      case Dim::kWidth:
        return width;
      case Dim::kWidth2:
        return 2 * width;
      case Dim::kWidth3:
        return 3 * width;
      case Dim::kMlp:
        return mlp;
      case Dim::kTokens:
        return tokens;
      case Dim::kChannels:
        return 3;
      case Dim::kPatch:
        return patch;
      case Dim::kVocab:
        return vocab;
      case Dim::kPositions:
        return positions;
      case Dim::kCross:
        return cross;
    }
    return 0;
  }
};

std::string with_layer(std::string_view pattern, int layer) {
  std::string result(pattern);
  if (const auto at = result.find('#'); at != std::string::npos)
    result.replace(at, 1, std::to_string(layer));
  return result;
}

// Decoders keep their BERT one level down, beside the language-model head.
std::string disk_name(Layout layout, Part part, const std::string& prefix, const Row& row,
                      int layer) {
  if (layout == Layout::kCanonical) return prefix + "." + with_layer(row.canonical, layer);
  const std::string pattern = layout == Layout::kHuggingFace ? row.hugging_face : row.official;
  const bool head = std::string_view(row.canonical).substr(0, 5) == "head.";
  return prefix + (is_decoder(part) && !head ? ".bert." : ".") + with_layer(pattern, layer);
}

// Appends the specs of one tower.
class TowerWriter {
 public:
  TowerWriter(std::vector<TensorSpec>& out, Layout layout, Part part, std::string prefix,
              const Sizes& sizes)
      : out_(out), layout_(layout), part_(part), prefix_(std::move(prefix)), sizes_(sizes) {}

  void add(std::span<const Row> rows, int layer = 0) {
    for (const Row& row : rows) {
      TensorSpec spec;
      spec.name = std::string(canonical_prefix(part_)) + "." + with_layer(row.canonical, layer);
      spec.on_disk = disk_name(layout_, part_, prefix_, row, layer);
      for (const Dim dim : row.shape) {
        if (dim != Dim::kNone) spec.shape.push_back(sizes_.of(dim));
      }
      spec.kind = row.kind;
      spec.part = part_;
      tie(spec, row.canonical);
      out_.push_back(std::move(spec));
    }
  }

 private:
  // torch saves a tied pair under one name or both; which one depends on the version that saved it.
  void tie(TensorSpec& spec, std::string_view canonical) const {
    spec.optional = canonical == "head.weight";
    if (layout_ == Layout::kCanonical || !is_decoder(part_)) return;
    if (canonical == "word") spec.alias = prefix_ + ".cls.predictions.decoder.weight";
    if (canonical == "head.bias") {
      spec.alias = prefix_ + ".cls.predictions.decoder.bias";
      spec.alias_wins = true;
    }
  }

  std::vector<TensorSpec>& out_;
  Layout layout_;
  Part part_;
  std::string prefix_;
  Sizes sizes_;
};

void add_vision(std::vector<TensorSpec>& out, const VisionConfig& config, Layout layout,
                const std::string& prefix) {
  Sizes sizes;
  sizes.width = config.width;
  sizes.mlp = config.mlp;
  sizes.tokens = config.tokens();
  sizes.patch = config.patch_size;
  TowerWriter writer(out, layout, Part::kVision, prefix, sizes);
  writer.add(kVisionRows);
  for (int layer = 0; layer < config.layers; ++layer) writer.add(kVisionLayerRows, layer);
}

void add_text(std::vector<TensorSpec>& out, const TextConfig& config, Layout layout, Part part,
              const std::string& prefix) {
  Sizes sizes;
  sizes.width = config.width;
  sizes.mlp = config.mlp;
  sizes.cross = config.vision_width;
  sizes.vocab = config.vocab;
  sizes.positions = config.max_positions;
  TowerWriter writer(out, layout, part, prefix, sizes);
  writer.add(kTextRows);
  for (int layer = 0; layer < config.layers; ++layer) {
    writer.add(kSelfRows, layer);
    writer.add(part == Part::kNlvr ? std::span<const Row>(kTwinRows) : kCrossRows, layer);
    if (part == Part::kNlvr && layer >= kNlvrFirstMerge) writer.add(kMergeRows, layer);
    writer.add(kAfterCrossRows, layer);
  }
  if (is_decoder(part)) writer.add(kHeadRows);
}

void add_linear(std::vector<TensorSpec>& out, Layout layout, const char* canonical,
                const char* on_disk, int rows, int columns, Part part = Part::kText) {
  const std::string name = canonical,
                    disk = layout == Layout::kCanonical ? name : std::string(on_disk);
  out.push_back(
      {name + ".weight", disk + ".weight", "", false, {rows, columns}, kMatrix, part, false});
  out.push_back({name + ".bias", disk + ".bias", "", false, {rows}, kVector, part, false});
}

bool ends_with(std::string_view text, std::string_view end) {
  return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

}  // namespace

const char* canonical_prefix(Part part) {
  switch (part) {
    case Part::kVision:
      return "vision";
    case Part::kText:
      return "text";
    case Part::kCaption:
      return "caption";
    case Part::kQuestion:
      return "question";
    case Part::kAnswer:
      return "answer";
    case Part::kNlvr:
      return "nlvr";
  }
  return "";
}

const char* part_name(Part part) {
  switch (part) {
    case Part::kVision:
      return "vision";
    case Part::kText:
      return "text_encoder";
    case Part::kCaption:
      return "caption_decoder";
    case Part::kQuestion:
      return "question_encoder";
    case Part::kAnswer:
      return "answer_decoder";
    case Part::kNlvr:
      return "nlvr_encoder";
  }
  return "";
}

bool is_decoder(Part part) { return part == Part::kCaption || part == Part::kAnswer; }

const std::string& PartPrefixes::of(Part part) const {
  switch (part) {
    case Part::kVision:
      return vision;
    case Part::kText:
      return text;
    case Part::kCaption:
      return caption;
    case Part::kQuestion:
      return question;
    case Part::kAnswer:
      return answer;
    case Part::kNlvr:
      break;
  }
  return nlvr;
}

std::vector<TensorSpec> tensor_table(const ModelConfig& config, Layout layout,
                                     const PartPrefixes& prefixes) {
  std::vector<TensorSpec> out;
  add_vision(out, config.vision, layout, prefixes.vision);
  if (config.text_encoder) add_text(out, *config.text_encoder, layout, Part::kText, prefixes.text);
  if (config.has_itm_head)
    add_linear(out, layout, "itm", "itm_head", 2, config.text_encoder->width);
  if (config.embed_dim > 0) {
    add_linear(out, layout, "itc.vision", "vision_proj", config.embed_dim, config.vision.width);
    add_linear(out, layout, "itc.text", "text_proj", config.embed_dim, config.text_encoder->width);
  }
  if (config.caption_decoder)
    add_text(out, *config.caption_decoder, layout, Part::kCaption, prefixes.caption);
  if (config.question_encoder)
    add_text(out, *config.question_encoder, layout, Part::kQuestion, prefixes.question);
  if (config.answer_decoder)
    add_text(out, *config.answer_decoder, layout, Part::kAnswer, prefixes.answer);
  if (config.nlvr_encoder) {
    const int width = config.nlvr_encoder->width;
    add_text(out, *config.nlvr_encoder, layout, Part::kNlvr, prefixes.nlvr);
    add_linear(out, layout, "nlvr.head.dense", "cls_head.0", width, width, Part::kNlvr);
    add_linear(out, layout, "nlvr.head.out", "cls_head.2", 2, width, Part::kNlvr);
  }
  return out;
}

std::string tower_tensor(Layout layout, Part part, const std::string& prefix,
                         std::string_view suffix, int layer) {
  const auto find = [&](std::span<const Row> rows) {
    const auto row =
        std::find_if(rows.begin(), rows.end(), [&](const Row& r) { return suffix == r.canonical; });
    return row == rows.end() ? std::string() : disk_name(layout, part, prefix, *row, layer);
  };
  std::string name;
  const auto try_all = [&](std::initializer_list<std::span<const Row>> tables) {
    for (const auto rows : tables)
      if (name.empty()) name = find(rows);
  };
  if (part == Part::kVision)
    try_all({kVisionRows, kVisionLayerRows});
  else
    try_all({kTextRows, kSelfRows, kAfterCrossRows, kHeadRows});
  assert(!name.empty() && "not a declared tensor");
  return name;
}

std::string layer_prefix(Layout layout, Part part, const std::string& prefix) {
  const std::string first = tower_tensor(layout, part, prefix, "#.fc1.weight", 0);
  return first.substr(0, first.rfind(".0.") + 1);
}

bool is_ignorable(std::string_view on_disk) {
  constexpr std::string_view kExact[] = {"image_queue", "text_queue", "idx_queue",  "queue_ptr",
                                         "ptr_queue",   "temp",       "logit_scale"};
  if (std::find(std::begin(kExact), std::end(kExact), on_disk) != std::end(kExact)) return true;
  const auto first = on_disk.substr(0, on_disk.find('.'));
  if (first.size() < on_disk.size() && ends_with(first, "_m")) return true;
  return ends_with(on_disk, ".position_ids") || ends_with(on_disk, ".token_type_ids") ||
         ends_with(on_disk, ".pooler.dense.weight") || ends_with(on_disk, ".pooler.dense.bias");
}

}  // namespace blip::model
