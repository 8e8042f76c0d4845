#include "ops/operand.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "kernels/vector.h"

namespace blip::ops {

Operand OperandBuffer::reserve(NumberType type, int rows, int cols) {
  Operand o;
  o.type = type;
  o.rows = rows;
  o.cols = cols;
  o.stride = static_cast<std::size_t>(cols);
  o.data = bytes_.reserve(static_cast<std::size_t>(rows) * o.stride * kernels::size_of(type));
  if (type == NumberType::kInt8) {
    o.scales = scales_.reserve(static_cast<std::size_t>(rows));
    o.offsets = offsets_.reserve(static_cast<std::size_t>(rows));
  }
  return o;
}

void OperandBuffer::store_row(const Operand& o, int row, const float* values) {
  std::byte* out =
      bytes_.data() + static_cast<std::size_t>(row) * o.stride * kernels::size_of(o.type);
  switch (o.type) {
    case NumberType::kF32:
      std::memcpy(out, values, static_cast<std::size_t>(o.cols) * sizeof(float));
      return;
    case NumberType::kBf16:
      kernels::to_bf16(values, o.cols, reinterpret_cast<std::uint16_t*>(out));
      return;
    case NumberType::kInt8:
      set_scale(row, kernels::to_uint8(values, o.cols, reinterpret_cast<std::uint8_t*>(out)));
      return;
  }
}

void OperandBuffer::store_row(const Operand& o, int row, const std::uint16_t* bf16) {
  assert(o.type == NumberType::kInt8);
  set_scale(row, kernels::to_uint8(bf16, o.cols,
                                   reinterpret_cast<std::uint8_t*>(bytes_.data()) +
                                       static_cast<std::size_t>(row) * o.stride));
}

void to_floats(const Operand& o, float* out) {
  assert(o.type != NumberType::kInt8);
  for (int r = 0; r < o.rows; ++r, out += o.cols) {
    if (o.type == NumberType::kF32) {
      std::memcpy(out, o.row(r), static_cast<std::size_t>(o.cols) * sizeof(float));
      continue;
    }
    const auto* row = static_cast<const std::uint16_t*>(o.row(r));
    for (int c = 0; c < o.cols; ++c) {
      const std::uint32_t bits = std::uint32_t{row[c]} << 16;
      std::memcpy(out + c, &bits, sizeof(bits));
    }
  }
}

Operand to_operand(ThreadPool& pool, ConstMatrix x, NumberType type, OperandBuffer& buffer) {
  if (type == NumberType::kF32 && (x.rows <= 1 || x.stride == static_cast<std::size_t>(x.cols)))
    return x;
  const Operand o = buffer.reserve(type, x.rows, x.cols);
  constexpr int kRows = 32;  // as in layer_norm: fewer are not worth a thread
  pool.parallel_for((x.rows + kRows - 1) / kRows, [&](int task, int) {
    for (int r = task * kRows; r < std::min(x.rows, (task + 1) * kRows); ++r)
      buffer.store_row(o, r, x.row(r));
  });
  return o;
}

}  // namespace blip::ops
