// What the fuzzers of the tensor formats have in common.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "blip/error.h"
#include "io/tensor_file.h"

namespace blip::io {

// Parses and touches every byte of every tensor. Only Error may come out.
inline void read_everything(std::unique_ptr<TensorFile> (*parse)(std::span<const std::byte>,
                                                                 const std::string&),
                            const std::uint8_t* data, std::size_t size) {
  // larger ones (repeated views) are sound but slow
  constexpr std::size_t kMaxValues = std::size_t{1} << 22;
  try {
    const auto file = parse({reinterpret_cast<const std::byte*>(data), size}, "fuzz");
    std::vector<float> values;
    for (const TensorView& tensor : file->tensors()) {
      if (tensor.count() > kMaxValues) continue;
      values.resize(tensor.count());
      tensor.to_f32(values);
      if (file->find(tensor.name) != &tensor) std::abort();
    }
  } catch (const Error&) {
  }
}

}  // namespace blip::io
