#include "ops/layer_norm.h"

#include <algorithm>
#include <cassert>

#include "kernels/vector.h"

namespace blip::ops {
namespace {

// A row of 768 takes about 0.1 microseconds: fewer than 32 rows are not worth waking a thread for.
constexpr int kRows = 32;

template <class Body>
void for_each_row(ThreadPool& pool, int rows, const Body& body) {
  pool.parallel_for((rows + kRows - 1) / kRows, [&](int task, int worker) {
    for (int r = task * kRows; r < std::min(rows, (task + 1) * kRows); ++r) body(r, worker);
  });
}

}  // namespace

void layer_norm(ThreadPool& pool, ConstMatrix x, const LayerNorm& norm, Matrix out) {
  assert(x.cols == static_cast<int>(norm.gain.size()) && out.cols == x.cols && out.rows == x.rows);
  for_each_row(pool, x.rows, [&](int r, int) {
    kernels::layer_norm(x.row(r), norm.gain.data(), norm.bias.data(), norm.eps, x.cols, out.row(r));
  });
}

Operand layer_norm(ThreadPool& pool, ConstMatrix x, const LayerNorm& norm, NumberType type,
                   OperandBuffer& out) {
  assert(x.cols == static_cast<int>(norm.gain.size()));
  const Operand o = out.reserve(type, x.rows, x.cols);
  for_each_row(pool, x.rows, [&](int r, int worker) {
    const auto width = static_cast<std::size_t>(x.cols);
    auto* row = pool.scratch<float>(worker, ScratchUse::kNormed, width);
    kernels::layer_norm(x.row(r), norm.gain.data(), norm.bias.data(), norm.eps, x.cols, row);
    out.store_row(o, r, row);
  });
  return o;
}

Operand layer_norm_keep(ThreadPool& pool, Matrix x, const LayerNorm& norm, NumberType type,
                        OperandBuffer& out) {
  assert(x.cols == static_cast<int>(norm.gain.size()));
  const Operand o = type == NumberType::kF32 ? Operand(x) : out.reserve(type, x.rows, x.cols);
  for_each_row(pool, x.rows, [&](int r, int) {
    kernels::layer_norm(x.row(r), norm.gain.data(), norm.bias.data(), norm.eps, x.cols, x.row(r));
    if (type != NumberType::kF32) out.store_row(o, r, x.row(r));
  });
  return o;
}

}  // namespace blip::ops
