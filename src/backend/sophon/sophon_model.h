// Models compiled for SOPHON chips.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "backend/towers.h"

namespace blip::backend::sophon {

struct Loaded {
  std::shared_ptr<const Model> model;
  ModelInfo info;
};

// "sophon", "sophon:N".
bool is_device_name(const std::string& device);

// Opens the bmodel files of one model, in any order; which is which follows from their inputs and outputs: a caption network,
// a match network, or the vision encoder, question encoder and answer decoder of visual question answering.
// Throws Error(kUsage | kIo | kModel | kDevice).
Loaded load(const std::vector<std::string>& bmodels, const std::string& device, SpecialIds ids);

// The chips of this machine; none without the vendor's runtime.
std::vector<DeviceInfo> list_devices();

}  // namespace blip::backend::sophon
