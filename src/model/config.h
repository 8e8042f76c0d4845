// The shape of a BLIP model: read from a config.json, from GGUF metadata, or from the tensors of an
// official .pth.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "blip/options.h"
#include "image/image.h"

namespace blip::model {

struct VisionConfig {
  int image_size = 384, patch_size = 16;
  int width = 768, layers = 12, heads = 12, mlp = 3072;
  float eps =
      1e-6f;  // the official code's; transformers' BlipVisionConfig says 1e-5 and its file decides
  int tokens() const {
    const int side = image_size / patch_size;
    return side * side + 1;
  }
};

// One BERT tower.
struct TextConfig {
  int width = 768, layers = 12, heads = 12, mlp = 3072;
  int vision_width = 768;  // width of what cross-attention reads
  int max_positions = 512, vocab = 30524;
  float eps = 1e-12f;
};

// BLIP-NLVR's encoder looks at each of two pictures with a cross-attention of its own. What they
// give is averaged in the layers before this one; from it on, a layer of weights merges them.
inline constexpr int kNlvrFirstMerge = 6;

// What the official code calls its captions' beginning; a model's own files may say another.
inline constexpr const char* kCaptionPrompt = "a picture of ";

// Ids that texts begin and end with; -1: not known yet.
struct TokenIds {
  int bos = -1;  // begins captions and answers ([DEC])
  int eos = -1;  // ends them
  int pad = -1;
  // begins questions: [ENC], as in the official code, else [CLS], as in transformers
  int question = -1;
};

// A part that is absent is nullopt; a model may hold any subset over its one vision tower.
struct ModelConfig {
  VisionConfig vision;
  std::optional<TextConfig> text_encoder;  // ITM / ITC
  std::optional<TextConfig> caption_decoder;
  std::optional<TextConfig> question_encoder;
  std::optional<TextConfig> answer_decoder;
  std::optional<TextConfig> nlvr_encoder;  // statements about two pictures
  bool has_itm_head = false;
  int embed_dim = 0;  // ITC projections; 0 = none
  image::Normalization normalization;
  // Texts to match and questions are truncated here, unless a caller says otherwise.
  int max_text = kTextLength;
  std::string prompt = kCaptionPrompt;  // the caption prompt the model was trained with
  TokenIds tokens;

  // Longest match text, question or statement in tokens: the encoders' max_positions. 0 without an
  // encoder.
  int max_positions() const {
    int positions = 0;
    for (const auto* tower : {&text_encoder, &question_encoder, &nlvr_encoder}) {
      if (*tower && (positions == 0 || (*tower)->max_positions < positions))
        positions = (*tower)->max_positions;
    }
    return positions;
  }
};

}  // namespace blip::model
