// adapter_config.json, and what its patterns say of module names: of the length of real ones, and
// as long as the first line of the input.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "blip/error.h"
#include "model/adapter_settings.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const std::size_t line = std::min(text.find('\n'), size);
  try {
    const auto settings = blip::model::parse_adapter_json(text.substr(std::min(line + 1, size)),
                                                          "adapter_config.json");
    for (const std::string& module :
         {std::string(text.substr(0, line)),
          std::string("text_decoder.bert.encoder.layer.1.crossattention.output.dense")}) {
      settings.targets(module);
      settings.saves(module);
      settings.scale(module, settings.rank, "adapter_model.safetensors");
    }
  } catch (const blip::Error&) {
  }
  return 0;
}
