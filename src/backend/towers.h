// What a device with separate stages offers, and the runner that makes tasks of them. The CPU and split SOPHON models
// implement Towers; decoding, ranking and batching above them are written once, here.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "backend/backend.h"

namespace blip::backend {

// Per-session access to a model's stages. One thread at a time. A stage the model lacks is never called (Capabilities).
class Towers {
 public:
  virtual ~Towers() = default;

  // pixels: [count, 3, S, S].
  virtual std::vector<EncodedImagePtr> encode(std::span<const float> pixels, int count) = 0;

  // Decoders hold references to the images for their lifetime. The options' max_length bounds their KV caches.
  virtual std::unique_ptr<decode::Decoder> caption_decoder(std::span<const EncodedImagePtr> images, const GenerateOptions& options) = 0;
  virtual std::unique_ptr<decode::Decoder> answer_decoder(const EncodedImage& image, std::span<const TokenIds> questions, int max_length) = 0;

  virtual std::vector<float> itm_probabilities(const EncodedImage& image, std::span<const TokenIds> texts) = 0;  // [n]
  virtual std::vector<float> itc_image(const EncodedImage& image) = 0;                                          // [embed_dim], unit length
  virtual std::vector<std::vector<float>> itc_texts(std::span<const TokenIds> texts) = 0;                       // [n][embed_dim], unit length

  // As Runner's.
  virtual Tensor caption_attention(const EncodedImage& image, const TokenIds& ids, int layers);
  virtual AnswerAttention answer_attention(const EncodedImage& image, const TokenIds& question, const TokenIds& ids, int layers);

  // As Runner's.
  virtual Tensor text_alone(const TokenIds& text);
  virtual Tensor projected(const Tensor& states, bool of_image);

  virtual Tensor vision_tokens(const EncodedImage& image) = 0;                                       // [1, N, D]
  virtual Tensor text_states(const EncodedImage& image, const TokenIds& text, bool question) = 0;    // [1, T, D]
};

// Ids of the vocabulary's [DEC], [SEP] and [PAD].
struct SpecialIds {
  std::int32_t bos, eos, pad;
};

// To length 1, as torch's normalize does.
void normalize_length(std::vector<float>& vector);

// capabilities must outlive the runner.
std::unique_ptr<Runner> make_tower_runner(std::unique_ptr<Towers> towers, const Capabilities& capabilities, SpecialIds ids);

}  // namespace blip::backend
