// Models in the form of the vendor's samples: whole tasks compiled into a network, or into the
// stages of question answering.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "backend/sophon/runtime.h"
#include "backend/staged_runner.h"

namespace blip::backend::sophon {

// Throws Error(kIo | kModel | kDevice).
std::shared_ptr<const Model> load_compiled(const std::shared_ptr<Device>& device,
                                           const std::vector<std::string>& bmodels, SpecialIds ids);

}  // namespace blip::backend::sophon
