// What a stage of BLIP costs whatever computes it: operations and bytes that must come from memory.
#pragma once

#include "blip/blip.h"

namespace blip::cli {

struct Cost {
  double operations = 0;  // products and sums count as two
  double bytes = 0;       // of weights and, while decoding, of keys and values: read once
};

// The model's sizes, from what `blip info` knows.
class Costs {
 public:
  Costs(const ModelInfo& info, DType dtype);

  Cost vision(int batch) const;
  Cost cross(const std::string& part) const;                         // one image's keys and values of a text part, all layers
  // rows texts of per_row tokens, `seen` tokens of context each; what they look at: keys and values, or the image's tokens themselves (ops/absorbed.h).
  enum class Over { kKeys, kTokens };
  Cost text(const std::string& part, int rows, int per_row, int seen, Over over) const;
  Cost vocabulary(const std::string& part, int rows) const;          // the output head over that many rows
  static Cost sum(Cost a, Cost b) { return {a.operations + b.operations, a.bytes + b.bytes}; }

 private:
  const PartInfo& part(const std::string& name) const;
  const ModelInfo& info_;
  double weight_bytes_, text_weight_bytes_, cache_bytes_;  // a value; those of text are read by few rows (kernels::Packing::kNarrow)
  double tokens_;  // image tokens
};

}  // namespace blip::cli
