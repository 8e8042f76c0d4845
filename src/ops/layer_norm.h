// Layer normalisation over the thread pool.
#pragma once

#include "core/aligned.h"
#include "core/matrix.h"
#include "core/thread_pool.h"
#include "ops/operand.h"

namespace blip::ops {

struct LayerNorm {
  AlignedArray<float> gain, bias;  // [width]
  float eps = 0;
};

// out[m, width] = normalised x[m, width]; out may be x.
void layer_norm(ThreadPool& pool, ConstMatrix x, const LayerNorm& norm, Matrix out);

// The same as the operand of a product of `type`, in `out`; x stays as it is.
Operand layer_norm(ThreadPool& pool, ConstMatrix x, const LayerNorm& norm, NumberType type,
                   OperandBuffer& out);

// In place, and also as an operand: the post-norm layers need both.
Operand layer_norm_keep(ThreadPool& pool, Matrix x, const LayerNorm& norm, NumberType type,
                        OperandBuffer& out);

}  // namespace blip::ops
