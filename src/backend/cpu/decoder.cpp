#include "backend/cpu/decoder.h"

#include <algorithm>
#include <cassert>
#include <utility>

namespace blip::backend::cpu {

Decoder::Decoder(ThreadPool& pool, const TextWeights& weights, std::vector<CrossCache> cross,
                 int max_length)
    : pool_(pool),
      weights_(weights),
      cross_(std::move(cross)),
      max_length_(std::min(max_length, weights.config.max_positions)) {}

Decoder::Row Decoder::make_row(int sequence) {
  Row row{sequence, {}};
  if (!spare_.empty()) {
    row.self = std::move(spare_.back());
    spare_.pop_back();
    for (auto& layer : row.self) layer.clear();
    return row;
  }
  const auto& c = weights_.config;
  for (int i = 0; i < c.layers; ++i)
    row.self.emplace_back(c.heads, c.width / c.heads, max_length_, weights_.cache_type);
  return row;
}

std::span<const float> Decoder::prefill(std::span<const std::int32_t> prompt) {
  assert(rows_.empty() && !prompt.empty() && static_cast<int>(prompt.size()) <= max_length_);
  const int n = static_cast<int>(prompt.size());
  std::vector<std::int32_t> ids;
  std::vector<int> positions;
  for (int s = 0; s < sequences(); ++s) {
    rows_.push_back(make_row(s));
    ids.insert(ids.end(), prompt.begin(), prompt.end());
    for (int p = 0; p < n; ++p) positions.push_back(p);
  }
  length_ = n;
  return forward(ids, positions, n);
}

// The last child of a row takes its cache over, the others copy it.
std::vector<Decoder::Row> Decoder::continue_rows(std::span<const Next> next) {
  std::vector<int> children(rows_.size(), 0);
  for (const auto& n : next) ++children[n.parent];
  std::vector<Row> rows;
  for (std::size_t r = 0; r < rows_.size(); ++r)
    if (children[r] == 0) spare_.push_back(std::move(rows_[r].self));
  std::vector<int> owner(rows_.size(), -1);
  for (std::size_t i = 0; i < next.size(); ++i) {
    const int parent = next[i].parent;
    if (--children[parent] == 0) owner[parent] = static_cast<int>(i);
    rows.push_back(owner[parent] == static_cast<int>(i) ? Row{rows_[parent].sequence, {}}
                                                        : make_row(rows_[parent].sequence));
  }
  std::vector<int> copies;
  for (int i = 0; i < static_cast<int>(next.size()); ++i)
    if (owner[next[i].parent] != i) copies.push_back(i);
  const int layers = weights_.config.layers;
  pool_.parallel_for(static_cast<int>(copies.size()) * layers, [&](int task, int) {
    const int i = copies[task / layers], layer = task % layers;
    rows[i].self[layer].copy_from(rows_[next[i].parent].self[layer]);
  });
  for (std::size_t i = 0; i < next.size(); ++i)
    if (owner[next[i].parent] == static_cast<int>(i))
      rows[i].self = std::move(rows_[next[i].parent].self);
  return rows;
}

std::span<const float> Decoder::step(std::span<const Next> next) {
  assert(!rows_.empty() && !next.empty() && length_ < max_length_);
  rows_ = continue_rows(next);
  std::vector<std::int32_t> ids;
  for (const auto& n : next) ids.push_back(n.token);
  const std::vector<int> positions(next.size(), length_++);
  return forward(ids, positions, 1);
}

// ids: per_row tokens of every row. Returns the logits of each row's last token, [rows, vocab].
std::span<const float> Decoder::forward(std::span<const std::int32_t> ids,
                                        std::span<const int> positions, int per_row) {
  const int rows = static_cast<int>(rows_.size()), d = weights_.config.width;
  const Matrix x(states_.reserve(ids.size() * static_cast<std::size_t>(d)), rows * per_row, d);
  embed_tokens(pool_, weights_, ids, positions, x);
  std::vector<Span> spans;
  for (int r = 0; r < rows; ++r)
    spans.push_back({r * per_row, per_row, &rows_[r].self, &cross_[rows_[r].sequence]});
  text_forward(pool_, weights_, spans, x, scratch_);

  const Matrix last(x.row(per_row - 1), rows, d, x.stride * static_cast<std::size_t>(per_row));
  const Matrix logits(logits_.reserve(static_cast<std::size_t>(rows) * weights_.config.vocab), rows,
                      weights_.config.vocab);
  partials_.resize(static_cast<std::size_t>(rows) *
                   static_cast<std::size_t>(decode::partials_of(weights_.config.vocab)));
  text_head(pool_, *weights_.head, last, logits, partials_, scratch_);
  return {logits.data, static_cast<std::size_t>(rows) * weights_.config.vocab};
}

}  // namespace blip::backend::cpu
