// Our own kernels: one body each, compiled for every vector instruction set and chosen at first
// use.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/gemm.h"

namespace blip::kernels {

// Of the Taylor polynomial of 2^f, |f| <= 1/2, the highest power first; off by less than 5e-5,
// where bfloat16 keeps 2e-3. Its values must be the same bits on every instruction set.
inline constexpr float kRoughExp2[] = {9.61812911e-3f, 5.55041087e-2f, 2.40226507e-1f,
                                       6.93147181e-1f, 1.f};

// Rows and columns of the packed keys and values are padded to this many floats, the widest vector.
inline constexpr int kLanes = 16;
// Keys and values in bfloat16 are padded to this many: two matrix tiles.
inline constexpr int kBf16Keys = 32;

// out[i] = (x[i] - mean) / sqrt(variance + eps) * gain[i] + bias[i] over n values. out may be x.
void layer_norm(const float* x, const float* gain, const float* bias, float eps, int n, float* out);

// out[c, r] = in[r, c] of 4-byte units; ldi and ldo in units.
void transpose_units(const std::uint32_t* in, std::size_t ldi, int rows, int cols,
                     std::uint32_t* out, std::size_t ldo);

// Rows of row_bytes, one after the other, as units of 4 bytes (one float, two bfloat16 or four
// bytes): [units, ldo], of which the first `rows` columns are written. What completes a row's last
// unit stays as it is.
void pack_units(const void* in, int rows, std::size_t row_bytes, std::uint32_t* out,
                std::size_t ldo);
// out[i] = even[i] | odd[i] << 16 for n values; odd may be null: zeros.
void interleave(const std::uint16_t* even, const std::uint16_t* odd, int n, std::uint32_t* out);

// out[i] = x[i] as bfloat16, rounded to nearest even.
void to_bf16(const float* x, int n, std::uint16_t* out);
// x[i] ~ scale * out[i] - offset, where the range from the least to the largest, 0 included, takes
// all 256 steps and 0 is one of them.
struct ByteScale {
  float scale, offset;
};
ByteScale to_uint8(const float* x, int n, std::uint8_t* out);
ByteScale to_uint8(const std::uint16_t* x, int n, std::uint8_t* out);  // of bfloat16
// x[i] ~ scale * out[i]; returns the scale, the largest magnitude / 127 (1 for a row of zeros).
float to_int8(const float* x, int n, std::int8_t* out);

// What turns sums of products into the output of a layer: y = sum, or in 8 bits x_scales[row] *
// w_scales[j] * sum - x_offsets[row] * w_sums[j]; then out = epilogue(y + bias[j]).
struct FinishBlock {
  const void* sums;  // [rows, n] float; int32 where there are x_scales
  std::size_t lds;
  int rows, n;
  const float* x_scales;   // [rows], or null: float sums
  const float* x_offsets;  // [rows]
  const float* w_scales;   // [n]
  const float* w_sums;     // [n]: of the weights' column, times its scale
  const float* bias;       // [n], may be null
  Epilogue epilogue;
  void* out;  // [rows, n] float, or bfloat16; may be `sums`
  std::size_t ldo;
  bool out_bf16;
};
void finish(const FinishBlock& block);

// One head's attention for some queries over packed keys and values. The query x key matrix exists
// only for these queries.
struct AttentionBlock {
  const void* q;  // [queries, head_dim], of the keys' type
  std::size_t ldq;
  int queries;
  const void* keys;  // kF32: [head_dim, key_stride]; kBf16: [head_dim / 2, key_stride, 2].
                     // key_stride a multiple of kLanes (kBf16: kBf16Keys), columns past `count`
                     // readable; odd head_dim: the last pair's other half zero
  std::size_t key_stride;
  // kF32: [count, value_stride]; kBf16: [count / 2, value_stride, 2]. value_stride a multiple of
  // kLanes, columns past head_dim readable; kBf16: rows past `count` zero, up to a multiple of
  // kBf16Keys
  const void* values;
  std::size_t value_stride;
  int count;  // keys
  int head_dim;
  int causal_offset;  // query i sees keys 0 .. causal_offset + i; kAllVisible: every key
  float scale;        // of the products, 1 / sqrt(head_dim)
  float* out;         // [queries, head_dim]
  std::size_t ldo;
  float* scratch;  // attention_scratch(queries, count, head_dim) floats, 64-byte aligned
  // If set: [queries], the log of each query's sum of exp(scale q k), by which outputs over several
  // parts of the keys are joined.
  float* log_sums = nullptr;
  // kBf16 alone. If set, keys are bytes instead, [head_dim / 4, key_stride, 4], of scale (byte -
  // 128) with a scale for each key; head_dim a multiple of 4. See pack_byte_keys; log_sums are off
  // by what it takes off all keys.
  const float* key_scales = nullptr;
  // memory that is needed next, in order: fetched meanwhile as far as that costs nothing
  std::span<const std::span<const char>> next{};
};
inline constexpr int kAllVisible = -1;
// Of a row of scores: the sum of exp(scale (x - max)), and max.
struct Exponentials {
  float sum, max;
};
std::size_t attention_scratch(int queries, int count, int head_dim);
void attention(const AttentionBlock& block);

// The same over bfloat16 keys and values; by AMX tiles where there are some.
bool has_tile_attention();
void attention_bf16(const AttentionBlock& block);
// Keys (bfloat16, [count, head_dim], `stride` apart) as an AttentionBlock with key_scales takes
// them, less their mean: that is the same for all of a query's scores and changes nothing, and
// leaves finer steps. Lines of `out` are written to the next multiple of kLanes keys.
void pack_byte_keys(const std::uint16_t* keys, std::size_t stride, int count, int head_dim,
                    std::uint32_t* out, std::size_t key_stride, float* key_scales);

// For measuring: `rounds` of independent multiply-adds in registers, `values` of them a round; and
// all bits of n words (a multiple of 64).
struct Chain {
  float sum;
  int values;
};
Chain multiply_add_chain(int rounds);
std::uint64_t or_words(const std::uint64_t* words, std::size_t n);

// Name of the instruction set the kernels above run with on this machine: "AVX3_DL", "AVX2",
// "NEON", ...
const char* vector_isa();

}  // namespace blip::kernels
