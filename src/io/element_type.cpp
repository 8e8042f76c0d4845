#include "io/element_type.h"

#include "blip/error.h"
#include "io/bytes.h"

namespace blip::io {
namespace {

// Bytes of one element; q8_0 has none of its own.
std::size_t element_size(ElementType type) {
  switch (type) {
    case ElementType::f64:
    case ElementType::i64:
      return 8;
    case ElementType::f32:
    case ElementType::i32:
      return 4;
    case ElementType::f16:
    case ElementType::bf16:
    case ElementType::i16:
      return 2;
    case ElementType::i8:
    case ElementType::u8:
    case ElementType::boolean:
      return 1;
    case ElementType::q8_0:
      break;
  }
  return 0;
}

}  // namespace

const char* to_string(ElementType type) {
  switch (type) {
    case ElementType::f64:
      return "f64";
    case ElementType::f32:
      return "f32";
    case ElementType::f16:
      return "f16";
    case ElementType::bf16:
      return "bf16";
    case ElementType::i64:
      return "i64";
    case ElementType::i32:
      return "i32";
    case ElementType::i16:
      return "i16";
    case ElementType::i8:
      return "i8";
    case ElementType::u8:
      return "u8";
    case ElementType::boolean:
      return "bool";
    case ElementType::q8_0:
      return "q8_0";
  }
  return "unknown";
}

std::size_t byte_size(ElementType type, std::size_t count) {
  std::size_t units = count, size = element_size(type);
  if (type == ElementType::q8_0) {
    if (count % kQ8BlockValues != 0) {
      throw Error(ErrorCode::kModel, "q8_0 stores whole blocks of 32 values, got " +
                                         std::to_string(count) + " values");
    }
    units = count / kQ8BlockValues;
    size = kQ8BlockBytes;
  }
  std::uint64_t bytes = 0;
  if (!multiply(units, size, &bytes)) {
    throw Error(ErrorCode::kModel, std::to_string(count) + " values of type " + to_string(type) +
                                       " are more than fit in memory");
  }
  return static_cast<std::size_t>(bytes);
}

std::optional<std::size_t> element_count(std::span<const std::int64_t> shape) {
  std::uint64_t count = 1;
  for (const std::int64_t dimension : shape) {
    if (dimension < 0 || !multiply(count, static_cast<std::uint64_t>(dimension), &count))
      return std::nullopt;
  }
  return static_cast<std::size_t>(count);
}

std::optional<std::size_t> tensor_bytes(ElementType type, std::span<const std::int64_t> shape) {
  const std::optional<std::size_t> count = element_count(shape);
  if (!count) return std::nullopt;
  if (type == ElementType::q8_0) {
    if (shape.empty() || shape.back() % static_cast<std::int64_t>(kQ8BlockValues) != 0)
      return std::nullopt;
    // 34/32 of the count; smaller than the count times 2.
    std::uint64_t bytes = 0;
    if (!multiply(*count / kQ8BlockValues, kQ8BlockBytes, &bytes)) return std::nullopt;
    return static_cast<std::size_t>(bytes);
  }
  std::uint64_t bytes = 0;
  if (!multiply(*count, element_size(type), &bytes)) return std::nullopt;
  return static_cast<std::size_t>(bytes);
}

std::string describe_shape(std::span<const std::int64_t> shape) {
  std::string result = "[";
  for (std::size_t i = 0; i < shape.size(); ++i)
    result += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return result + "]";
}

}  // namespace blip::io
