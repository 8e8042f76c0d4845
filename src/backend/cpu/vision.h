// The vision tower: ViT, pre-norm.
#pragma once

#include <span>
#include <vector>

#include "backend/cpu/weights.h"
#include "core/thread_pool.h"
#include "ops/attention.h"

namespace blip::backend::cpu {

// Activations of a session, reused between calls.
struct VisionScratch {
  AlignedArray<float> patches, context;
  ops::OperandBuffer normed, qkv, mixed, hidden;
  std::vector<ops::KeyValues> kv;  // of a batch
};

// pixels [B, 3, S, S] -> tokens [B N, D], every token after the final LayerNorm.
void vision_forward(ThreadPool& pool, const VisionWeights& weights, std::span<const float> pixels,
                    int batch, Matrix tokens, VisionScratch& scratch);

}  // namespace blip::backend::cpu
