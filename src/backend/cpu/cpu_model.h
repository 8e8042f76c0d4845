// The CPU backend: a model in f32, bfloat16 or 8 bits on this machine's cores.
#pragma once

#include <memory>

#include "backend/backend.h"
#include "model/checkpoint.h"

namespace blip::backend::cpu {

// Loads every part of the checkpoint, which may be dropped afterwards. Throws Error(kUsage) for a dtype this build or
// machine cannot run.
std::unique_ptr<Model> load(const model::Checkpoint& checkpoint, const EngineOptions& options);

// "AMD ...; 2 threads; AVX3_DL"
std::string describe_cpu();

}  // namespace blip::backend::cpu
