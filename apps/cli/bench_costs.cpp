#include "cli/bench_costs.h"

#include <algorithm>
#include <cassert>

namespace blip::cli {

Costs::Costs(const ModelInfo& info, DType dtype)
    : info_(info),
      weight_bytes_(dtype == DType::kInt8 ? 1 : dtype == DType::kBf16 ? 2 : 4),
      text_weight_bytes_(dtype == DType::kBf16 ? 1.5 : weight_bytes_),
      cache_bytes_(dtype == DType::kF32 ? 4 : 2) {
  const double side = static_cast<double>(info.image_size) / std::max(info.patch_size, 1);
  tokens_ = side * side + 1;
}

const PartInfo& Costs::part(const std::string& name) const {
  const auto it = std::find_if(info_.parts.begin(), info_.parts.end(), [&](const PartInfo& p) { return p.name == name; });
  assert(it != info_.parts.end());
  return *it;
}

// Per layer: q, k, v and output [D, 4 D], two of [D, mlp], and the products of attention.
Cost Costs::vision(int batch) const {
  const PartInfo& v = part("vision");
  const double d = v.width, patch = 3.0 * info_.patch_size * info_.patch_size * d, layer = 4 * d * d + 2 * d * v.mlp;
  return {batch * (2 * (tokens_ - 1) * patch + v.layers * (2 * tokens_ * layer + 4 * tokens_ * tokens_ * d)), weight_bytes_ * (patch + v.layers * layer)};
}

Cost Costs::cross(const std::string& name) const {
  const PartInfo& t = part(name);
  const double weights = 2.0 * t.width * part("vision").width * t.layers;
  return {2 * tokens_ * weights, weight_bytes_ * weights};
}

// Per layer: self q, k, v, output [D, 4 D]; cross q and output [D, 2 D]; two of [D, mlp]; attention over the text and the image. Over the image's tokens
// themselves two more of [D, vision D], every head as wide as a token, and the same tokens for all layers.
Cost Costs::text(const std::string& name, int rows, int per_row, int seen, Over over) const {
  const PartInfo& t = part(name);
  const double wide = part("vision").width, d = t.width, all = static_cast<double>(rows) * per_row;
  const bool tokens = over == Over::kTokens;
  const double layer = 6 * d * d + 2 * d * t.mlp + (tokens ? 2 * d * wide : 0), read = tokens ? t.heads * wide : d;
  const double image_bytes = cache_bytes_ * 2 * tokens_ * (tokens ? wide : t.layers * d);
  return {t.layers * (2 * all * layer + 4 * all * (d * seen + read * tokens_)),
          t.layers * (text_weight_bytes_ * layer + cache_bytes_ * 2 * d * static_cast<double>(rows) * seen) + image_bytes};
}

Cost Costs::vocabulary(const std::string& name, int rows) const {
  const double d = part(name).width, weights = d * (info_.vocab_size + d);
  return {2 * rows * weights, text_weight_bytes_ * weights};
}

}  // namespace blip::cli
