// BLIP in double precision and plain loops, as a backend for tests: the device "reference". It is
// what the other backends are compared with, and the shortest example of a backend.
#pragma once

#include "backend/registry.h"

namespace blip::reference {

const backend::Backend& backend();

}  // namespace blip::reference
