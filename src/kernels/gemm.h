// Matrix products, by oneDNN.
//
// oneDNN's own threading (OpenMP) is switched off: every call computes one tile on the calling thread, and ops/linear.h
// spreads the tiles over our pool, so that --threads, containers and several sessions are respected.
#pragma once

#include <cstddef>

namespace blip::kernels {

// What happens to a product before it is stored.
enum class Epilogue {
  kStore,  // out = x W + b
  kGelu,   // out = gelu(x W + b), exact (erf)
  kAdd,    // out += x W + b
};

// One tile: out[m, n] = epilogue(x[m, k] w[k, n] + bias[n]). Strides in elements. bias may be null.
struct GemmTile {
  int m, n, k;
  const float* x;
  std::size_t ldx;
  const float* w;
  std::size_t ldw;
  const float* bias;
  float* out;
  std::size_t ldo;
  Epilogue epilogue;
};

void gemm(const GemmTile& tile);

}  // namespace blip::kernels
