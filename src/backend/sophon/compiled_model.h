// Models in the form of the vendor's samples: whole tasks compiled into a network, or into the
// stages of question answering.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "backend/sophon/chips.h"
#include "backend/sophon/fixed_decoding.h"
#include "backend/sophon/runtime.h"

namespace blip::backend::sophon {

// Throws Error(kIo | kModel | kDevice).
std::shared_ptr<const ChipModel> load_compiled(const std::shared_ptr<Device>& device,
                                               const std::vector<std::string>& bmodels,
                                               CompiledVocabulary words);

}  // namespace blip::backend::sophon
