// The CPU backend: a model in f32, bfloat16 or 8 bits on this machine's cores.
#pragma once

#include "backend/registry.h"

namespace blip::backend::cpu {

// What the registry knows of this machine's cores.
const Backend& backend();

}  // namespace blip::backend::cpu
