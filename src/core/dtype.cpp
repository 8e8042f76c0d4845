// The names of number types, which every layer's messages use.
#include "blip/error.h"
#include "blip/options.h"

namespace blip {

const char* to_string(DType dtype) {
  switch (dtype) {
    case DType::kAuto:
      return "auto";
    case DType::kF32:
      return "f32";
    case DType::kBf16:
      return "bf16";
    case DType::kInt8:
      return "int8";
    case DType::kF16:
      return "f16";
  }
  return "unknown";
}

DType parse_dtype(const std::string& name) {
  for (const DType dtype : {DType::kAuto, DType::kF32, DType::kBf16, DType::kInt8, DType::kF16})
    if (name == to_string(dtype)) return dtype;
  throw Error(ErrorCode::kUsage, "unknown dtype \"" + name +
                                     "\"; use auto, f32, bf16 or int8, or f16 with a model "
                                     "compiled so");
}

}  // namespace blip
