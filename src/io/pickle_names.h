// The only names that a pickle may refer to. Whatever it asks for beyond them is refused before
// anything is built from it.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "io/tensor_file.h"

namespace blip::io {

enum class Callable : std::uint8_t {
  ordered_dict,
  rebuild_tensor,     // (storage, offset, size, stride, ...)
  rebuild_tensor_v3,  // (storage, offset, size, stride, requires_grad, hooks, dtype, ...)
  rebuild_parameter,  // (tensor, ...)
  size,               // torch.Size(list)
  device,             // torch.device(text, ...)
  storage_type,       // only named, never called
  dtype,              // only named, never called
};

struct PickleName {
  std::string_view module, name;
  Callable callable;
  // of a storage type or dtype; nullopt: one without a type, or one that we cannot read
  std::optional<ElementType> element;
};

inline constexpr PickleName kPickleNames[] = {
    {"collections", "OrderedDict", Callable::ordered_dict, {}},
    {"torch._utils", "_rebuild_tensor", Callable::rebuild_tensor, {}},
    {"torch._utils", "_rebuild_tensor_v2", Callable::rebuild_tensor, {}},
    {"torch._utils", "_rebuild_tensor_v3", Callable::rebuild_tensor_v3, {}},
    {"torch._utils", "_rebuild_parameter", Callable::rebuild_parameter, {}},
    {"torch._utils", "_rebuild_parameter_with_state", Callable::rebuild_parameter, {}},
    {"torch", "Size", Callable::size, {}},
    {"torch", "device", Callable::device, {}},
    {"torch", "DoubleStorage", Callable::storage_type, ElementType::f64},
    {"torch", "FloatStorage", Callable::storage_type, ElementType::f32},
    {"torch", "HalfStorage", Callable::storage_type, ElementType::f16},
    {"torch", "BFloat16Storage", Callable::storage_type, ElementType::bf16},
    {"torch", "LongStorage", Callable::storage_type, ElementType::i64},
    {"torch", "IntStorage", Callable::storage_type, ElementType::i32},
    {"torch", "ShortStorage", Callable::storage_type, ElementType::i16},
    {"torch", "CharStorage", Callable::storage_type, ElementType::i8},
    {"torch", "ByteStorage", Callable::storage_type, ElementType::u8},
    {"torch", "BoolStorage", Callable::storage_type, ElementType::boolean},
    {"torch.storage", "UntypedStorage", Callable::storage_type, {}},
    {"torch", "UntypedStorage", Callable::storage_type, {}},
    {"torch", "float64", Callable::dtype, ElementType::f64},
    {"torch", "float32", Callable::dtype, ElementType::f32},
    {"torch", "float16", Callable::dtype, ElementType::f16},
    {"torch", "bfloat16", Callable::dtype, ElementType::bf16},
    {"torch", "int64", Callable::dtype, ElementType::i64},
    {"torch", "int32", Callable::dtype, ElementType::i32},
    {"torch", "int16", Callable::dtype, ElementType::i16},
    {"torch", "int8", Callable::dtype, ElementType::i8},
    {"torch", "uint8", Callable::dtype, ElementType::u8},
    {"torch", "bool", Callable::dtype, ElementType::boolean},
};

}  // namespace blip::io
