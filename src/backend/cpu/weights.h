// The CPU model's weights: one struct per layer, members named as in the checkpoint. Immutable
// after loading.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/aligned.h"
#include "io/tensor_file.h"
#include "model/checkpoint.h"
#include "ops/absorbed.h"
#include "ops/layer_norm.h"
#include "ops/linear.h"

namespace blip::backend::cpu {

struct VisionLayer {
  ops::LayerNorm norm1, norm2;
  ops::Linear qkv, proj;  // [D, 3D], [D, D]
  ops::Linear fc1, fc2;   // [D, mlp], [mlp, D]
};

struct VisionWeights {
  model::VisionConfig config;
  ops::NumberType cache_type = ops::NumberType::kF32;  // of attention's keys and values
  ops::Linear patch;                          // [3 P P, D]: the patch convolution as a product
  AlignedArray<float> class_token, position;  // [D], [N, D]
  std::vector<VisionLayer> layers;
  ops::LayerNorm norm;
};

struct TextLayer {
  ops::Linear self_qkv, self_out;  // [D, 3D], [D, D]
  ops::LayerNorm self_norm;
  // [D, D], [Dv, 2D], [D, D]; over two pictures [D, 2D], [Dv, 2D] of the first, [2D, D]
  ops::Linear cross_q, cross_kv, cross_out;
  ops::Linear cross_kv_second;          // over two pictures: [Dv, 2D] of the second
  ops::AbsorbedWeights cross_absorbed;  // cross_kv once more, for few queries; only where a picture
                                        // is looked at while generating or reading a question
  ops::LayerNorm cross_norm;
  ops::Linear fc1, fc2;
  ops::LayerNorm norm;
};

// BERT's language-model head.
struct TextHead {
  ops::Linear dense;
  ops::LayerNorm norm;
  ops::Linear decoder;  // [D, vocab], usually tied to the word embeddings
};

// A table of which few rows are read at a time, as the checkpoint stores it (often in 16 bits).
class StoredRows {
 public:
  StoredRows() = default;
  StoredRows(ThreadPool& pool, const io::TensorView& table);  // copies it
  // Rows `first` to first + count as floats.
  void read(int first, int count, float* out) const;

 private:
  std::shared_ptr<std::byte> memory_;
  io::TensorView table_;  // of memory_
};

struct TextWeights {
  model::TextConfig config;
  ops::NumberType cache_type = ops::NumberType::kF32;
  StoredRows word;               // [vocab, D]
  AlignedArray<float> position;  // [max_positions, D]
  ops::LayerNorm norm;
  std::vector<TextLayer> layers;
  std::optional<TextHead> head;
};

// Layers are in `type`; the patch convolution and the heads with a handful of outputs stay f32.
struct Weights {
  ops::NumberType type = ops::NumberType::kF32;
  VisionWeights vision;
  std::optional<TextWeights> text, caption, question, answer, nlvr;
  std::optional<ops::Linear> itm, itc_vision, itc_text, nlvr_dense, nlvr_out;
};

// Reads every tensor the checkpoint's config calls for. progress is called with tensors read and in
// all.
Weights load_weights(const model::Checkpoint& checkpoint, ops::NumberType type, ThreadPool& pool,
                     const std::function<void(std::size_t, std::size_t)>& progress);

}  // namespace blip::backend::cpu
