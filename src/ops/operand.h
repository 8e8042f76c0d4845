// Activations in the number type that a product takes them in.
#pragma once

#include <cstdint>
#include <type_traits>

#include "core/aligned.h"
#include "core/matrix.h"
#include "core/thread_pool.h"
#include "kernels/gemm.h"
#include "kernels/vector.h"

namespace blip::ops {

using kernels::NumberType;

// The left factor of a product: [rows, cols], row-major and tight unless f32 (then with the
// matrix's stride). kInt8: value = scales[row] * byte - offsets[row].
struct Operand {
  NumberType type = NumberType::kF32;
  const void* data = nullptr;
  int rows = 0, cols = 0;
  std::size_t stride = 0;
  const float *scales = nullptr, *offsets = nullptr;

  Operand() = default;
  Operand(ConstMatrix m)
      : data(m.data), rows(m.rows), cols(m.cols), stride(m.stride) {}  // f32, as it is
  Operand(Matrix m) : Operand(ConstMatrix(m)) {}

  Operand row_range(int first, int count) const {
    Operand part = *this;
    part.data = row(first);
    part.rows = count;
    if (scales) {
      part.scales += first;
      part.offsets += first;
    }
    return part;
  }
  Operand col_range(int first, int count) const {
    Operand part = *this;
    part.data = static_cast<const std::byte*>(data) +
                static_cast<std::size_t>(first) * kernels::size_of(type);
    part.cols = count;
    return part;
  }
  const void* row(int r) const {
    return static_cast<const std::byte*>(data) +
           static_cast<std::size_t>(r) * stride * kernels::size_of(type);
  }
};

// Memory for one operand, reused between calls.
class OperandBuffer {
 public:
  // An operand of the given type and shape over this memory, to be filled row by row by store_row.
  // The memory of the one before is reused.
  Operand reserve(NumberType type, int rows, int cols);
  // Converts one row of floats into place. Rows may be stored by several threads at once.
  void store_row(const Operand& operand, int row, const float* values);
  void store_row(const Operand& operand, int row, const std::uint16_t* bf16);  // kInt8
  // Room for what is rounded into an operand afterwards.
  std::uint16_t* unrounded(std::size_t values) { return unrounded_.reserve(values); }
  float* f32() { return reinterpret_cast<float*>(bytes_.data()); }
  std::uint16_t* bf16() { return reinterpret_cast<std::uint16_t*>(bytes_.data()); }

 private:
  AlignedArray<std::byte> bytes_;
  AlignedArray<std::uint16_t> unrounded_;
  void set_scale(int row, kernels::ByteScale scale) {
    scales_[static_cast<std::size_t>(row)] = scale.scale;
    offsets_[static_cast<std::size_t>(row)] = scale.offset;
  }
  AlignedArray<float> scales_, offsets_;
};

// The values of an f32 or bfloat16 operand, row after row.
void to_floats(const Operand& operand, float* out);

// x as an operand of `type` without gaps between rows: x itself for f32 where it has none, else
// converted into buffer.
Operand to_operand(ThreadPool& pool, ConstMatrix x, NumberType type, OperandBuffer& buffer);

}  // namespace blip::ops
