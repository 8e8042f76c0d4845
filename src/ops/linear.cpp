#include "ops/linear.h"

#include <algorithm>
#include <cassert>
#include <numeric>
#include <utility>
#include <vector>

#include "core/zone.h"
#include "kernels/vector.h"

namespace blip::ops {
namespace {

// Rows of a share, at least, that is worth passing the weights once more.
constexpr int kManyRows = 48;

// A tile of the output: rows [r0, r1), columns [c0, c1), or those of `blocks`.
struct Tile {
  int r0, r1, c0, c1;
  Scratch scratch;  // of the worker that computes it
  kernels::ColumnBlocks* blocks = nullptr;
  int rows() const { return r1 - r0; }
  int cols() const { return c1 - c0; }
};

// [begin, end) of part i of `parts` of n values in units of `unit`.
std::pair<int, int> share(int n, int unit, int parts, int i) {
  const auto bound = [&](int p) {
    return std::min(
        n, static_cast<int>(static_cast<std::int64_t>((n + unit - 1) / unit) * p / parts) * unit);
  };
  return {bound(i), bound(i + 1)};
}

// The blocks of columns that are left of a share of the rows, of which one is taken already.
class BlocksLeft final : public kernels::ColumnBlocks {
 public:
  BlocksLeft(TaskRange& range, int taken, int first, int end)
      : range_(range), taken_(taken), first_(first), end_(end) {}
  int next() override {
    int task = std::exchange(taken_, kTaken);
    if (task == kTaken && !range_.take_before(task, end_)) return kNone;
    return (task - first_) * kernels::kColumnBlock;
  }

