#include "ops/attention.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <vector>

#include "core/zone.h"
#include "kernels/read_ahead.h"

namespace blip::ops {

bool has_byte_keys(int head_dim) { return !kernels::has_tile_attention() && head_dim % 4 == 0; }

// Their scores over ViT's 577 keys (48 x 592 floats = 114 KB) stay in the L2 cache, and 48 is a
// multiple of the kernel's 6-row tiles; two AMX tiles have 32 rows.
int query_block(NumberType type) {
  return type == NumberType::kBf16 && kernels::has_tile_attention() ? 32 : 48;
}

void KeyValues::shape(int heads, int head_dim, int capacity, NumberType type) {
  type_ = type;
  heads_ = heads;
  head_dim_ = head_dim;
  capacity_ = capacity;
  key_stride_ = round_up(capacity, type == NumberType::kF32 ? kernels::kLanes : kernels::kBf16Keys);
  value_stride_ = round_up(head_dim, kernels::kLanes);
}

std::size_t KeyValues::bytes(int heads, int head_dim, int capacity, NumberType type) {
  KeyValues kv;
  kv.shape(heads, head_dim, capacity, type);
  return kv.bytes();
}

KeyValues::KeyValues(int heads, int head_dim, int capacity, NumberType type, Arena* arena) {
  shape(heads, head_dim, capacity, type);
  if (arena) {
    memory_ = arena->carve(bytes());
  } else {
    auto own = std::make_shared<AlignedArray<std::byte>>(bytes());
    memory_ = {own, own->data()};
  }
  keys_ = memory_.get();
  values_ = keys_ + static_cast<std::size_t>(heads) * key_bytes();
}

void KeyValues::write_head(int head, const Operand& k, const Operand& v) {
  assert(k.rows == v.rows && count_ + k.rows <= capacity_ && k.cols == heads_ * head_dim_ &&
         v.cols == k.cols);
  assert(k.type == operand_type() && v.type == k.type);
  const Operand keys = k.col_range(head * head_dim_, head_dim_),
                values = v.col_range(head * head_dim_, head_dim_);
  if (type_ == NumberType::kF32) return write_f32(head, keys, values);
  type_ == NumberType::kBf16 ? write_bf16_keys(head, keys) : write_byte_keys(head, keys);
  write_bf16_values(head, values);
}

void KeyValues::write_f32(int head, const Operand& k, const Operand& v) {
  auto* keys = reinterpret_cast<std::uint32_t*>(keys_ + head * key_bytes()) + count_;
  auto* values = reinterpret_cast<float*>(values_ + head * value_bytes()) +
                 static_cast<std::size_t>(count_) * value_stride_;
  kernels::transpose_units(static_cast<const std::uint32_t*>(k.data), k.stride, k.rows, head_dim_,
                           keys, key_stride());
  for (int r = 0; r < v.rows; ++r)
    std::memcpy(values + static_cast<std::size_t>(r) * value_stride_, v.row(r),
                static_cast<std::size_t>(head_dim_) * sizeof(float));
}

// Pairs of dimensions (keys) or of rows (values) are units of 4 bytes. What completes an odd last
// pair is zero: it is multiplied by zero.
void KeyValues::write_bf16_keys(int head, const Operand& k) {
  auto* keys = reinterpret_cast<std::uint32_t*>(keys_ + head * key_bytes()) + count_;
  if (head_dim_ % 2 == 0 && k.stride % 2 == 0 && reinterpret_cast<std::uintptr_t>(k.data) % 4 == 0)
    return kernels::transpose_units(static_cast<const std::uint32_t*>(k.data), k.stride / 2, k.rows,
                                    head_dim_ / 2, keys, key_stride());
  for (int r = 0; r < k.rows; ++r)
    for (int d = 0; d < padded(head_dim_); ++d)
      reinterpret_cast<std::uint16_t*>(keys + static_cast<std::size_t>(d / 2) * key_stride() +
                                       r)[d % 2] =
          d < head_dim_ ? static_cast<const std::uint16_t*>(k.row(r))[d] : std::uint16_t{0};
}

void KeyValues::write_byte_keys(int head, const Operand& k) {
  assert(count_ == 0);
  kernels::pack_byte_keys(
      static_cast<const std::uint16_t*>(k.data), k.stride, k.rows, head_dim_,
      reinterpret_cast<std::uint32_t*>(keys_ + head * key_bytes()), key_stride(),
      reinterpret_cast<float*>(keys_ + head * key_bytes() + key_values_bytes()));
}

void KeyValues::write_bf16_values(int head, const Operand& v) {
  auto* values = reinterpret_cast<std::uint32_t*>(values_ + head * value_bytes());
  const auto row = [&](int r) { return static_cast<const std::uint16_t*>(v.row(r)); };
  const auto out = [&](int r) {
    return values + static_cast<std::size_t>((count_ + r) / 2) * value_stride();
  };
  int r = 0;
  if (count_ % 2) {
    auto* halves = reinterpret_cast<std::uint16_t*>(out(0));
    for (int d = 0; d < head_dim_; ++d) halves[2 * d + 1] = row(0)[d];
    r = 1;
  }
  for (; r < v.rows; r += 2)
    kernels::interleave(row(r), r + 1 < v.rows ? row(r + 1) : nullptr, head_dim_, out(r));
  if (round_up(count_ + v.rows, kernels::kBf16Keys) > round_up(count_, kernels::kBf16Keys))
    clear_values_behind(head, count_ + v.rows);
}

// Rows up to a whole number of tiles are multiplied too, by zero: they must be finite.
void KeyValues::clear_values_behind(int head, int count) {
  auto* values = reinterpret_cast<std::uint32_t*>(values_ + head * value_bytes());
  std::fill(
      values + static_cast<std::size_t>((count + 1) / 2) * value_stride(),
      values + static_cast<std::size_t>(round_up(count, kernels::kBf16Keys) / 2) * value_stride(),
      0u);
}

void KeyValues::append(const Operand& k, const Operand& v) {
  for (int head = 0; head < heads_; ++head) write_head(head, k, v);
  grow(k.rows);
}

void append(ThreadPool& pool, KeyValues& kv, const Operand& k, const Operand& v) {
  pool.parallel_for(kv.heads(), [&](int head, int) { kv.write_head(head, k, v); });
  kv.grow(k.rows);
}

void KeyValues::copy_from(const KeyValues& other) {
  assert(type_ != NumberType::kInt8 && type_ == other.type_ && heads_ == other.heads_ &&
         head_dim_ == other.head_dim_ && other.count_ <= capacity_);
  count_ = other.count_;
  const bool bf16 = type_ == NumberType::kBf16;
  const std::size_t element = kernels::size_of(type_) * (bf16 ? 2 : 1);  // a pair is copied as one
  const auto key_rows = static_cast<std::size_t>(bf16 ? padded(head_dim_) / 2 : head_dim_),
             value_rows = static_cast<std::size_t>(bf16 ? padded(count_) / 2 : count_);
  const std::size_t used = static_cast<std::size_t>(count_) * element, row = key_stride() * element,
                    other_row = other.key_stride() * element;
  // Rows of a line or two, and those that are nearly full, are copied with all that they have room
  // for, as one piece.
  const bool whole = row == other_row && row <= 2 * std::max(used, kAlignment);
  for (int h = 0; h < heads_; ++h) {
    std::byte* to = keys_ + h * key_bytes();
    const std::byte* from = other.keys_ + h * other.key_bytes();
    if (whole)
      std::memcpy(to, from, key_rows * row);
    else
      for (std::size_t d = 0; d < key_rows; ++d)
        std::memcpy(to + d * row, from + d * other_row, used);
    std::memcpy(values_ + h * value_bytes(), other.values_ + h * other.value_bytes(),
                value_rows * value_stride() * element);
    if (bf16) clear_values_behind(h, count_);
  }
}

void KeyValues::read_key(int head, int row, float* key) const {
  const auto at = static_cast<std::size_t>(row);
  for (int d = 0; d < head_dim_; ++d) {
    if (type_ == NumberType::kF32) {
      key[d] =
          static_cast<const float*>(keys(head))[static_cast<std::size_t>(d) * key_stride() + at];
    } else {
      const auto* pairs = static_cast<const std::uint16_t*>(keys(head));
      const auto high =
          std::uint32_t{pairs[(static_cast<std::size_t>(d / 2) * key_stride() + at) * 2 +
                              static_cast<std::size_t>(d % 2)]}
          << 16;
      std::memcpy(&key[d], &high, sizeof high);
    }
  }
}

void add_attention_weights(ThreadPool& pool, const Operand& q, const KeyValues& kv, Matrix out) {
  const int heads = kv.heads(), d = kv.head_dim(), count = kv.count();
  assert(q.cols == heads * d && out.rows == q.rows && out.cols == count);
  const float scale = 1.f / std::sqrt(static_cast<float>(d));
  std::vector<float> keys(static_cast<std::size_t>(count) * static_cast<std::size_t>(d));
  for (int head = 0; head < heads; ++head) {
    pool.parallel_for(count, [&](int row, int) {
      kv.read_key(head, row, keys.data() + static_cast<std::size_t>(row) * d);
    });
    pool.parallel_for(q.rows, [&](int i, int) {
      std::vector<float> scores(static_cast<std::size_t>(count));
      std::vector<float> query(static_cast<std::size_t>(d));
      to_floats(q.col_range(head * d, d).row_range(i, 1), query.data());
      for (std::size_t j = 0; j < scores.size(); ++j)
        scores[j] = scale * std::inner_product(query.begin(), query.end(),
                                               keys.data() + j * static_cast<std::size_t>(d), 0.f);
      const float top = *std::max_element(scores.begin(), scores.end());
      float sum = 0;
      for (float& score : scores) sum += score = std::exp(score - top);
      for (std::size_t j = 0; j < scores.size(); ++j)
        out.row(i)[j] += scores[j] / (sum * static_cast<float>(heads));
    });
  }
}

namespace {

// Reads memory from its beginning to its end, which is faster than in the steps that products take
// through it.
void bring_into_cache(std::span<const std::byte> memory) {
  constexpr std::size_t kLine = 64;
  for (std::size_t at = 0; at < memory.size(); at += kLine) {
    __builtin_prefetch(memory.data() + at + kernels::kReadAhead, 0, 2);
    [[maybe_unused]] const std::byte read =
        *static_cast<const volatile std::byte*>(memory.data() + at);
  }
}

constexpr int kFewQueries = 8;  // of an item: they wait for memory

// Some queries of an item, by one head.
struct Task {
  const AttentionItem* item;
  int head, first, queries;
};

// One head after the other: its keys and values stay in the L2 cache for all its queries, and with
// few of them in the same core's from token to token.
std::vector<Task> tasks_of(std::span<const AttentionItem> items) {
  std::vector<Task> tasks;
  const int heads = items.empty() ? 0 : items.front().kv->heads();
  for (int head = 0; head < heads; ++head)
    for (const auto& item : items) {
      // rows are appended before anybody attends to them
      const int block = item.growing ? item.q.rows : query_block(item.q.type);
      for (int first = 0; first < item.q.rows; first += block)
        tasks.push_back({&item, head, first, std::min(block, item.q.rows - first)});
    }
  return tasks;
}

// `next`: memory to fetch meanwhile.
void attend(ThreadPool& pool, int worker, const Task& task,
            std::span<const std::span<const char>> next) {
  const auto& [item, head, begin, queries] = task;
  const KeyValues& kv = *item->kv;
  const int d = kv.head_dim(), count = kv.count() + item->k.rows, block = query_block(item->q.type);
  const auto kernel = kv.type() == NumberType::kF32 ? kernels::attention : kernels::attention_bf16;
  if (item->growing) item->growing->write_head(head, item->k, item->v);
  // Keys and values of a picture (BLIP-base: 1.8 MB a layer) come from memory. A cache that still
  // grows is in cache.
  constexpr std::size_t kFar = std::size_t{1} << 20;
  if (item->q.rows <= kFewQueries && !item->growing && kv.bytes() > kFar) {
    bring_into_cache(kv.key_memory(head));
    bring_into_cache(kv.value_memory(head));
  }
  for (int first = begin; first < begin + queries; first += block) {
    const int rows = std::min(block, begin + queries - first);
    kernel({.q = item->q.col_range(head * d, d).row(first),
            .ldq = item->q.stride,
            .queries = rows,
            .keys = kv.keys(head),
            .key_stride = kv.key_stride(),
            .values = kv.values(head),
            .value_stride = kv.value_stride(),
            .count = count,
            .head_dim = d,
            .causal_offset =
                item->causal_offset == kAllVisible ? kAllVisible : item->causal_offset + first,
            .scale = 1.f / std::sqrt(static_cast<float>(d)),
            .out = item->out.row(first) + head * d,
            .ldo = item->out.stride,
            .scratch = pool.scratch<float>(worker, ScratchUse::kAttention,
                                           kernels::attention_scratch(rows, count, d)),
            .key_scales = kv.key_scales(head),
            .next = next});
  }
}

// Scores and the sum of values: twice as many products and sums as a query and a key have numbers,
// for every pair of them that sees each other.
double operations(std::span<const AttentionItem> items) {
  double sum = 0;
  for (const auto& item : items) {
    const double keys = item.kv->count() + item.k.rows;
    const bool causal = item.causal_offset != kAllVisible;
    const double seen = causal ? item.causal_offset + (item.q.rows + 1) / 2.0 : keys;
    sum += 4.0 * item.q.rows * std::min(seen, keys) * item.q.cols;
  }
  return sum;
}

double bytes_of(std::span<const AttentionItem> items) {
  double sum = 0;
  for (const auto& item : items) {
    const double filled = static_cast<double>(item.kv->count() + item.k.rows) / item.kv->capacity();
    sum += static_cast<double>(item.kv->bytes()) * std::min(filled, 1.0);
  }
  return sum;
}

}  // namespace

void attention(ThreadPool& pool, std::span<const AttentionItem> items,
               std::span<const Linear* const> next_layers) {
  bool few = true;
  for (const auto& item : items) {
    assert(item.q.cols == item.kv->heads() * item.kv->head_dim() &&
           item.kv->count() + item.k.rows > 0 && item.q.type == item.kv->operand_type());
    assert(item.kv->heads() == items.front().kv->heads() &&
           (!item.growing || item.growing == item.kv));
    few = few && item.q.rows <= kFewQueries;
  }
  const OperationZone zone("attention",
                           [&] { return std::pair(operations(items), bytes_of(items)); });
  const std::vector<Task> tasks = tasks_of(items);
  const int number = static_cast<int>(tasks.size());
  pool.parallel_for(number, [&](int t, int worker) {
    std::vector<std::span<const char>> next;
    if (few)
      for (const Linear* layer : next_layers) next.push_back(share_of(*layer, t, number));
    attend(pool, worker, tasks[static_cast<std::size_t>(t)], next);
  });
  for (const auto& item : items)
    if (item.growing) item.growing->grow(item.k.rows);
}

}  // namespace blip::ops
