// A reader of Python pickles that executes nothing: it builds plain values and descriptions of
// tensors, and refuses any name that is not on its list and any opcode that would call, import or
// construct something else.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/tensor_file.h"

namespace blip::io {

using ValueRef = std::uint32_t;  // index into Pickle::values

enum class ValueKind : std::uint8_t {
  none,
  boolean,  // integer: 0 or 1
  integer,
  real,
  text,      // also bytes
  list,      // items
  tuple,     // items
  dict,      // items: key, value, key, value...
  callable,  // one of the listed names
  storage,   // text: key, integer: number of elements, element: their type (nullopt: untyped,
             // counted in bytes)
  tensor,    // items: storage, size, stride; integer: offset in elements; element
  opaque,    // something harmless without use here: a dtype, a device, an integer over 64 bits
};

struct Value {
  ValueKind kind = ValueKind::none;
  std::uint8_t callable = 0;
  std::optional<ElementType> element = {};
  std::int64_t integer = 0;
  double real = 0;
  std::string text = {};
  std::vector<ValueRef> items = {};
};

// Values may share parts and, in a hostile pickle, form cycles or exponentially large trees: never
// walk them without a bound.
struct Pickle {
  std::vector<Value> values;
  ValueRef root = 0;

  const Value& operator[](ValueRef ref) const { return values[ref]; }
  // The value under a text key; nullptr where there is none.
  const Value* find(const Value& dict, std::string_view key) const;
};

// Protocols 2 to 5, as torch.save writes them. Throws Error(kModel) naming `file` and the byte.
Pickle unpickle(std::span<const std::byte> data, const std::string& file);

}  // namespace blip::io
