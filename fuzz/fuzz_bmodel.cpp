// Heads of bmodel files.
#include <cstddef>
#include <cstdint>
#include <span>

#include "backend/sophon/bmodel_file.h"
#include "blip/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    blip::backend::sophon::parse_bmodel_head(std::as_bytes(std::span(data, size)),
                                             std::uint64_t{1} << 40, "fuzz");
  } catch (const blip::Error&) {
  }
  return 0;
}
