// Fully connected layer over the thread pool.
#pragma once

#include "core/aligned.h"
#include "core/matrix.h"
#include "core/thread_pool.h"
#include "kernels/gemm.h"

namespace blip::ops {

using kernels::Epilogue;

// Weights of y = x W + b, immutable after construction.
class Linear {
 public:
  Linear() = default;
  // weight: [out, in] as torch stores it; bias: [out], or empty for none. Stacking several weights along `out` (q, k, v)
  // is one Linear over their concatenation.
  Linear(std::span<const float> weight, std::span<const float> bias, int in, int out);

  int in() const { return in_; }
  int out() const { return out_; }
  const float* weight() const { return weight_.data(); }  // [in, out]: the layout the GEMM is fastest with at every row count
  const float* bias() const { return bias_.size() ? bias_.data() : nullptr; }
  std::size_t bytes() const { return (weight_.size() + bias_.size()) * sizeof(float); }

 private:
  int in_ = 0, out_ = 0;
  AlignedArray<float> weight_, bias_;
};

// out[m, layer.out()] = epilogue(x[m, layer.in()] W + b). x and out must not overlap.
void linear(ThreadPool& pool, ConstMatrix x, const Linear& layer, Matrix out, Epilogue epilogue = Epilogue::kStore);

// How an [m, n] product is cut into tiles for `threads` threads: rows x cols pieces. Exposed for tests.
struct Grid {
  int rows, cols;
};
Grid tile_grid(int m, int n, int threads);

}  // namespace blip::ops
