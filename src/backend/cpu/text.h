// The text tower: BERT with cross-attention, post-norm, over several sequences at once without
// padding.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "backend/cpu/weights.h"
#include "core/thread_pool.h"
#include "decode/generate.h"
#include "ops/attention.h"

namespace blip::backend::cpu {

// A KeyValues per layer.
using LayerCache = std::vector<ops::KeyValues>;

// What a text cross-attends to: keys and values for every layer, or else the tokens themselves
// (ops/absorbed.h). Shared, not changed.
struct Cross {
  std::shared_ptr<const LayerCache> layers;
  std::shared_ptr<const ops::KeyValues> tokens;
  std::shared_ptr<const LayerCache> second{};  // beside layers: of the second of two pictures
  bool operator==(const Cross&) const = default;
};

// Consecutive rows of the activations that are one text (or the new tokens of one).
struct Span {
  int first = 0, count = 0;
  LayerCache* self =
      nullptr;  // grows by these rows; null: the rows see just one another (encoders)
  const Cross* cross = nullptr;  // what the text attends to, of one kind in a pass; null: "text"
                                 // mode, no cross-attention
};

struct TextScratch {
  AlignedArray<float> context, hidden, first;
  ops::OperandBuffer qkv, query, state, mixed, wide;
  ops::OperandBuffer seen, projected;  // what cross-attention reads, megabytes for every picture
  ops::AbsorbedScratch absorbed;
};

// Called with the cross-attention queries [R, D] of each layer, where those attend to keys and
// values.
using QueryObserver = std::function<void(std::size_t layer, const ops::Operand& query)>;

// Cross-attention keys and values of every layer for states [N, vision_width]; computed once per
// image. `of` says which layer makes them.
LayerCache cross_keys_values(ThreadPool& pool, const TextWeights& weights, ConstMatrix states,
                             TextScratch& scratch,
                             ops::Linear TextLayer::*of = &TextLayer::cross_kv);

// x[row] = norm(word[ids[row]] + position[positions[row]]), f32.
void embed_tokens(ThreadPool& pool, const TextWeights& weights, std::span<const std::int32_t> ids,
                  std::span<const int> positions, Matrix x);

// All layers over x [R, D] in place. Rows of a span with a cache see the cache and, causally,
// themselves; without one, all of the span.
void text_forward(ThreadPool& pool, const TextWeights& weights, std::span<const Span> spans,
                  Matrix x, TextScratch& scratch, const QueryObserver& observe = {});

// The same for encoders of which only each span's first row counts: the last layer computes the
// others' keys and values alone. x [R, D] is overwritten; returns [spans, D], valid until the
// scratch is used again.
Matrix text_forward_first(ThreadPool& pool, const TextWeights& weights, std::span<const Span> spans,
                          Matrix x, TextScratch& scratch);

// Logits [R, vocab] of states [R, D]: dense, gelu, norm, tied decoder; and their digests [R,
// decode::digests_of(vocab)].
void text_head(ThreadPool& pool, const TextHead& head, ConstMatrix states, Matrix logits,
               std::span<decode::Digest> digests, TextScratch& scratch);

}  // namespace blip::backend::cpu
