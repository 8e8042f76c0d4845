#include "ops/absorbed.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "core/zone.h"

namespace blip::ops {

AbsorbedWeights::AbsorbedWeights(ThreadPool& pool, std::span<const float> key,
                                 std::span<const float> value, std::span<const float> value_bias,
                                 int heads, int head_dim, int tokens_width, NumberType type)
    : heads_(heads), head_dim_(head_dim), tokens_width_(tokens_width) {
  const auto width = static_cast<std::size_t>(tokens_width),
             dims = static_cast<std::size_t>(head_dim);
  const int key_stride = first_key(1), value_stride = first_value(1);
  assert(key.size() == static_cast<std::size_t>(heads) * dims * width &&
         value.size() == key.size());
  // Output r of head h is a column of that head's rows of W_k; what pads a head is zero.
  const RowSource columns = [&](int first, int count, float* out) {
    for (int o = first; o < first + count; ++o, out += head_dim) {
      const int head = o / key_stride, column = o % key_stride;
      for (int i = 0; i < head_dim; ++i)
        out[i] = column < tokens_width
                     ? key[(static_cast<std::size_t>(head) * dims + static_cast<std::size_t>(i)) *
                               width +
                           static_cast<std::size_t>(column)]
                     : 0.f;
    }
  };
  const RowSource rows = [&](int first, int count, float* out) {
    for (int o = first; o < first + count; ++o, out += tokens_width) {
      const int head = o / value_stride, row = o % value_stride;
      if (row < head_dim)
        std::copy_n(
            value.data() +
                (static_cast<std::size_t>(head) * dims + static_cast<std::size_t>(row)) * width,
            tokens_width, out);
      else
        std::fill_n(out, tokens_width, 0.f);
    }
  };
  std::vector<float> bias(static_cast<std::size_t>(heads) * static_cast<std::size_t>(value_stride));
  for (int h = 0; h < heads; ++h)
    std::copy_n(value_bias.data() + h * head_dim, head_dim, bias.data() + h * value_stride);
  keys_ = Linear(pool, columns, {}, head_dim, heads * key_stride, type, Packing::k12Bit);
  values_ = Linear(pool, rows, bias, tokens_width, heads * value_stride, type, Packing::k12Bit);
}

KeyValues own_keys_values(ThreadPool& pool, ConstMatrix tokens, NumberType type,
                          OperandBuffer& buffer) {
  KeyValues kv(1, tokens.cols, tokens.rows, type);
  const Operand operand = to_operand(pool, tokens, type, buffer);
  kv.append(operand, operand);
  return kv;
}

namespace {

// A share of an item's queries over a share of its tokens.
struct Part {
  const KeyValues* tokens;
  int first_query, queries;  // of all heads
  int slice, first_token, count;
};

// Tokens are attended to in so many slices, each with a softmax of its own, whose outputs are
// joined: so that threads find work in one picture. Rounding depends on them, so they are the
// picture's, whatever the threads and the pictures beside it.
int slices_of(const KeyValues& tokens) {
  constexpr int kTokens = 128;  // or more, of a slice
  return std::max(1, tokens.count() / kTokens);
}

std::vector<Part> parts_of(std::span<const AbsorbedItem> items, int heads) {
  const int block = query_block(items.front().tokens->type());
  const int unit = kernels::has_tile_attention() ? kernels::kBf16Keys : kernels::kLanes;
  std::vector<Part> parts;
  for (const AbsorbedItem& item : items) {
    const int tokens = item.tokens->count(), blocks = (tokens + unit - 1) / unit,
              slices = slices_of(*item.tokens);
    const auto bound = [&](int slice) { return std::min(tokens, blocks * slice / slices * unit); };
    for (int q = 0; q < item.count * heads; q += block)
      for (int slice = 0; slice < slices; ++slice)
        parts.push_back({item.tokens, item.first * heads + q,
                         std::min(block, item.count * heads - q), slice, bound(slice),
                         bound(slice + 1) - bound(slice)});
  }
  return parts;
}

// out = the parts' outputs for one query, each `stride` behind the one before, by the weight of
// their sums.
void join(const float* parts, std::size_t stride, const float* log_sums, std::size_t log_stride,
          int slices, int n, float* out) {
  float top = log_sums[0];
  for (int s = 1; s < slices; ++s)
    top = std::max(top, log_sums[static_cast<std::size_t>(s) * log_stride]);
  float total = 0;
  for (int s = 0; s < slices; ++s)
    total += std::exp(log_sums[static_cast<std::size_t>(s) * log_stride] - top);
  std::fill_n(out, n, 0.f);
  for (int s = 0; s < slices; ++s) {
    const float weight = std::exp(log_sums[static_cast<std::size_t>(s) * log_stride] - top) / total;
    if (weight == 0) continue;  // a part without tokens, whose output was never written
    const float* part = parts + static_cast<std::size_t>(s) * stride;
    for (int i = 0; i < n; ++i) out[i] += weight * part[i];
  }
}

// Every head's query into the width of a token and its output back, and attention in between.
double operations(const AbsorbedWeights& w, std::span<const AbsorbedItem> items) {
  double sum = 0;
  for (const AbsorbedItem& item : items) {
    const double rows = static_cast<double>(item.count) * w.heads(), width = w.tokens_width();
    sum += rows * 4 * width * (w.head_dim() + item.tokens->count());
  }
  return sum;
}

double bytes_of(const AbsorbedWeights& w, std::span<const AbsorbedItem> items) {
  std::size_t sum = w.keys().weights().bytes() + w.values().weights().bytes();
  for (const AbsorbedItem& item : items) sum += item.tokens->bytes();
  return static_cast<double>(sum);
}

}  // namespace

// Rows of q are kept head by head ([heads, n]) where they are the left factor of a product, query
// by query ([n, heads]) where they attend to tokens.
void absorbed_attention(ThreadPool& pool, const AbsorbedWeights& w, ConstMatrix q,
                        std::span<const AbsorbedItem> items, Matrix out, AbsorbedScratch& scratch,
                        std::span<const Linear* const> next_layers) {
  const int heads = w.heads(), d = w.head_dim(), width = w.tokens_width(), n = q.rows,
            all = n * heads;
  assert(q.cols == heads * d && out.rows == n && out.cols == q.cols && !items.empty());
  const OperationZone zone("attention over tokens",
                           [&] { return std::pair(operations(w, items), bytes_of(w, items)); });
  const NumberType type = items.front().tokens->type();
  const bool bf16 = type == NumberType::kBf16;
  const Operand queries = scratch.queries.reserve(w.type(), all, d),
                absorbed = scratch.absorbed.reserve(type, all, width);
  auto* to = reinterpret_cast<std::byte*>(bf16 ? static_cast<void*>(scratch.absorbed.bf16())
                                               : scratch.absorbed.f32());
  const auto row_bytes = static_cast<std::size_t>(width) * kernels::size_of(type);
  // A thread's heads are neighbours: their weights are one stretch of memory.
  pool.parallel_for(heads, [&](int h, int worker) {
    for (int i = 0; i < n; ++i) scratch.queries.store_row(queries, h * n + i, q.row(i) + h * d);
    linear_part(queries.row_range(h * n, n), w.keys(), w.first_key(h), width,
                to + static_cast<std::size_t>(h) * row_bytes,
                static_cast<std::size_t>(heads) * absorbed.stride, type, pool.scratch_of(worker));
  });

  int slices = 1;
  for (const AbsorbedItem& item : items) slices = std::max(slices, slices_of(*item.tokens));
  const std::size_t part_size = static_cast<std::size_t>(all) * static_cast<std::size_t>(width);
  float* mixed = scratch.parts.reserve(static_cast<std::size_t>(slices) * part_size);
  float* log_sums =
      scratch.log_sums.reserve(static_cast<std::size_t>(slices) * static_cast<std::size_t>(all));
  // of slices without tokens
  std::fill_n(log_sums, static_cast<std::size_t>(slices) * static_cast<std::size_t>(all),
              -INFINITY);
  const auto parts = parts_of(items, heads);
  std::vector<std::span<const char>> next;  // slice by slice
  for (int slice = 0; slice < slices; ++slice) {
    next.push_back(share_of(w.values(), slice, slices));
    for (const Linear* layer : next_layers) next.push_back(share_of(*layer, slice, slices));
  }
  const std::size_t next_of_slice = 1 + next_layers.size();
  pool.parallel_for(static_cast<int>(parts.size()), [&](int index, int worker) {
    const Part& p = parts[static_cast<std::size_t>(index)];
    if (p.count == 0) return;
    const auto first = static_cast<std::size_t>(p.first_token);
    // bfloat16: pairs of dimensions, pairs of tokens
    const std::size_t unit = bf16 ? 4 : sizeof(float);
    const auto kernel = bf16 ? kernels::attention_bf16 : kernels::attention;
    kernel({.q = absorbed.row(p.first_query),
            .ldq = absorbed.stride,
            .queries = p.queries,
            .keys = static_cast<const std::byte*>(p.tokens->keys(0)) + first * unit,
            .key_stride = p.tokens->key_stride(),
            .values = static_cast<const std::byte*>(p.tokens->values(0)) +
                      (bf16 ? first / 2 : first) * p.tokens->value_stride() * unit,
            .value_stride = p.tokens->value_stride(),
            .count = p.count,
            .head_dim = width,
            .causal_offset = kAllVisible,
            .scale = 1.f / std::sqrt(static_cast<float>(d)),
            .out = mixed + static_cast<std::size_t>(p.slice) * part_size +
                   static_cast<std::size_t>(p.first_query) * static_cast<std::size_t>(width),
            .ldo = static_cast<std::size_t>(width),
            .scratch = pool.scratch<float>(worker, ScratchUse::kTokens,
                                           kernels::attention_scratch(p.queries, p.count, width)),
            .log_sums = log_sums +
                        static_cast<std::size_t>(p.slice) * static_cast<std::size_t>(all) +
                        p.first_query,
            .next = std::span(next).subspan(static_cast<std::size_t>(p.slice) * next_of_slice,
                                            next_of_slice)});
  });

  const Operand joined = scratch.mixed.reserve(w.type(), all, width);
  pool.parallel_for(heads, [&](int h, int worker) {
    auto* row = pool.scratch<float>(worker, ScratchUse::kJoined, static_cast<std::size_t>(width));
    for (int i = 0; i < n; ++i) {
      const std::size_t at = static_cast<std::size_t>(i) * static_cast<std::size_t>(heads) +
                             static_cast<std::size_t>(h);
      join(mixed + at * static_cast<std::size_t>(width), part_size, log_sums + at,
           static_cast<std::size_t>(all), slices, width, row);
      scratch.mixed.store_row(joined, h * n + i, row);
    }
    linear_part(joined.row_range(h * n, n), w.values(), w.first_value(h), d, out.data + h * d,
                out.stride, NumberType::kF32, pool.scratch_of(worker));
  });
}

}  // namespace blip::ops
