// What hides behind the public handles.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "backend/backend.h"
#include "blip/blip.h"
#include "image/image.h"
#include "model/checkpoint.h"
#include "model/config.h"
#include "text/tokenizer.h"

namespace blip {

struct Image::Impl {
  image::Rgb rgb;
  double prepare_ms = 0;  // what Engine::prepare took
};

struct EncodedImage::Impl {
  backend::EncodedImagePtr image;
  std::shared_ptr<const backend::Model> model;  // whose runners may use the image
  double preprocess_ms = 0, encode_ms = 0;
};

// What a checkpoint holds, under the name by which a model in the hub's cache is known.
ModelInfo info_of(const model::Checkpoint& checkpoint, const std::string& path);

// Throws Error(kUsage) for what is neither 0 (every core) nor 1 to kMaxThreads.
void check_threads(int threads);

struct Engine::Impl {
  ModelInfo info;
  model::ModelConfig config;
  std::unique_ptr<const text::Tokenizer> tokenizer;
  std::shared_ptr<const backend::Model> model;
  std::string device;

  // What captions begin with, and answers.
  const std::string& prompt_of(const std::optional<std::string>& prompt) const {
    return prompt ? *prompt : config.prompt;
  }
  backend::TokenIds caption_start(const std::string& prompt) const;
  backend::TokenIds answer_start() const { return {config.tokens.bos}; }
};

}  // namespace blip