 private:
  static constexpr int kTaken = -1;
  TaskRange& range_;
  int taken_, first_, end_;
};

// Tasks are blocks of columns, share of rows by share of rows.
template <class Body>
void for_each_tile(ThreadPool& pool, const Operand& x, const Linear& layer, const Body& body,
                   int unit = kernels::kColumnBlock) {
  const OperationZone zone("linear", operations(x.rows, layer),
                           static_cast<double>(layer.weights().bytes()));
  const RowParts cut = row_parts(x.rows, layer.out(), pool.size(),
                                 kernels::row_shares(layer.type(), x.rows, layer.in()));
  const int blocks = (layer.out() + unit - 1) / unit;
  pool.parallel_ranges(cut.count * blocks, [&](TaskRange& range, int worker) {
    int task;
    if (!range.take(task)) return;
    const int first = task / blocks * blocks;
    const auto [r0, r1] = share(x.rows, cut.unit, cut.count, task / blocks);
    if (unit == kernels::kColumnBlock) {
      BlocksLeft left(range, task, first, first + blocks);
      body(Tile{r0, r1, 0, layer.out(), pool.scratch_of(worker), &left});
    } else {
      const int c0 = (task - first) * unit;
      body(Tile{r0, r1, c0, std::min(c0 + unit, layer.out()), pool.scratch_of(worker)});
    }
  });
}

kernels::GemmTile gemm_tile(const Operand& x, const Linear& layer, const Tile& t, void* out,
                            std::size_t ldo) {
  const bool int8 = layer.type() == NumberType::kInt8;
  return {.m = t.rows(),
          .n = t.cols(),
          .x = x.row(t.r0),
          .w = &layer.weights(),
          .first = t.c0,
          .x_scales = int8 ? x.scales + t.r0 : nullptr,
          .x_offsets = int8 ? x.offsets + t.r0 : nullptr,
          .w_scales = int8 ? layer.scales() + t.c0 : nullptr,
          .w_sums = int8 ? layer.sums() + t.c0 : nullptr,
          .bias = layer.bias() ? layer.bias() + t.c0 : nullptr,
          .out = out,
          .ldo = ldo,
          .scratch = t.scratch,
          .blocks = t.blocks};
}

// In 8 bits, gelu's output is kept until a row's largest is known. In bfloat16, which rounds finer
// than that and takes half the cache; always, since what rounds twice differs from what rounds
// once.
void gelu_tile_bf16(const Operand& x, const Linear& layer, const Tile& t, std::uint16_t* out,
                    std::size_t ldo) {
  auto g = gemm_tile(x, layer, t, out, ldo);
  g.epilogue = Epilogue::kGelu;
  g.out_bf16 = true;
  kernels::gemm(g);
}

}  // namespace

Linear::Linear(ThreadPool& pool, const RowSource& weight, std::span<const float> bias, int in,
               int out, NumberType type, Packing packing)
    : weights_(type, out, in, packing), bias_(bias.size()) {
  assert(bias.empty() || bias.size() == static_cast<std::size_t>(out));
  std::copy(bias.begin(), bias.end(), bias_.data());
  if (type == NumberType::kInt8) {
    scales_ = AlignedArray<float>(static_cast<std::size_t>(out));
    sums_ = AlignedArray<float>(static_cast<std::size_t>(out));
  }
  // A block of rows at a time: from the file to its packed place while it is in the L2 cache.
  pool.parallel_for(
      (out + kernels::kColumnBlock - 1) / kernels::kColumnBlock, [&](int block, int worker) {
        const int first = block * kernels::kColumnBlock,
                  count = std::min(kernels::kColumnBlock, out - first);
        const std::size_t values = static_cast<std::size_t>(count) * static_cast<std::size_t>(in);
        auto* rows = pool.scratch<float>(worker, ScratchUse::kRows, values);
        weight(first, count, rows);
        // Two bytes a value at most; floats are packed as they are.
        std::uint16_t* converted =
            type == NumberType::kF32
                ? nullptr
                : pool.scratch<std::uint16_t>(worker, ScratchUse::kConverted, values);
        pack(first, count, rows, converted);
      });
}

void Linear::pack(int first, int count, const float* rows, std::uint16_t* converted) {
  const std::size_t in = static_cast<std::size_t>(this->in()),
                    values = static_cast<std::size_t>(count) * in;
  switch (type()) {
    case NumberType::kF32:
      return weights_.pack(first, count, rows);
    case NumberType::kBf16: {
      kernels::to_bf16(rows, static_cast<int>(values), converted);
      return weights_.pack(first, count, converted);
    }
    case NumberType::kInt8: {
      auto* bytes = reinterpret_cast<std::int8_t*>(converted);
      const auto begin = static_cast<std::size_t>(first);
      for (std::size_t r = 0; r < static_cast<std::size_t>(count); ++r) {
        std::int8_t* row = bytes + r * in;
        const float scale = kernels::to_int8(rows + r * in, static_cast<int>(in), row);
        scales_[begin + r] = scale;
        sums_[begin + r] = scale * static_cast<float>(std::accumulate(row, row + in, 0));
      }
      return weights_.pack(first, count, bytes);
    }
  }
}

RowParts row_parts(int m, int n, int threads, kernels::RowShares shares) {
  const int units = (m + shares.unit - 1) / shares.unit;
  // Many rows: each thread has shares of its own. Few: all threads stream their columns' weights
  // for all rows, or for as many shares of them as it takes to have work for everybody.
  if (m >= kManyRows * threads) {
    const int all = shares.rows * threads, each = all ? (m + all / 2) / all : 0;
    return {std::min(std::max(shares.per_thread, each) * threads, units), shares.unit};
  }
  constexpr int kTasks = 4;  // a thread
  const int blocks = (n + kernels::kColumnBlock - 1) / kernels::kColumnBlock;
  return {std::clamp((kTasks * threads + blocks - 1) / blocks, 1, std::max(1, m / kManyRows)),
          shares.unit};
}

void linear(ThreadPool& pool, const Operand& x, const Linear& layer, Matrix out,
            Epilogue epilogue) {
  assert(x.type == layer.type() && x.cols == layer.in() && out.cols == layer.out() &&
         x.rows == out.rows);
  assert(x.rows <= 1 || x.stride == static_cast<std::size_t>(x.cols));
  if (x.rows == 0) return;
  for_each_tile(pool, x, layer, [&](const Tile& t) {
    auto g = gemm_tile(x, layer, t, out.row(t.r0) + t.c0, out.stride);
    g.epilogue = epilogue;
    kernels::gemm(g);
  });
}

void linear_then(ThreadPool& pool, const Operand& x, const Linear& layer, Matrix out, int unit,
                 const RangeEpilogue& epilogue) {
  assert(x.type == layer.type() && x.cols == layer.in() && out.cols == layer.out() &&
         x.rows == out.rows && unit % kernels::kColumnBlock == 0);
  for_each_tile(
      pool, x, layer,
      [&](const Tile& t) {
        kernels::gemm(gemm_tile(x, layer, t, out.row(t.r0) + t.c0, out.stride));
        epilogue(t.r0, t.rows(), t.c0, t.cols());
      },
      unit);
}

namespace {

void linear_bf16(ThreadPool& pool, const Operand& x, const Linear& layer, const Operand& out,
                 std::uint16_t* data, Epilogue epilogue) {
  for_each_tile(pool, x, layer, [&](const Tile& t) {
    auto g = gemm_tile(x, layer, t, data + static_cast<std::size_t>(t.r0) * out.stride + t.c0,
                       out.stride);
    g.epilogue = epilogue;
    g.out_bf16 = true;
    kernels::gemm(g);
  });
}

}  // namespace

std::span<const char> share_of(const Linear& layer, int i, int n) {
  const std::span<const char> memory = layer.weights().memory();
  const std::size_t size = memory.size() / static_cast<std::size_t>(n);
  return memory.subspan(size * static_cast<std::size_t>(i), size);
}

void linear_part(const Operand& x, const Linear& layer, int first, int n, void* out,
                 std::size_t ldo, NumberType type, Scratch scratch) {
  auto g = gemm_tile(x, layer, {0, x.rows, first, first + n, scratch}, out, ldo);
  g.out_bf16 = type == NumberType::kBf16;
  kernels::gemm(g);
}

Operand linear_as(ThreadPool& pool, const Operand& x, const Linear& layer, NumberType type,
                  OperandBuffer& buffer) {
  assert(type != NumberType::kInt8 && x.rows > 0);
  const Operand out = buffer.reserve(type, x.rows, layer.out());
  if (type == NumberType::kBf16)
    linear_bf16(pool, x, layer, out, buffer.bf16(), Epilogue::kStore);
  else
    linear(pool, x, layer, Matrix(buffer.f32(), x.rows, layer.out()));
  return out;
}

Operand linear_gelu(ThreadPool& pool, const Operand& x, const Linear& layer,
                    OperandBuffer& buffer) {
  assert(x.cols == layer.in() && x.rows > 0);
  const int m = x.rows, n = layer.out();
  const Operand out = buffer.reserve(layer.type(), m, n);
  switch (layer.type()) {
    case NumberType::kF32:
      linear(pool, x, layer, Matrix(buffer.f32(), m, n), Epilogue::kGelu);
      return out;
    case NumberType::kBf16:
      linear_bf16(pool, x, layer, out, buffer.bf16(), Epilogue::kGelu);
      return out;
    case NumberType::kInt8: {
      const std::size_t stride = static_cast<std::size_t>(n);
      std::uint16_t* rows = buffer.unrounded(static_cast<std::size_t>(m) * stride);
      for_each_tile(pool, x, layer, [&](const Tile& t) {
        gelu_tile_bf16(x, layer, t, rows + static_cast<std::size_t>(t.r0) * stride + t.c0, stride);
      });
      pool.parallel_for(m, [&](int r, int) {
        buffer.store_row(out, r, rows + static_cast<std::size_t>(r) * stride);
      });
      return out;
    }
  }
  return out;
}

}  // namespace blip::ops
