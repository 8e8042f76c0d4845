// A view of a row-major float matrix.
#pragma once

#include <cstddef>
#include <type_traits>

#include "core/aligned.h"

namespace blip {

template <class T>
struct MatrixView {
  T* data = nullptr;
  int rows = 0, cols = 0;
  std::size_t stride = 0;  // elements between rows, >= cols

  MatrixView() = default;
  MatrixView(T* d, int r, int c, std::size_t s = 0)
      : data(d), rows(r), cols(c), stride(s ? s : static_cast<std::size_t>(c)) {}
  template <class U>
  requires(!std::is_same_v<T, U>) MatrixView(const MatrixView<U>& other)
      : data(other.data), rows(other.rows), cols(other.cols), stride(other.stride) {}

  T* row(int r) const { return data + static_cast<std::size_t>(r) * stride; }
  MatrixView row_range(int first, int count) const { return {row(first), count, cols, stride}; }
  MatrixView col_range(int first, int count) const { return {data + first, rows, count, stride}; }
};

using Matrix = MatrixView<float>;
using ConstMatrix = MatrixView<const float>;

// A tight [rows, cols] matrix over scratch memory, which grows if it must; its former content is
// lost.
inline Matrix scratch_matrix(AlignedArray<float>& memory, int rows, int cols) {
  return {memory.reserve(static_cast<std::size_t>(rows) * static_cast<std::size_t>(cols)), rows,
          cols};
}

}  // namespace blip
