// Matrix products on processors without kernels of their own (kernels/gemm.h): panels, float only.
#include <cassert>

#include "core/large_memory.h"
#include "kernels/gemm.h"
#include "kernels/gemm_panels.h"

namespace blip::kernels {

PackedWeights::PackedWeights(NumberType type, int n, int k, Packing) : type_(type), n_(n), k_(k), bytes_(panel_bytes(n, k)), data_(allocate_zeros(bytes_)) {
  assert(type == NumberType::kF32);
}

void PackedWeights::pack(int first, int count, const void* rows) {
  assert(first % kColumnBlock == 0 && first + count <= n_);
  pack_panels(count, k_, static_cast<const float*>(rows), static_cast<float*>(const_cast<void*>(columns(first))));
}

const void* PackedWeights::columns(int first) const {
  assert(first % kColumnBlock == 0);
  return data_.get() + static_cast<std::size_t>(first) * static_cast<std::size_t>(k_) * sizeof(float);
}

RowShares row_shares(NumberType, int, int) { return {kPanelRowUnit, 2}; }
bool gemm_supports(NumberType type) { return type == NumberType::kF32; }
void gemm(const GemmTile& t) { gemm_panels(t); }

}  // namespace blip::kernels
