// Cross-attention without keys and values of the tokens it attends to: q (W_k x) = (q W_k) x, and a
// mixture of W_v x is W_v of a mixture of x. So the weights are multiplied by the queries and by
// what is mixed ("absorbed") instead of by every token. With few queries that is less to compute,
// and all layers read the same tokens, which stay in cache, instead of keys and values of their
// own.
#pragma once

#include <span>
#include <vector>

#include "core/aligned.h"
#include "core/matrix.h"
#include "core/thread_pool.h"
#include "ops/attention.h"
#include "ops/linear.h"
#include "ops/operand.h"

namespace blip::ops {

// Up to so many rows in all, one for each token of each beam, are few. By operations 32 rows cost
// what keys and values of the tokens cost in 8 bits (rows x heads x tokens in bfloat16, against
// tokens x width), 64 in bfloat16.
inline constexpr int kAbsorbedRows = 32;

class AbsorbedWeights {
 public:
  AbsorbedWeights() = default;
  // key, value: [heads x head_dim, tokens_width] as torch stores them, row-major; value_bias:
  // [heads x head_dim]. A bias of the keys is the same for all of a query's scores and changes
  // nothing.
  AbsorbedWeights(ThreadPool& pool, std::span<const float> key, std::span<const float> value,
                  std::span<const float> value_bias, int heads, int head_dim, int tokens_width,
                  NumberType type);

  int heads() const { return heads_; }
  int head_dim() const { return head_dim_; }
  int tokens_width() const { return tokens_width_; }
  NumberType type() const { return keys_.type(); }
  // Outputs of a head begin at multiples of kernels::kColumnBlock.
  const Linear& keys() const {
    return keys_;
  }  // [head_dim, heads x tokens_width]: a head's queries to queries of tokens
  const Linear& values() const { return values_; }  // [tokens_width, heads x head_dim]
  int first_key(int head) const { return head * round_up(tokens_width_, kernels::kColumnBlock); }
  int first_value(int head) const { return head * round_up(head_dim_, kernels::kColumnBlock); }

 private:
  int heads_ = 0, head_dim_ = 0, tokens_width_ = 0;
  Linear keys_, values_;
};

// Tokens [N, width] as their own keys and values, for one head as wide as they are; f32 or
// bfloat16.
KeyValues own_keys_values(ThreadPool& pool, ConstMatrix tokens, NumberType type,
                          OperandBuffer& buffer);

// Queries `first` to first + count attend to these tokens.
struct AbsorbedItem {
  int first, count;
  const KeyValues* tokens;
};

struct AbsorbedScratch {
  OperandBuffer queries, absorbed, mixed;
  AlignedArray<float> parts, log_sums;
};

// out[n, heads x head_dim] = each head's attention of q [n, heads x head_dim] over the items'
// tokens. All of the tokens are of one type. While the tokens, which are in cache, are read,
// memory would rest: the weights of `following`, the layers that come after this one, are fetched
// then.
void absorbed_attention(ThreadPool& pool, const AbsorbedWeights& weights, ConstMatrix q,
                        std::span<const AbsorbedItem> items, Matrix out, AbsorbedScratch& scratch,
                        std::span<const Linear* const> following = {});

}  // namespace blip::ops
