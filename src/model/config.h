// The shape of a BLIP model: read from a config.json, from GGUF metadata, or from the tensors of an official .pth.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "image/image.h"

namespace blip::model {

struct VisionConfig {
  int image_size = 384, patch_size = 16;
  int width = 768, layers = 12, heads = 12, mlp = 3072;
  float eps = 1e-6f;                 // the official code's; transformers' BlipVisionConfig says 1e-5 and its file decides
  int tokens() const { const int side = image_size / patch_size; return side * side + 1; }
};

// One BERT tower.
struct TextConfig {
  int width = 768, layers = 12, heads = 12, mlp = 3072;
  int vision_width = 768;            // width of what cross-attention reads
  int max_positions = 512, vocab = 30524;
  float eps = 1e-12f;
};

// A part that is absent is nullopt; a model may hold any subset over its one vision tower.
struct ModelConfig {
  VisionConfig vision;
  std::optional<TextConfig> text_encoder;      // ITM / ITC
  std::optional<TextConfig> caption_decoder;
  std::optional<TextConfig> question_encoder;
  std::optional<TextConfig> answer_decoder;
  bool has_itm_head = false;
  int embed_dim = 0;                           // ITC projections; 0 = none
  image::Normalization normalization;
  int max_text = 35;                           // match texts and questions are truncated here; at most the encoders' max_positions
  std::string prompt = "a picture of ";        // the caption prompt the model was trained with
};

}  // namespace blip::model
