#include "ops/attention.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <vector>

namespace blip::ops {
namespace {

// Queries per task: their scores over ViT's 577 keys (48 x 592 floats = 114 KB) stay in the L2 cache, and 48 is a
// multiple of the kernel's 6-row tiles.
constexpr int kQueryBlock = 48;

}  // namespace

KeyValues::KeyValues(int heads, int head_dim, int capacity)
    : heads_(heads),
      head_dim_(head_dim),
      capacity_(capacity),
      key_stride_(round_up(capacity, kernels::kLanes)),
      value_stride_(round_up(head_dim, kernels::kLanes)),
      // Zeros: the kernel reads the padding, and what it computes from it is thrown away but must be finite.
      keys_(static_cast<std::size_t>(heads) * head_dim * key_stride_, 0.f),
      values_(static_cast<std::size_t>(heads) * capacity * value_stride_, 0.f) {}

void KeyValues::write_head(int head, ConstMatrix k, ConstMatrix v) {
  assert(k.rows == v.rows && count_ + k.rows <= capacity_ && k.cols == heads_ * head_dim_ && v.cols == k.cols);
  float* keys = keys_.data() + static_cast<std::size_t>(head) * head_dim_ * key_stride_ + count_;
  float* values = values_.data() + (static_cast<std::size_t>(head) * capacity_ + count_) * value_stride_;
  // A block of 16 rows fills whole cache lines of the transposed keys.
  constexpr int kBlock = 16;
  for (int r0 = 0; r0 < k.rows; r0 += kBlock)
    for (int d = 0; d < head_dim_; ++d)
      for (int r = r0; r < std::min(r0 + kBlock, k.rows); ++r) keys[static_cast<std::size_t>(d) * key_stride_ + r] = k.row(r)[head * head_dim_ + d];
  for (int r = 0; r < v.rows; ++r) std::copy_n(v.row(r) + head * head_dim_, head_dim_, values + static_cast<std::size_t>(r) * value_stride_);
}

void KeyValues::append(ConstMatrix k, ConstMatrix v) {
  for (int head = 0; head < heads_; ++head) write_head(head, k, v);
  grow(k.rows);
}

void append(ThreadPool& pool, KeyValues& kv, ConstMatrix k, ConstMatrix v) {
  pool.parallel_for(kv.heads(), [&](int head, int) { kv.write_head(head, k, v); });
  kv.grow(k.rows);
}

void KeyValues::copy_from(const KeyValues& other) {
  assert(heads_ == other.heads_ && head_dim_ == other.head_dim_ && other.count_ <= capacity_);
  count_ = other.count_;
  for (int h = 0; h < heads_; ++h) {
    float* keys = keys_.data() + static_cast<std::size_t>(h) * head_dim_ * key_stride_;
    for (int d = 0; d < head_dim_; ++d)
      std::copy_n(other.keys(h) + static_cast<std::size_t>(d) * other.key_stride_, count_, keys + static_cast<std::size_t>(d) * key_stride_);
    std::copy_n(other.values(h), static_cast<std::size_t>(count_) * value_stride_,
                values_.data() + static_cast<std::size_t>(h) * capacity_ * value_stride_);
  }
}

void attention(ThreadPool& pool, std::span<const AttentionItem> items) {
  struct Task {
    const AttentionItem* item;
    int head, first, queries;
  };
  std::vector<Task> tasks;
  for (const auto& item : items) {
    assert(item.q.cols == item.kv->heads() * item.kv->head_dim() && item.kv->count() > 0);
    for (int first = 0; first < item.q.rows; first += kQueryBlock)
      for (int head = 0; head < item.kv->heads(); ++head)
        tasks.push_back({&item, head, first, std::min(kQueryBlock, item.q.rows - first)});
  }
  pool.parallel_for(static_cast<int>(tasks.size()), [&](int index, int) {
    static thread_local AlignedArray<float> scratch;
    const auto& [item, head, first, queries] = tasks[static_cast<std::size_t>(index)];
    const KeyValues& kv = *item->kv;
    const int d = kv.head_dim();
    kernels::attention({.q = item->q.row(first) + head * d, .ldq = item->q.stride, .queries = queries,
                        .keys = kv.keys(head), .key_stride = kv.key_stride(),
                        .values = kv.values(head), .value_stride = kv.value_stride(),
                        .count = kv.count(), .head_dim = d,
                        .first_visible = item->first_visible == kAllVisible ? kAllVisible : item->first_visible + first,
                        .scale = 1.f / std::sqrt(static_cast<float>(d)),
                        .out = item->out.row(first) + head * d, .ldo = item->out.stride,
                        .scratch = scratch.reserve(kernels::attention_scratch(queries, kv.count(), d))});
  });
}

}  // namespace blip::ops
