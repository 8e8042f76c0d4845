#include "ops/linear.h"

#include <algorithm>
#include <cassert>
#include <vector>

#include "kernels/vector.h"

namespace blip::ops {
namespace {

// A tile of the output: rows [r0, r1), columns [c0, c1).
struct Tile {
  int r0, r1, c0, c1;
  int rows() const { return r1 - r0; }
  int cols() const { return c1 - c0; }
};

template <class Body>
void for_each_tile(ThreadPool& pool, int m, int n, TileSize size, const Body& body) {
  const int rows = (m + size.rows - 1) / size.rows, cols = (n + size.cols - 1) / size.cols;
  pool.parallel_for(rows * cols, [&](int task, int) {
    const int r = task / cols * size.rows, c = task % cols * size.cols;
    body(Tile{r, std::min(r + size.rows, m), c, std::min(c + size.cols, n)});
  });
}

kernels::GemmTile gemm_tile(const Operand& x, const Linear& layer, const Tile& t, void* out, std::size_t ldo) {
  return {.m = t.rows(), .n = t.cols(), .x = x.row(t.r0), .w = &layer.weights(), .first = t.c0, .out = out, .ldo = ldo};
}

// oneDNN's fast kernels write rows without gaps. A tile with all columns of a tight matrix is written in place; any other
// goes through a scratch tile, which is small: columns are cut only where there are few rows.
void float_tile(const Operand& x, const Linear& layer, const Tile& t, Matrix out, Epilogue epilogue) {
  static thread_local AlignedArray<float> scratch;
  const std::size_t n = static_cast<std::size_t>(t.cols());
  const bool direct = t.rows() == 1 || out.stride == n;
  auto g = gemm_tile(x, layer, t, direct ? out.row(t.r0) + t.c0 : scratch.reserve(static_cast<std::size_t>(t.rows()) * n), n);
  g.bias = layer.bias() ? layer.bias() + t.c0 : nullptr;
  g.epilogue = !direct && epilogue == Epilogue::kAdd ? Epilogue::kStore : epilogue;
  kernels::gemm(g);
  if (direct) return;
  for (int r = 0; r < t.rows(); ++r) {
    const float* from = scratch.data() + static_cast<std::size_t>(r) * n;
    float* to = out.row(t.r0 + r) + t.c0;
    if (epilogue == Epilogue::kAdd)
      for (std::size_t i = 0; i < n; ++i) to[i] += from[i];
    else
      std::copy_n(from, n, to);
  }
}

// gelu, stored as the bfloat16 operand of the next product.
void bf16_gelu_tile(const Operand& x, const Linear& layer, const Tile& t, const Operand& out, std::uint16_t* data) {
  static thread_local AlignedArray<std::uint16_t> scratch;
  const std::size_t n = static_cast<std::size_t>(t.cols());
  const bool direct = t.rows() == 1 || out.stride == n;
  std::uint16_t* first = data + static_cast<std::size_t>(t.r0) * out.stride + t.c0;
  auto g = gemm_tile(x, layer, t, direct ? first : scratch.reserve(static_cast<std::size_t>(t.rows()) * n), n);
  g.bias = layer.bias() ? layer.bias() + t.c0 : nullptr;
  g.epilogue = Epilogue::kGelu;
  g.out_bf16 = true;
  kernels::gemm(g);
  if (direct) return;
  for (int r = 0; r < t.rows(); ++r) std::copy_n(scratch.data() + static_cast<std::size_t>(r) * n, n, first + static_cast<std::size_t>(r) * out.stride);
}

// 8-bit products leave int32 sums, turned into floats while they are still in the L2 cache: 64 rows x 512 columns x 4 bytes
// = 128 KB. finish(row, first column, columns, sums)
constexpr int kSumColumns = 512;

template <class Finish>
void int8_tile(const Operand& x, const Linear& layer, const Tile& t, const Finish& finish) {
  static thread_local AlignedArray<std::int32_t> sums;
  for (int c0 = t.c0; c0 < t.c1; c0 += kSumColumns) {
    const Tile part{t.r0, t.r1, c0, std::min(c0 + kSumColumns, t.c1)};
    const std::size_t n = static_cast<std::size_t>(part.cols());
    kernels::gemm(gemm_tile(x, layer, part, sums.reserve(static_cast<std::size_t>(part.rows()) * n), n));
    for (int r = part.r0; r < part.r1; ++r) finish(r, c0, part.cols(), sums.data() + static_cast<std::size_t>(r - part.r0) * n);
  }
}

void int8_row(const Operand& x, const Linear& layer, int r, int first, int n, const std::int32_t* sums, Epilogue epilogue, float* out) {
  kernels::from_int32({sums, x.scales[r], layer.scales() + first, layer.offsets() + first, layer.bias() ? layer.bias() + first : nullptr, epilogue, out}, n);
}

// Whole rows of gelu's floats are kept until their largest is known, then rounded to 8 bits.
void int8_gelu_tile(const Operand& x, const Linear& layer, const Tile& t, const Operand& out, OperandBuffer& buffer) {
  static thread_local AlignedArray<float> rows;
  const std::size_t n = static_cast<std::size_t>(layer.out());
  rows.reserve(static_cast<std::size_t>(t.rows()) * n);
  const auto row = [&](int r) { return rows.data() + static_cast<std::size_t>(r - t.r0) * n; };
  int8_tile(x, layer, t, [&](int r, int first, int cols, const std::int32_t* sums) {
    int8_row(x, layer, r, first, cols, sums, Epilogue::kGelu, row(r) + first);
  });
  for (int r = t.r0; r < t.r1; ++r) buffer.store_row(out, r, row(r));
}

kernels::PackedWeights pack_int8(std::span<const float> weight, int in, int out, AlignedArray<float>& scales, AlignedArray<std::int32_t>& offsets) {
  scales = AlignedArray<float>(static_cast<std::size_t>(out));
  offsets = AlignedArray<std::int32_t>(static_cast<std::size_t>(out));
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(in));
  std::vector<std::int8_t> narrow(weight.size());
  for (int o = 0; o < out; ++o) {
    const std::size_t first = static_cast<std::size_t>(o) * static_cast<std::size_t>(in);
    scales[o] = kernels::to_uint8(weight.data() + first, in, bytes.data());
    std::int32_t sum = 0;
    for (int i = 0; i < in; ++i) sum += narrow[first + i] = static_cast<std::int8_t>(bytes[i] - 128);
    offsets[o] = 128 * sum;
  }
  return {NumberType::kInt8, narrow.data(), out, in};
}

kernels::PackedWeights pack_bf16(std::span<const float> weight, int in, int out) {
  std::vector<std::uint16_t> narrow(weight.size());
  for (int o = 0; o < out; ++o) kernels::to_bf16(weight.data() + static_cast<std::size_t>(o) * in, in, narrow.data() + static_cast<std::size_t>(o) * in);
  return {NumberType::kBf16, narrow.data(), out, in};
}

}  // namespace

