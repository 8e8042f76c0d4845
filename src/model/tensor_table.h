// Every tensor of a BLIP model, declared once: canonical name, shape, and what the layouts found in
// the wild call it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/config.h"

namespace blip::model {

// How a file names its tensors.
enum class Layout {
  kCanonical,    // our GGUF
  kHuggingFace,  // transformers: vision_model.*
  kOfficial,     // salesforce/BLIP: visual_encoder.*
};

// A part of the model that `blip info` lists. The ITM and ITC heads belong to kText.
enum class Part { kVision, kText, kCaption, kQuestion, kAnswer, kNlvr };
// "vision", "text", "caption", "question", "answer", "nlvr"
const char* canonical_prefix(Part part);
const char* part_name(Part part);  // as PartInfo::name has it
bool is_decoder(Part part);

// What the towers of one file are called there ("text_encoder"); empty = the file does not hold the
// part.
struct PartPrefixes {
  std::string vision, text, caption, question, answer, nlvr;
  const std::string& of(Part part) const;
};

// What a conversion may do to a tensor.
enum class TensorKind {
  kMatrix,  // a linear, convolution or word-embedding weight: stored in the type asked for
  kVector,  // biases, norms, class token, position tables: always f32
};

struct TensorSpec {
  std::string name;     // canonical
  std::string on_disk;  // in the file's layout
  std::string alias;    // on-disk name of a tensor tied to it: files hold one or both; "" = none
  bool alias_wins = false;  // which of the two is read; torch, loading both into one parameter,
                            // keeps the later one
  std::vector<std::int64_t> shape;
  TensorKind kind = TensorKind::kMatrix;
  Part part = Part::kVision;
  bool optional = false;  // only T.head.weight, absent where it is tied to T.word
};

// All tensors of a model, in the order a converted file stores them.
std::vector<TensorSpec> tensor_table(const ModelConfig& config, Layout layout,
                                     const PartPrefixes& prefixes);

// The on-disk name of one tensor of a tower, with `#` in `suffix` standing for the layer.
// tower_tensor(kOfficial, kVision, "visual_encoder", "patch.weight") ->
// "visual_encoder.patch_embed.proj.weight".
std::string tower_tensor(Layout layout, Part part, const std::string& prefix,
                         std::string_view suffix, int layer = 0);

// What precedes the layer number in on-disk names ("text_encoder.encoder.layer.").
std::string layer_prefix(Layout layout, Part part, const std::string& prefix);

// Tensors that published checkpoints carry and no task uses: momentum towers (visual_encoder_m.*,
// ...), contrastive queues (image_queue, text_queue, idx_queue, queue_ptr, ptr_queue), temperatures
// (temp, logit_scale), the buffers *.position_ids and *.token_type_ids, and BERT's pooler
// (*.pooler.dense.*).
bool is_ignorable(std::string_view on_disk);

}  // namespace blip::model
