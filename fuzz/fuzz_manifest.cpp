// Manifests of compiled folders.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "backend/sophon/manifest.h"
#include "blip/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    blip::backend::sophon::parse_manifest({reinterpret_cast<const char*>(data), size},
                                          "manifest.json");
  } catch (const blip::Error&) {
  }
  return 0;
}
