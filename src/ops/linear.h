// Fully connected layer over the thread pool.
#pragma once

#include <functional>
#include <span>

#include "core/aligned.h"
#include "core/matrix.h"
#include "core/thread_pool.h"
#include "kernels/gemm.h"
#include "ops/operand.h"

namespace blip::ops {

using kernels::Epilogue;
using kernels::Packing;

// Fills out[count, in] with rows `first` to first + count of a weight. Called by several threads at
// once.
using RowSource = std::function<void(int first, int count, float* out)>;

// Weights of y = x W + b in one number type, immutable after construction. Its input is an Operand
// of that type.
class Linear {
 public:
  Linear() = default;
  // weight: rows of [out, in] as torch stores it; bias: [out], or empty for none. Stacking several
  // weights along `out` (q, k, v) is one Linear over their concatenation. kInt8 rounds each
  // output's weights to 8 bits with a scale of their own. packing: k12Bit where products have few
  // rows, mostly.
  Linear(ThreadPool& pool, const RowSource& weight, std::span<const float> bias, int in, int out,
         NumberType type = NumberType::kF32, Packing packing = Packing::kPlain);

  NumberType type() const { return weights_.type(); }
  int in() const { return weights_.k(); }
  int out() const { return weights_.n(); }
  const kernels::PackedWeights& weights() const { return weights_; }
  const float* bias() const { return bias_.size() ? bias_.data() : nullptr; }
  const float* scales() const { return scales_.data(); }  // kInt8: [out]
  const float* sums() const {
    return sums_.data();
  }  // kInt8: [out], of each output's weights, times its scale

 private:
  void pack(int first, int count, const float* rows, std::uint16_t* converted);

  kernels::PackedWeights weights_;
  AlignedArray<float> bias_, scales_, sums_;
};

// Products and sums of so many rows of it.
inline double operations(int rows, const Linear& layer) {
  return 2.0 * rows * layer.in() * layer.out();
}

// out[m, layer.out()] = epilogue(x[m, layer.in()] W + b). x (of layer.type(), rows without gaps)
// and out must not overlap.
void linear(ThreadPool& pool, const Operand& x, const Linear& layer, Matrix out,
            Epilogue epilogue = Epilogue::kStore);

// x W + b. Every tile is shown to `epilogue` (first row, rows, first column, columns) by the thread
// that computed it, while it is in cache. Columns begin at multiples of `unit` (a multiple of
// kernels::kColumnBlock) and end there or with the layer.
using RangeEpilogue = std::function<void(int row, int rows, int column, int columns)>;
void linear_then(ThreadPool& pool, const Operand& x, const Linear& layer, Matrix out, int unit,
                 const RangeEpilogue& epilogue);

// Outputs [first, first + n) of x W + b on the calling thread, as f32 or bfloat16 (`type`); rows of
// out are ldo values apart. first: a multiple of kernels::kColumnBlock.
void linear_part(const Operand& x, const Linear& layer, int first, int n, void* out,
                 std::size_t ldo, NumberType type, Scratch scratch);

// Part i of n equal ones of a layer's weights, which worker i * threads / n reads for few rows.
std::span<const char> share_of(const Linear& layer, int i, int n);

// x W + b in f32 or bfloat16 (`type`), in `out`.
Operand linear_as(ThreadPool& pool, const Operand& x, const Linear& layer, NumberType type,
                  OperandBuffer& out);

// gelu(x W + b) as the operand of a product of the same type, in `out`.
Operand linear_gelu(ThreadPool& pool, const Operand& x, const Linear& layer, OperandBuffer& out);

// Into how many equal shares, of multiples of `unit`, the rows of an [m, n] product are cut for so
// many threads; each share is cut into blocks of kernels::kColumnBlock columns, which threads take.
// Exposed for tests.
struct RowParts {
  int count, unit;
};
RowParts row_parts(int m, int n, int threads, kernels::RowShares shares);

}  // namespace blip::ops
