// Models compiled for SOPHON chips.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "backend/registry.h"
#include "backend/sophon/fixed_decoding.h"
#include "backend/sophon/manifest.h"

namespace blip::backend::sophon {

struct Loaded {
  std::shared_ptr<const Model> model;
  ModelInfo info;
};

// The word that its device strings begin with.
inline constexpr const char* kDeviceKind = "sophon";
// What the registry knows of SOPHON chips.
const Backend& backend();

// The numbers of the chips that a device string names ("sophon", "sophon:N", "sophon:N,M,...",
// "sophon:all"), of `count` in this machine. Throws Error(kUsage).
std::vector<int> chip_numbers(const std::string& device, int count);

// Opens the bmodel files of one model, in any order; which is which follows from their inputs and
// outputs: a caption network, a match network, or the vision encoder, question encoder and answer
// decoder of visual question answering. Throws Error(kUsage | kIo | kModel | kDevice).
Loaded load(const std::vector<std::string>& bmodels, const std::string& device,
            CompiledVocabulary words);
// Opens the networks of a compiled folder.
Loaded load(const Manifest& manifest, const std::string& device);

// What the manifest says of the model.
ModelInfo info_of(const Manifest& manifest);

// The chips of this machine; none without the vendor's runtime.
std::vector<DeviceInfo> list_devices();

}  // namespace blip::backend::sophon
