// Constants of the GGUF format that its reader and its writer share.
#pragma once

#include <cstdint>
#include <string_view>

#include "io/tensor_file.h"

namespace blip::io::gguf {

inline constexpr std::string_view kMagic = "GGUF";
inline constexpr std::uint32_t kVersion = 3;
inline constexpr std::string_view kAlignmentKey = "general.alignment";
inline constexpr std::uint64_t kDefaultAlignment = 32;

enum class ValueType : std::uint32_t {
  u8 = 0,
  i8 = 1,
  u16 = 2,
  i16 = 3,
  u32 = 4,
  i32 = 5,
  f32 = 6,
  boolean = 7,
  string = 8,
  array = 9,
  u64 = 10,
  i64 = 11,
  f64 = 12,
};

// The format's numbers for the element types we know.
struct TensorType {
  std::uint32_t number;
  ElementType type;
};
inline constexpr TensorType kTensorTypes[] = {
    {0, ElementType::f32},  {1, ElementType::f16},  {8, ElementType::q8_0},
    {24, ElementType::i8},  {25, ElementType::i16}, {26, ElementType::i32},
    {27, ElementType::i64}, {28, ElementType::f64}, {30, ElementType::bf16}};

}  // namespace blip::io::gguf
