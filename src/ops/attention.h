// Multi-head attention over packed keys and values.
#pragma once

#include <memory>
#include <span>

#include "core/aligned.h"
#include "core/large_memory.h"
#include "core/matrix.h"
#include "core/thread_pool.h"
#include "kernels/vector.h"
#include "ops/linear.h"
#include "ops/operand.h"

namespace blip::ops {

using kernels::kAllVisible;

// The keys and values of one sequence in the layout the attention kernel reads: keys transposed per
// head, so that both products stream along memory. Used for whole sequences (vision,
// cross-attention) and as a growing cache (decoding).
class KeyValues {
 public:
  KeyValues() = default;
  KeyValues(KeyValues&&) = default;
  KeyValues& operator=(KeyValues&&) = default;
  // type: kF32, kBf16, or kInt8: keys in 8 bits and values in bfloat16, for a sequence that is
  // written once, whole; see has_byte_keys(). With an arena, bytes() of it are taken.
  KeyValues(int heads, int head_dim, int capacity, NumberType type = NumberType::kF32,
            Arena* arena = nullptr);

  int heads() const { return heads_; }
  int head_dim() const { return head_dim_; }
  int count() const { return count_; }
  int capacity() const { return capacity_; }
  NumberType type() const { return type_; }
  NumberType operand_type() const {
    return type_ == NumberType::kF32 ? NumberType::kF32 : NumberType::kBf16;
  }  // of queries, and of what is appended
  std::size_t bytes() const {
    return static_cast<std::size_t>(heads_) * (key_bytes() + value_bytes());
  }
  static std::size_t bytes(int heads, int head_dim, int capacity, NumberType type);

  // Appends rows of k and v, [n, heads x head_dim] each, of operand_type(). count() + n must not
  // exceed capacity().
  void append(const Operand& k, const Operand& v);
  // One head's share of append; grow() counts the rows once every head is written.
  void write_head(int head, const Operand& k, const Operand& v);
  void grow(int rows) { count_ += rows; }
  void clear() { count_ = 0; }
  // Becomes a copy of other's content (same heads and head_dim; capacity at least other.count()).
  void copy_from(const KeyValues& other);

  const void* keys(int head) const { return keys_ + head * key_bytes(); }
  const float* key_scales(int head) const {  // null but for kInt8; see kernels::AttentionBlock
    return type_ == NumberType::kInt8
               ? reinterpret_cast<const float*>(keys_ + head * key_bytes() + key_values_bytes())
               : nullptr;
  }
  // The key of one row; not of kInt8.
  void read_key(int head, int row, float* key) const;
  const void* values(int head) const { return values_ + head * value_bytes(); }
  std::span<const std::byte> key_memory(int head) const {
    return {keys_ + head * key_bytes(), key_bytes()};
  }
  std::span<const std::byte> value_memory(int head) const {
    return {values_ + head * value_bytes(), value_bytes()};
  }
  std::size_t key_stride() const { return static_cast<std::size_t>(key_stride_); }
  std::size_t value_stride() const { return static_cast<std::size_t>(value_stride_); }

 private:
  // Per head. bfloat16 pairs two dimensions (keys) or two rows (values), so the former are rounded
  // up to even, the latter to whole tiles. Scales of 8-bit keys lie behind them.
  std::size_t key_values_bytes() const {
    return static_cast<std::size_t>(padded(head_dim_)) * key_stride_ * kernels::size_of(type_);
  }
  std::size_t key_bytes() const {
    return key_values_bytes() +
           (type_ == NumberType::kInt8 ? static_cast<std::size_t>(key_stride_) * sizeof(float) : 0);
  }
  std::size_t value_bytes() const {
    const int rows =
        type_ == NumberType::kF32 ? capacity_ : round_up(capacity_, kernels::kBf16Keys);
    return static_cast<std::size_t>(rows) * value_stride_ * kernels::size_of(operand_type());
  }
  int padded(int n) const { return type_ == NumberType::kBf16 ? round_up(n, 2) : n; }
  void shape(int heads, int head_dim, int capacity, NumberType type);

  void write_f32(int head, const Operand& k, const Operand& v);
  void write_bf16_keys(int head, const Operand& k);
  void write_byte_keys(int head, const Operand& k);
  void write_bf16_values(int head, const Operand& v);
  void clear_values_behind(int head, int count);

  NumberType type_ = NumberType::kF32;
  int heads_ = 0, head_dim_ = 0, capacity_ = 0, count_ = 0;
  int key_stride_ = 0, value_stride_ = 0;
  std::shared_ptr<std::byte> memory_;  // of both:
  std::byte* keys_ = nullptr;          // [heads, head_dim, key_stride], or [heads, head_dim / 2,
                                       // key_stride, 2], or kInt8's
  std::byte* values_ =
      nullptr;  // [heads, capacity, value_stride], or [heads, capacity / 2, value_stride, 2]
};

// Whether keys of such heads are worth having in 8 bits: scores then take half the operations of
// bfloat16's. They are less the mean of all keys, which changes nothing in a softmax and leaves
// finer steps.
bool has_byte_keys(int head_dim);

// Queries of one task of attention over such keys.
int query_block(NumberType type);

// KeyValues::append with the heads spread over the pool, for long sequences.
void append(ThreadPool& pool, KeyValues& kv, const Operand& k, const Operand& v);

// Some queries over one sequence: out[m, width] = softmax(q k^T / sqrt(head_dim)) v, head by head.
struct AttentionItem {
  Operand q;  // [m, heads x head_dim], of the keys' operand_type()
  const KeyValues* kv;
  Matrix out;                       // [m, heads x head_dim]
  int causal_offset = kAllVisible;  // causal: query i sees keys 0 .. causal_offset + i
  KeyValues* growing = nullptr;     // if set, it is *kv, and rows k and v are appended to it first
  Operand k{}, v{};
};

// All items have as many heads. While few queries compute, memory would rest: the weights of
// `next_layers`, the layers that come after, are fetched then.
void attention(ThreadPool& pool, std::span<const AttentionItem> items,
               std::span<const Linear* const> next_layers = {});

// out[m, count] += the weights softmax(q k^T / sqrt(head_dim)), mean over heads. For looking at,
// not for speed: plain f32.
void add_attention_weights(ThreadPool& pool, const Operand& q, const KeyValues& kv, Matrix out);

}  // namespace blip::ops
