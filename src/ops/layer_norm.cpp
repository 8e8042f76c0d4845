#include "ops/layer_norm.h"

#include <algorithm>
#include <cassert>

#include "kernels/vector.h"

namespace blip::ops {

void layer_norm(ThreadPool& pool, ConstMatrix x, const LayerNorm& norm, Matrix out) {
  assert(x.cols == static_cast<int>(norm.gain.size()) && out.cols == x.cols && out.rows == x.rows);
  // A row of 768 takes about 0.1 microseconds: fewer than 32 rows are not worth waking a thread for.
  constexpr int kRows = 32;
  pool.parallel_for((x.rows + kRows - 1) / kRows, [&](int task, int) {
    for (int r = task * kRows; r < std::min(x.rows, (task + 1) * kRows); ++r)
      kernels::layer_norm(x.row(r), norm.gain.data(), norm.bias.data(), norm.eps, x.cols, out.row(r));
  });
}

}  // namespace blip::ops
