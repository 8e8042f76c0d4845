// A text decoder in flight on the CPU.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "backend/cpu/text.h"
#include "decode/generate.h"

namespace blip::backend::cpu {

class Decoder final : public decode::Decoder {
 public:
  // cross[s] is what sequence s cross-attends to. max_length: tokens a row may reach, prompt
  // included.
  Decoder(ThreadPool& pool, const TextWeights& weights, std::vector<Cross> cross, int max_length);

  int vocab_size() const override { return weights_.config.vocab; }
  int max_positions() const override { return weights_.config.max_positions; }
  int sequences() const override { return static_cast<int>(cross_.size()); }
  std::span<const float> prefill(std::span<const std::int32_t> prompt) override;
  std::span<const float> step(std::span<const Next> next) override;
  std::span<const decode::Digest> digests() const override { return digests_; }

 private:
  struct Row {
    int sequence = 0;
    LayerCache self;
  };
  Row make_row(int sequence);
  std::vector<Row> continue_rows(std::span<const Next> next);
  std::span<const float> forward(std::span<const std::int32_t> ids, std::span<const int> positions,
                                 int per_row);

  ThreadPool& pool_;
  const TextWeights& weights_;
  std::vector<Cross> cross_;
  int max_length_, length_ = 0;
  std::vector<Row> rows_;
  std::vector<LayerCache> spare_;  // caches of dropped rows, to be used again
  AlignedArray<float> states_, logits_;
  std::vector<decode::Digest> digests_;
  TextScratch scratch_;
};

}  // namespace blip::backend::cpu
