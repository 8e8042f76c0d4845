// A runner of a device that computes a task in stages: the device encodes, decodes and projects;
// searching, ranking and passes over many texts are written once, here.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "backend/backend.h"

namespace blip::backend {

// Ids of the vocabulary's [DEC], [SEP] and [PAD].
struct SpecialIds {
  std::int32_t bos, eos, pad;
};

// What is left to a device beside encode, embed_image and the dumps. A stage that the model lacks
// is never called (Capabilities).
class StagedRunner : public Runner {
 public:
  // capabilities must outlive the runner.
  StagedRunner(const Capabilities& capabilities, SpecialIds ids)
      : capabilities_(capabilities), tokens_{ids.eos, ids.pad}, answer_prompt_{ids.bos} {}

  std::vector<std::vector<decode::Hypothesis>> caption(std::span<const EncodedImagePtr> images,
                                                       const TokenIds& prompt,
                                                       const decode::Options& options,
                                                       const decode::Hooks& hooks) final;
  std::vector<MatchScore> match(const EncodedImage& image, std::span<const TokenIds> texts,
                                const MatchOptions& options, const decode::Hooks& hooks) final;
  std::vector<std::vector<decode::Hypothesis>> ask(const EncodedImage& image,
                                                   std::span<const TokenIds> questions,
                                                   const decode::Options& options,
                                                   const decode::Hooks& hooks) final;
  std::vector<decode::Ranked> rank(const EncodedImage& image, const TokenIds& question,
                                   std::span<const TokenIds> candidates, int keep,
                                   const decode::Hooks& hooks) final;
  std::vector<float> nlvr(const EncodedImage& first, const EncodedImage& second,
                          std::span<const TokenIds> statements, const decode::Hooks& hooks) final;
  std::vector<std::vector<float>> embed_texts(std::span<const TokenIds> texts) final;

 protected:
  // Decoders hold references to the images for their lifetime. The options' max_length bounds their
  // KV caches.
  virtual std::unique_ptr<decode::Decoder> caption_decoder(std::span<const EncodedImagePtr> images,
                                                           const GenerateOptions& options) = 0;
  virtual std::unique_ptr<decode::Decoder> answer_decoder(const EncodedImage& image,
                                                          std::span<const TokenIds> questions,
                                                          int max_length) = 0;

  // Of few texts in one pass: each one's ITM logits, [texts, 2] (does not fit, fits), and each ITC
  // vector [embed_dim], of unit length.
  virtual std::vector<float> match_pass(const EncodedImage& image,
                                        std::span<const TokenIds> texts) = 0;
  virtual std::vector<std::vector<float>> embed_pass(std::span<const TokenIds> texts) = 0;
  // The two logits of each statement, false and true; of devices that have Capabilities::nlvr.
  virtual std::vector<float> nlvr_pass(const EncodedImage& first, const EncodedImage& second,
                                       std::span<const TokenIds> statements);

 private:
  const Capabilities& capabilities_;
  decode::Tokens tokens_;
  TokenIds answer_prompt_;  // [DEC]
};

// To length 1, as torch's normalize does.
void normalize_length(std::vector<float>& vector);

}  // namespace blip::backend
