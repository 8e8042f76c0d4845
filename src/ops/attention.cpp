#include "ops/attention.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <vector>

namespace blip::ops {
namespace {

// Queries per task: their scores over ViT's 577 keys (48 x 592 floats = 114 KB) stay in the L2 cache, and 48 is a
// multiple of the kernel's 6-row tiles.
constexpr int kQueryBlock = 48;

}  // namespace

KeyValues::KeyValues(int heads, int head_dim, int capacity, NumberType type)
    : type_(type),
      heads_(heads),
      head_dim_(head_dim),
      capacity_(capacity),
      key_stride_(round_up(capacity, kernels::kLanes)),
      value_stride_(round_up(head_dim, kernels::kLanes)),
      // Zeros: the kernel reads the padding, and what it computes from it is thrown away but must be finite.
      keys_(static_cast<std::size_t>(heads) * key_bytes(), std::byte{0}),
      values_(static_cast<std::size_t>(heads) * value_bytes(), std::byte{0}) {
  assert(type != NumberType::kInt8);
}

// A block of 16 rows fills whole cache lines of the transposed keys.
constexpr int kBlock = 16;

void KeyValues::write_f32(int head, ConstMatrix k, ConstMatrix v) {
  auto* keys = reinterpret_cast<float*>(keys_.data() + head * key_bytes()) + count_;
  auto* values = reinterpret_cast<float*>(values_.data() + head * value_bytes()) + static_cast<std::size_t>(count_) * value_stride_;
  for (int r0 = 0; r0 < k.rows; r0 += kBlock)
    for (int d = 0; d < head_dim_; ++d)
      for (int r = r0; r < std::min(r0 + kBlock, k.rows); ++r) keys[static_cast<std::size_t>(d) * key_stride_ + r] = k.row(r)[head * head_dim_ + d];
  for (int r = 0; r < v.rows; ++r) std::copy_n(v.row(r) + head * head_dim_, head_dim_, values + static_cast<std::size_t>(r) * value_stride_);
}

void KeyValues::write_bf16(int head, ConstMatrix k, ConstMatrix v) {
  auto* keys = reinterpret_cast<std::uint16_t*>(keys_.data() + head * key_bytes());
  auto* values = reinterpret_cast<std::uint16_t*>(values_.data() + head * value_bytes());
  static thread_local AlignedArray<std::uint16_t> narrow;
  const std::size_t stride = static_cast<std::size_t>(round_up(head_dim_, 2));
  std::uint16_t* rows = narrow.reserve(kBlock * stride);
  for (int r0 = 0; r0 < k.rows; r0 += kBlock) {
    const int n = std::min(kBlock, k.rows - r0);
    for (int r = 0; r < n; ++r) {
      kernels::to_bf16(k.row(r0 + r) + head * head_dim_, head_dim_, rows + r * stride);
      if (head_dim_ % 2) rows[r * stride + head_dim_] = 0;
    }
    for (int pair = 0; pair < (head_dim_ + 1) / 2; ++pair)
      for (int r = 0; r < n; ++r)
        std::memcpy(keys + (static_cast<std::size_t>(pair) * key_stride_ + count_ + r0 + r) * 2, rows + r * stride + 2 * pair, 2 * sizeof(*keys));
    for (int r = 0; r < n; ++r) {
      kernels::to_bf16(v.row(r0 + r) + head * head_dim_, head_dim_, rows);
      const int at = count_ + r0 + r;
      std::uint16_t* out = values + static_cast<std::size_t>(at / 2) * value_stride_ * 2 + at % 2;
      for (int d = 0; d < head_dim_; ++d) out[2 * d] = rows[d];
    }
  }
}

void KeyValues::write_head(int head, ConstMatrix k, ConstMatrix v) {
  assert(k.rows == v.rows && count_ + k.rows <= capacity_ && k.cols == heads_ * head_dim_ && v.cols == k.cols);
  type_ == NumberType::kF32 ? write_f32(head, k, v) : write_bf16(head, k, v);
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
  assert(type_ == other.type_ && heads_ == other.heads_ && head_dim_ == other.head_dim_ && other.count_ <= capacity_);
  count_ = other.count_;
  const bool bf16 = type_ == NumberType::kBf16;
  const std::size_t element = kernels::size_of(type_) * (bf16 ? 2 : 1);  // a pair is copied as one
  const int key_rows = bf16 ? padded(head_dim_) / 2 : head_dim_, value_rows = bf16 ? padded(count_) / 2 : count_;
  for (int h = 0; h < heads_; ++h) {
    for (int d = 0; d < key_rows; ++d)
      std::memcpy(keys_.data() + h * key_bytes() + static_cast<std::size_t>(d) * key_stride_ * element,
                  other.keys_.data() + h * other.key_bytes() + static_cast<std::size_t>(d) * other.key_stride_ * element,
                  static_cast<std::size_t>(count_) * element);
    std::memcpy(values_.data() + h * value_bytes(), other.values_.data() + h * other.value_bytes(),
                static_cast<std::size_t>(value_rows) * value_stride_ * element);
  }
}

void KeyValues::read_key(int head, int row, float* key) const {
  const auto at = static_cast<std::size_t>(row);
  for (int d = 0; d < head_dim_; ++d) {
    if (type_ == NumberType::kF32) {
      key[d] = static_cast<const float*>(keys(head))[static_cast<std::size_t>(d) * key_stride() + at];
    } else {
      const auto* pairs = static_cast<const std::uint16_t*>(keys(head));
      const auto high = std::uint32_t{pairs[(static_cast<std::size_t>(d / 2) * key_stride() + at) * 2 + static_cast<std::size_t>(d % 2)]} << 16;
      std::memcpy(&key[d], &high, sizeof high);
    }
  }
}

void add_attention_weights(ThreadPool& pool, ConstMatrix q, const KeyValues& kv, Matrix out) {
  const int heads = kv.heads(), d = kv.head_dim(), count = kv.count();
  assert(q.cols == heads * d && out.rows == q.rows && out.cols == count);
  const float scale = 1.f / std::sqrt(static_cast<float>(d));
  std::vector<float> keys(static_cast<std::size_t>(count) * static_cast<std::size_t>(d));
  for (int head = 0; head < heads; ++head) {
    pool.parallel_for(count, [&](int row, int) { kv.read_key(head, row, keys.data() + static_cast<std::size_t>(row) * d); });
    pool.parallel_for(q.rows, [&](int i, int) {
      std::vector<float> scores(static_cast<std::size_t>(count));
      const float* query = q.row(i) + static_cast<std::ptrdiff_t>(head) * d;
      for (std::size_t j = 0; j < scores.size(); ++j) scores[j] = scale * std::inner_product(query, query + d, keys.data() + j * static_cast<std::size_t>(d), 0.f);
      const float top = *std::max_element(scores.begin(), scores.end());
      float sum = 0;
      for (float& score : scores) sum += score = std::exp(score - top);
      for (std::size_t j = 0; j < scores.size(); ++j) out.row(i)[j] += scores[j] / (sum * static_cast<float>(heads));
    });
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
    const auto kernel = kv.type() == NumberType::kBf16 ? kernels::attention_bf16 : kernels::attention;
    kernel({.q = item->q.row(first) + head * d, .ldq = item->q.stride, .queries = queries,
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
