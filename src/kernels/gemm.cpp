#include "kernels/gemm.h"

#include <algorithm>
#include <cassert>
#include <cstdint>
#include <cstring>

#include "core/aligned.h"
#include "core/large_memory.h"
#include "kernels/bf16_12bit.h"
#include "kernels/gemm_amx.h"
#include "kernels/gemm_avx512.h"
#include "kernels/gemm_panels.h"
#include "kernels/isa.h"
#include "kernels/vector.h"

namespace blip::kernels {
namespace {

constexpr std::size_t kUnit = 4;  // bytes: one float, two bfloat16 or four bytes

bool fits_12bit(NumberType type, int k) { return type == NumberType::kBf16 && k % 2 == 0; }

// Units of 4 bytes in a row, in whole lines.
int padded_units(NumberType type, int k) {
  constexpr int kLine = 64;
  return round_up(k * static_cast<int>(size_of(type)), kLine) / static_cast<int>(kUnit);
}

// Of kColumnBlock columns.
std::size_t block_bytes(NumberType type, int k, Packing packing) {
  const int units = padded_units(type, k);
  if (packing != Packing::k12Bit && !has_avx512_gemm(type))
    return panel_block_bytes(type, packing, k);
  return packing == Packing::k12Bit
             ? block_bytes_12bit(units)
             : static_cast<std::size_t>(units) * sizeof(std::uint32_t) * kColumnBlock;
}

// Rows that end within a unit, completed by zeros. In the tile's scratch.
const void* whole_units(const GemmTile& t) {
  const std::size_t used = static_cast<std::size_t>(t.w->k()) * size_of(t.w->type()),
                    whole = (used + kUnit - 1) / kUnit * kUnit;
  char* rows = t.scratch.get<char>(ScratchUse::kWholeRows, static_cast<std::size_t>(t.m) * whole);
  char* to = rows;
  for (int r = 0; r < t.m; ++r, to += whole) {
    std::memcpy(to, static_cast<const char*>(t.x) + static_cast<std::size_t>(r) * used, used);
    std::memset(to + used, 0, whole - used);
  }
  return rows;
}

}  // namespace

PackedWeights::PackedWeights(NumberType type, int n, int k, Packing packing)
    : type_(type),
      n_(n),
      k_(k),
      packing_(packing == Packing::k12Bit && !fits_12bit(type, k) ? Packing::kPlain : packing),
      blocked_(has_avx512_gemm(type)),
      block_bytes_(block_bytes(type, k, packing_)),
      bytes_(static_cast<std::size_t>((n + kColumnBlock - 1) / kColumnBlock) * block_bytes_),
      data_(allocate_zeros(bytes_)) {}

void PackedWeights::pack(int first, int count, const void* rows) {
  assert(first % kColumnBlock == 0 && first + count <= n_);
  auto* out = const_cast<void*>(columns(first));
  const std::size_t row_bytes = static_cast<std::size_t>(k_) * size_of(type_);
  for (int j = 0; j < count; j += kColumnBlock) {
    const auto* block =
        static_cast<const std::byte*>(rows) + static_cast<std::size_t>(j) * row_bytes;
    auto* to =
        static_cast<std::byte*>(out) + static_cast<std::size_t>(j / kColumnBlock) * block_bytes_;
    if (packing_ != Packing::k12Bit && !blocked_) {
      pack_panels(type_, packing_, std::min(kColumnBlock, count - j), k_, block, to);
    } else if (packing_ == Packing::k12Bit) {
      const int n = padded_units(type_, k_);
      AlignedArray<std::uint32_t> units(static_cast<std::size_t>(n) * kColumnBlock, 0u);
      pack_units(block, std::min(kColumnBlock, count - j), row_bytes, units.data(), kColumnBlock);
      if (!blocked_ && joins_units(type_)) join_units(n, kColumnBlock, units.data());
      pack_12bit(units.data(), n, to);
    } else {
      pack_units(block, std::min(kColumnBlock, count - j), row_bytes,
                 reinterpret_cast<std::uint32_t*>(to), kColumnBlock);
    }
  }
}

const void* PackedWeights::columns(int first) const {
  assert(first % kColumnBlock == 0);
  return data_.get() + static_cast<std::size_t>(first / kColumnBlock) * block_bytes_;
}

NumberType fastest_type() { return has_fast_bytes() ? NumberType::kInt8 : NumberType::kF32; }

// With one share a thread, weights are read once by each. In f32 half of 577 rows do not fit the L2
// cache: two shares.
RowShares row_shares(NumberType type, int rows, int k) {
  constexpr int kTile = 16, kVectorRows = 6;
  if (has_amx_gemm(type, rows, k)) return {kTile, 1};
  if (!has_avx512_gemm(type)) return {kPanelRowUnit, 1, panel_rows_at_once(type, k)};
  return {kVectorRows, type == NumberType::kF32 ? 2 : 1};
}

// Which product serves a row may depend on how many there are, its bits must not: the sums of one
// type and one k have the same order in all of them.
void gemm(const GemmTile& t) {
  assert((t.w->type() == NumberType::kInt8) == (t.x_scales != nullptr) &&
         !(t.out_bf16 && t.epilogue == Epilogue::kAdd));
  const NumberType type = t.w->type();
  if (!t.w->blocked()) return gemm_panels(t);
  if (has_amx_gemm(type, t.m, t.w->k())) return gemm_amx(t);
  const SumOrder order = has_tile_order(type, t.w->k()) ? SumOrder::kTiles : SumOrder::kUnits;
  if (static_cast<std::size_t>(t.w->k()) * size_of(type) % kUnit == 0) return gemm_avx512(t, order);
  GemmTile whole = t;
  whole.x = whole_units(t);
  gemm_avx512(whole, order);
}

}  // namespace blip::kernels