Linear::Linear(std::span<const float> weight, std::span<const float> bias, int in, int out, NumberType type) : bias_(bias.size()) {
  assert(weight.size() == static_cast<std::size_t>(in) * static_cast<std::size_t>(out));
  assert(bias.empty() || bias.size() == static_cast<std::size_t>(out));
  std::copy(bias.begin(), bias.end(), bias_.data());
  switch (type) {
    case NumberType::kF32: weights_ = {type, weight.data(), out, in}; break;
    case NumberType::kBf16: weights_ = pack_bf16(weight, in, out); break;
    case NumberType::kInt8: weights_ = pack_int8(weight, in, out, scales_, offsets_); break;
  }
}

TileSize tile_size(int m, int n, int threads) {
  // Rows are cut into two to four tiles a thread (the faster thread takes more of them), of 32 to 96 rows: below 32 the
  // packed weights' kernels lose speed, above 96 a tile's activations leave the L2 cache.
  constexpr int kRowUnit = 8, kMinRows = 32, kMaxRows = 96;
  if (m >= kMinRows * threads) return {std::clamp(round_up((m + 2 * threads - 1) / (2 * threads), kRowUnit), kMinRows, kMaxRows), n};
  // Few rows: each thread streams its share of the weights.
  const int blocks = (n + kernels::kColumnBlock - 1) / kernels::kColumnBlock;
  return {m, (blocks + threads - 1) / threads * kernels::kColumnBlock};
}

void linear(ThreadPool& pool, const Operand& x, const Linear& layer, Matrix out, Epilogue epilogue) {
  assert(x.type == layer.type() && x.cols == layer.in() && out.cols == layer.out() && x.rows == out.rows);
  assert(x.rows <= 1 || x.stride == static_cast<std::size_t>(x.cols));
  if (x.rows == 0) return;
  for_each_tile(pool, x.rows, layer.out(), tile_size(x.rows, layer.out(), pool.size()), [&](const Tile& t) {
    if (layer.type() != NumberType::kInt8) return float_tile(x, layer, t, out, epilogue);
    int8_tile(x, layer, t, [&](int r, int first, int n, const std::int32_t* sums) { int8_row(x, layer, r, first, n, sums, epilogue, out.row(r) + first); });
  });
}

Operand linear_gelu(ThreadPool& pool, const Operand& x, const Linear& layer, OperandBuffer& buffer) {
  assert(x.cols == layer.in() && x.rows > 0);
  const int m = x.rows, n = layer.out();
  const Operand out = buffer.reserve(layer.type(), m, n);
  TileSize size = tile_size(m, n, pool.size());
  switch (layer.type()) {
    case NumberType::kF32:
      linear(pool, x, layer, Matrix(buffer.f32(), m, n), Epilogue::kGelu);
      return out;
    case NumberType::kBf16:
      for_each_tile(pool, m, n, size, [&](const Tile& t) { bf16_gelu_tile(x, layer, t, out, buffer.bf16()); });
      return out;
    case NumberType::kInt8: {
      if (size.cols < n) {  // few rows: cut by columns into floats first
        static thread_local AlignedArray<float> rows;
        const Matrix hidden(rows.reserve(static_cast<std::size_t>(m) * n), m, n);
        linear(pool, x, layer, hidden, Epilogue::kGelu);
        for (int r = 0; r < m; ++r) buffer.store_row(out, r, hidden.row(r));
        return out;
      }
      for_each_tile(pool, m, n, size, [&](const Tile& t) { int8_gelu_tile(x, layer, t, out, buffer); });
      return out;
    }
  }
  return out;
}

}  // namespace blip::ops
