// The CPU backend: a model in f32, bfloat16 or 8 bits on this machine's cores.
#pragma once

#include <memory>

#include "backend/registry.h"
#include "model/checkpoint.h"

namespace blip::backend::cpu {

// Loads every part of the checkpoint, which may be dropped afterwards. Throws Error(kUsage) for a dtype this build or
// machine cannot run.
std::unique_ptr<Model> load(const model::Checkpoint& checkpoint, const EngineOptions& options);

// What the registry knows of this machine's cores.
const Backend& backend();

}  // namespace blip::backend::cpu
