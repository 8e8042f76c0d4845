// Our own kernels: one body each (vector.cpp), compiled for every vector instruction set and chosen at first use.
#pragma once

#include <cstddef>

namespace blip::kernels {

// Rows and columns of the packed keys and values are padded to this many floats, the widest vector.
inline constexpr int kLanes = 16;

// out[i] = (x[i] - mean) / sqrt(variance + eps) * gain[i] + bias[i] over n values. out may be x.
void layer_norm(const float* x, const float* gain, const float* bias, float eps, int n, float* out);

// One head's attention for some queries over packed keys and values. The query x key matrix exists only for these queries.
struct AttentionBlock {
  const float* q;      // [queries, head_dim]
  std::size_t ldq;
  int queries;
  const float* keys;   // [head_dim, key_stride]: transposed; key_stride a multiple of kLanes, columns past `count` readable
  std::size_t key_stride;
  const float* values; // [count, value_stride]: value_stride a multiple of kLanes, columns past head_dim zero
  std::size_t value_stride;
  int count;           // keys
  int head_dim;
  int first_visible;   // query i sees keys 0 .. first_visible + i; kAllVisible: every key
  float scale;         // of the products, 1 / sqrt(head_dim)
  float* out;          // [queries, head_dim]
  std::size_t ldo;
  float* scratch;      // attention_scratch(queries, count, head_dim) floats, 64-byte aligned
};
inline constexpr int kAllVisible = -1;
std::size_t attention_scratch(int queries, int count, int head_dim);
void attention(const AttentionBlock& block);

// Name of the instruction set the kernels above run with on this machine: "AVX3_DL", "AVX2", "NEON", ...
const char* vector_isa();

}  // namespace blip::kernels
