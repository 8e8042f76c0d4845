// The JSON files of a model folder and the checks that follow them. The first byte picks the file.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "blip/error.h"
#include "model/disk.h"
#include "model/settings.h"
#include "model/tensor_table.h"

namespace {

// What Checkpoint::open does with the settings, over a folder whose tensors are all missing.
void build_table(const blip::model::Settings& settings) {
  using namespace blip::model;
  const DiskTensors disk("model.safetensors");
  const Roles roles = detect_roles(disk, Layout::kHuggingFace, settings.architecture);
  const ModelConfig config = infer_config(disk, Layout::kHuggingFace, roles, settings);
  validate(config, "config.json");
  if (config.vision.layers <= 8) tensor_table(config, Layout::kHuggingFace, roles.prefixes);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view json(reinterpret_cast<const char*>(data) + 1, size - 1);
  try {
    blip::model::Settings settings;
    if (data[0] % 2 == 0) {
      settings = blip::model::parse_config_json(json, "config.json");
    } else {
      blip::model::apply_preprocessor_json(settings, json, "preprocessor_config.json");
      settings.vision.eps = 1e-5f;
    }
    build_table(settings);
  } catch (const blip::Error&) {
  }
  return 0;
}
