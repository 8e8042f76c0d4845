// A folder of compiled networks as a model: the stages of every task on the chip, decoding on the
// host.
#pragma once

#include <memory>

#include "backend/backend.h"
#include "backend/sophon/chips.h"
#include "backend/sophon/manifest.h"
#include "backend/sophon/runtime.h"

namespace blip::backend::sophon {

Capabilities capabilities_of(const Manifest& manifest);

// Throws Error(kIo | kModel | kDevice).
std::shared_ptr<const ChipModel> load_folder(const std::shared_ptr<Device>& device,
                                             const Manifest& manifest);

}  // namespace blip::backend::sophon
