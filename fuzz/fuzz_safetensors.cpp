// Any bytes as a safetensors file: read or refused with Error, nothing else.
#include "fuzz_tensor_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  blip::io::read_everything(blip::io::parse_safetensors, data, size);
  return 0;
}
