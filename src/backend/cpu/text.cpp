#include "backend/cpu/text.h"

#include <algorithm>
#include <cassert>

#include "core/zone.h"

namespace blip::backend::cpu {
namespace {

// The activations between two blocks: x in f32, to add to, and the same as the next product's
// operand.
struct State {
  Matrix x;
  ops::Operand operand;
};

// x = norm(x + layer(mixed)), where mixed is what attention gave.
void add_and_norm(ThreadPool& pool, ConstMatrix mixed, const ops::Linear& layer,
                  const ops::LayerNorm& norm, State& state, TextScratch& scratch) {
  ops::linear(pool, ops::to_operand(pool, mixed, layer.type(), scratch.mixed), layer, state.x,
              ops::Epilogue::kAdd);
  state.operand = ops::layer_norm_keep(pool, state.x, norm, layer.type(), scratch.state);
}

// Each span's attention over itself, behind what its cache holds, row by row; or of each span's
// first row alone: [spans, D].
Matrix attend_self(ThreadPool& pool, const TextWeights& w, std::size_t index,
                   std::span<const Span> spans, const State& state, bool first_rows,
                   TextScratch& scratch) {
  const int d = w.config.width, heads = w.config.heads;
  const Matrix context = scratch_matrix(
      scratch.context, first_rows ? static_cast<int>(spans.size()) : state.x.rows, d);
  const auto qkv =
      ops::linear_as(pool, state.operand, w.layers[index].self_qkv, w.cache_type, scratch.qkv);
  std::vector<ops::KeyValues> own;
  own.reserve(spans.size());
  std::vector<ops::AttentionItem> items;
  for (std::size_t s = 0; s < spans.size(); ++s) {
    const Span& span = spans[s];
    const auto rows = qkv.row_range(span.first, span.count);
    if (!span.self) own.emplace_back(heads, d / heads, span.count, w.cache_type);
    ops::KeyValues& kv = span.self ? (*span.self)[index] : own.back();
    items.push_back({.q = rows.row_range(0, first_rows ? 1 : span.count).col_range(0, d),
                     .kv = &kv,
                     .out = first_rows ? context.row_range(static_cast<int>(s), 1)
                                       : context.row_range(span.first, span.count),
                     .causal_offset = span.self ? kv.count() : ops::kAllVisible,
                     .growing = &kv,
                     .k = rows.col_range(d, d),
                     .v = rows.col_range(2 * d, d)});
  }
  const ops::Linear* const next_layers[] = {&w.layers[index].self_out};
  ops::attention(pool, items, next_layers);
  return context;
}

// x = self_norm(x + out(attention(q, k, v of x)))
void self_attention(ThreadPool& pool, const TextWeights& w, std::size_t index,
                    std::span<const Span> spans, State& state, TextScratch& scratch) {
  const OperationZone zone("self-attention");
  const auto& layer = w.layers[index];
  add_and_norm(pool, attend_self(pool, w, index, spans, state, false, scratch), layer.self_out,
               layer.self_norm, state, scratch);
}

// Neighbouring spans that attend to the same thing (beams, texts of one image) are one block of
// queries, so it is read once for all of them.
template <class Body>
void for_each_block(std::span<const Span> spans, const Body& body) {
  for (std::size_t s = 0; s < spans.size();) {
    const CrossCache& cross = *spans[s].cross;
    const int first = spans[s].first;
    int count = 0;
    for (; s < spans.size() && *spans[s].cross == cross; ++s) count += spans[s].count;
    body(cross, first, count);
  }
}

// context = attention(q of x, k and v of the image); of two, side by side
void attend_keys(ThreadPool& pool, const TextWeights& w, std::size_t index,
                 std::span<const Span> spans, const State& state, Matrix context,
                 TextScratch& scratch, const QueryObserver& observe) {
  const auto query =
      ops::linear_as(pool, state.operand, w.layers[index].cross_q, w.cache_type, scratch.query);
  if (observe) observe(index, query);
  std::vector<ops::AttentionItem> items;
  const int d = w.config.width;
  for_each_block(spans, [&](const CrossCache& cross, int first, int count) {
    int column = 0;
    for (const LayerCache* seen : {cross.layers.get(), cross.second.get()}) {
      if (!seen) continue;
      items.push_back({query.row_range(first, count).col_range(column, d), &(*seen)[index],
                       context.row_range(first, count).col_range(column, d)});
      column += d;
    }
  });
  const ops::Linear* const next_layers[] = {&w.layers[index].cross_out, &w.layers[index].fc1};
  ops::attention(pool, items, next_layers);
}

// The same over the image's tokens themselves.
void attend_tokens(ThreadPool& pool, const TextWeights& w, std::size_t index,
                   std::span<const Span> spans, const State& state, Matrix context,
                   TextScratch& scratch) {
  const auto& layer = w.layers[index];
  scratch.query.reserve(ops::NumberType::kF32, state.x.rows, w.config.width);
  const Matrix query(scratch.query.f32(), state.x.rows, w.config.width);
  ops::linear(pool, state.operand, layer.cross_q, query);
  std::vector<ops::AbsorbedItem> items;
  for_each_block(spans, [&](const CrossCache& cross, int first, int count) {
    items.push_back({first, count, cross.tokens.get()});
  });
  const ops::Linear* const next_layers[] = {&layer.cross_out, &layer.fc1};
  ops::absorbed_attention(pool, layer.cross_absorbed, query, items, context, scratch.absorbed,
                          next_layers);
}

// x = cross_norm(x + out(attention over the image))
void cross_attention(ThreadPool& pool, const TextWeights& w, std::size_t index,
                     std::span<const Span> spans, State& state, TextScratch& scratch,
                     const QueryObserver& observe) {
  const OperationZone zone("cross-attention");
  const auto& layer = w.layers[index];
  const Matrix context = scratch_matrix(scratch.context, state.x.rows, layer.cross_out.in());
  if (spans.front().cross->tokens)
    attend_tokens(pool, w, index, spans, state, context, scratch);
  else
    attend_keys(pool, w, index, spans, state, context, scratch, observe);
  add_and_norm(pool, context, layer.cross_out, layer.cross_norm, state, scratch);
}

// x = norm(x + fc2(gelu(fc1(x))))
void mlp(ThreadPool& pool, const TextLayer& layer, State& state, TextScratch& scratch) {
  const OperationZone zone("feed-forward");
  ops::linear(pool, ops::linear_gelu(pool, state.operand, layer.fc1, scratch.wide), layer.fc2,
              state.x, ops::Epilogue::kAdd);
  state.operand = ops::layer_norm_keep(pool, state.x, layer.norm, layer.fc2.type(), scratch.state);
}

State start(ThreadPool& pool, const TextWeights& w, Matrix x, TextScratch& scratch) {
  assert(x.cols == w.config.width);
  return {x, ops::to_operand(pool, x, w.layers.front().self_qkv.type(), scratch.state)};
}

void layer_forward(ThreadPool& pool, const TextWeights& w, std::size_t index,
                   std::span<const Span> spans, State& state, TextScratch& scratch,
                   const QueryObserver& observe) {
  self_attention(pool, w, index, spans, state, scratch);
  if (spans.front().cross) cross_attention(pool, w, index, spans, state, scratch, observe);
  mlp(pool, w.layers[index], state, scratch);
}

}  // namespace

LayerCache cross_keys_values(ThreadPool& pool, const TextWeights& w, ConstMatrix states,
                             TextScratch& scratch, ops::Linear TextLayer::*of) {
  assert(states.cols == w.config.vision_width);
  const int d = w.config.width, heads = w.config.heads;
  const auto operand = ops::to_operand(pool, states, (w.layers.front().*of).type(), scratch.seen);
  Arena arena(w.layers.size() * ops::KeyValues::bytes(heads, d / heads, states.rows, w.cache_type));
  LayerCache cache;
  for (const auto& layer : w.layers) {
    const auto kv = ops::linear_as(pool, operand, layer.*of, w.cache_type, scratch.projected);
    cache.emplace_back(heads, d / heads, states.rows, w.cache_type, &arena);
    ops::append(pool, cache.back(), kv.col_range(0, d), kv.col_range(d, d));
  }
  return cache;
}

void embed_tokens(ThreadPool& pool, const TextWeights& w, std::span<const std::int32_t> ids,
                  std::span<const int> positions, Matrix x) {
  assert(static_cast<int>(ids.size()) == x.rows && positions.size() == ids.size() &&
         x.cols == w.config.width);
  const std::size_t d = static_cast<std::size_t>(w.config.width);
  for (int r = 0; r < x.rows; ++r) {
    assert(ids[r] >= 0 && ids[r] < w.config.vocab && positions[r] < w.config.max_positions);
    w.word.read(ids[r], 1, x.row(r));
    const float* position = w.position.data() + positions[r] * d;
    for (std::size_t i = 0; i < d; ++i) x.row(r)[i] += position[i];
  }
  ops::layer_norm(pool, x, w.norm, x);
}

void text_forward(ThreadPool& pool, const TextWeights& w, std::span<const Span> spans, Matrix x,
                  TextScratch& scratch, const QueryObserver& observe) {
  State state = start(pool, w, x, scratch);
  for (std::size_t i = 0; i < w.layers.size(); ++i)
    layer_forward(pool, w, i, spans, state, scratch, observe);
}

Matrix text_forward_first(ThreadPool& pool, const TextWeights& w, std::span<const Span> spans,
                          Matrix x, TextScratch& scratch) {
  State state = start(pool, w, x, scratch);
  const std::size_t last = w.layers.size() - 1;
  for (std::size_t i = 0; i < last; ++i) layer_forward(pool, w, i, spans, state, scratch, {});

  const auto& layer = w.layers[last];
  const Matrix context = attend_self(pool, w, last, spans, state, true, scratch);
  state.x = scratch_matrix(scratch.first, context.rows, x.cols);
  std::vector<Span> rows;
  for (int s = 0; s < context.rows; ++s) {
    std::copy_n(x.row(spans[s].first), x.cols, state.x.row(s));
    rows.push_back({s, 1, nullptr, spans[s].cross});
  }
  add_and_norm(pool, context, layer.self_out, layer.self_norm, state, scratch);
  if (rows.front().cross) cross_attention(pool, w, last, rows, state, scratch, {});
  mlp(pool, layer, state, scratch);
  return state.x;
}

void text_head(ThreadPool& pool, const TextHead& head, ConstMatrix states, Matrix logits,
               std::span<decode::PartialLogSumExp> partials, TextScratch& scratch) {
  const OperationZone zone("vocabulary");
  // The norm between the two products wants floats.
  const Matrix hidden = scratch_matrix(scratch.hidden, states.rows, states.cols);
  ops::linear(pool, ops::to_operand(pool, states, head.dense.type(), scratch.mixed), head.dense,
              hidden, ops::Epilogue::kGelu);
  const auto normed =
      ops::layer_norm_keep(pool, hidden, head.norm, head.decoder.type(), scratch.state);
  const auto per_row = static_cast<std::size_t>(decode::partials_of(logits.cols));
  ops::linear_then(pool, normed, head.decoder, logits, decode::kPartialColumns,
                   [&](int row, int rows, int column, int columns) {
                     for (int r = row; r < row + rows; ++r)
                       partials[static_cast<std::size_t>(r) * per_row +
                                static_cast<std::size_t>(column / decode::kPartialColumns)] =
                           decode::partial_log_sum_exp(
                               {logits.row(r) + column, static_cast<std::size_t>(columns)});
                   });
}

}  // namespace blip::backend::cpu
