// Facts about element types that only the readers and writers need.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "io/tensor_file.h"

namespace blip::io {

// q8_0: a block is an f16 scale and 32 int8.
inline constexpr std::size_t kQ8BlockValues = 32;
inline constexpr std::size_t kQ8BlockBytes = 34;

// Product of a shape; nullopt where a dimension is negative or the product does not fit.
std::optional<std::size_t> element_count(std::span<const std::int64_t> shape);

// Bytes of that shape; nullopt where they do not fit, or where q8_0 does not divide the last
// dimension.
std::optional<std::size_t> tensor_bytes(ElementType type, std::span<const std::int64_t> shape);

// "[768, 3072]"
std::string describe_shape(std::span<const std::int64_t> shape);

}  // namespace blip::io
