#include "io/finite.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <vector>

#include "blip/error.h"

namespace blip::io {
namespace {

// Magnitudes from here on, as a float's bits, are infinite in the type, or no numbers at all.
std::uint32_t limit_of(ElementType type) {
  constexpr float kHalf =
      65520.f;  // the largest half is 65504; from halfway to the next on, values round to infinity
  constexpr float kQ8Steps =
      127.f;  // a block's scale is its largest value / 127, in half precision
  switch (type) {
    case ElementType::f16:
      return std::bit_cast<std::uint32_t>(kHalf);
    case ElementType::bf16:
      return 0x7f7f8000u;
    case ElementType::q8_0:
      return std::bit_cast<std::uint32_t>(kHalf * kQ8Steps);
    default:
      return 0x7f800000u;
  }
}

std::uint32_t magnitude(float value) { return std::bit_cast<std::uint32_t>(value) & 0x7fffffffu; }

// "[3, 0, 17]" of a tensor's value at this place.
std::string index_text(const TensorView& tensor, std::size_t at) {
  std::string text;
  for (std::size_t i = tensor.shape.size(); i-- > 0;) {
    const auto size = static_cast<std::size_t>(tensor.shape[i]);
    text = std::to_string(at % size) + (text.empty() ? "" : ", ") + text;
    at /= size;
  }
  return "[" + text + "]";
}

}  // namespace

bool fits(std::span<const float> values, ElementType type) {
  // carries what is too large into the sign
  const std::uint32_t to_sign = 0x80000000u - limit_of(type);
  std::uint32_t signs = 0;
  for (const float value : values) signs |= magnitude(value) + to_sign;
  return (signs & 0x80000000u) == 0;
}

void refuse_values(const std::string& file, const TensorView& tensor, ElementType type) {
  std::vector<float> values(tensor.count());
  tensor.to_f32(values);
  std::size_t wrong = 0, large = 0, first_wrong = 0, first_large = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (magnitude(values[i]) < limit_of(type)) continue;
    const bool finite = std::isfinite(values[i]);
    std::size_t& count = finite ? large : wrong;
    if (count++ == 0) (finite ? first_large : first_wrong) = i;
  }
  const std::string where =
                        file + ": tensor " + tensor.name + " (" + tensor.describe() + ") holds ",
                    of = " of " + std::to_string(values.size()) + " values ";
  if (wrong > 0)
    throw Error(ErrorCode::kModel,
                where + std::to_string(wrong) + of + "that are not finite, the first, " +
                    std::to_string(values[first_wrong]) + ", at " +
                    index_text(tensor, first_wrong) + "; the checkpoint is damaged: get it anew");
  throw Error(ErrorCode::kModel,
              where + std::to_string(large) + of + "too large for " + to_string(type) +
                  ", the first, " + std::to_string(values[first_large]) + ", at " +
                  index_text(tensor, first_large) +
                  (type == ElementType::bf16 ? "; use f32" : "; use bf16 or f32"));
}

}  // namespace blip::io
