// Layer normalisation over the thread pool.
#pragma once

#include "core/aligned.h"
#include "core/matrix.h"
#include "core/thread_pool.h"

namespace blip::ops {

struct LayerNorm {
  AlignedArray<float> gain, bias;  // [width]
  float eps = 0;
};

// out[m, width] = normalised x[m, width]; out may be x.
void layer_norm(ThreadPool& pool, ConstMatrix x, const LayerNorm& norm, Matrix out);

}  // namespace blip::ops
