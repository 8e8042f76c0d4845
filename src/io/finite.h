// Whether a tensor's values are numbers, and stay so in the type that they are wanted in.
#pragma once

#include <span>
#include <string>

#include "io/tensor_file.h"

namespace blip::io {

// Whether every value is finite and does not round to infinity in `type` (f32, bf16, f16 or q8_0).
// One pass without branches.
bool fits(std::span<const float> values, ElementType type);

// Error(kModel) that says how many values of this tensor do not fit and where the first is. For a
// tensor of which fits() said so: it reads all again.
[[noreturn]] void refuse_values(const std::string& file, const TensorView& tensor,
                                ElementType type);

}  // namespace blip::io
