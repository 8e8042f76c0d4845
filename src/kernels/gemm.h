// Matrix products: our own kernels for AMX tiles (gemm_amx.h), AVX-512 (gemm_avx512.h) and
// everything else (gemm_panels.h); gemm.cpp chooses.
//
// Every call computes one tile on the calling thread, and ops/linear.h spreads the tiles over our
// pool, so that --threads, containers and several sessions are respected.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "core/worker_scratch.h"

namespace blip::kernels {

// Number types of a product's factors.
//   kF32:  float x float
//   kBf16: bfloat16 (the upper half of a float, as uint16_t) x bfloat16, summed in float
//   kInt8: uint8 x int8, summed in int32
enum class NumberType { kF32, kBf16, kInt8 };
inline constexpr std::size_t size_of(NumberType type) {
  return type == NumberType::kF32 ? 4 : type == NumberType::kBf16 ? 2 : 1;
}

// What happens to a product before it is stored.
enum class Epilogue {
  kStore,  // out = x W + b
  kGelu,   // out = gelu(x W + b), exact (erf)
  kAdd,    // out += x W + b
};

inline constexpr int kColumnBlock = 64;

// How weights lie in memory.
//   kPlain:  as the products take them.
//   k12Bit: bfloat16 in 12 bits (bf16_12bit.h), unpacked while a product reads them. A quarter
//            less memory to read, which is what a product of few rows takes its time for. Other
//            types, and rows of an odd number of values, stay plain.
//   kOrdered: plain, but bfloat16 products add up as AVX-512's do on ARM too, not by its matrix
//            instructions: for layers of a model that is to be the same bits everywhere.
enum class Packing { kPlain, k12Bit, kOrdered };

// The right factor of a product. Immutable once every row of the layer is packed.
class PackedWeights {
 public:
  PackedWeights() = default;
  PackedWeights(NumberType type, int n, int k, Packing packing = Packing::kPlain);

  // rows: [count, k] of a layer's [n, k] weight as torch stores it, from row `first` on (a multiple
  // of kColumnBlock), values of the number type (float, uint16_t or int8_t). Threads may pack
  // different rows at once.
  void pack(int first, int count, const void* rows);

  NumberType type() const { return type_; }
  int n() const { return n_; }
  int k() const { return k_; }
  Packing packing() const { return packing_; }
  bool blocked() const { return blocked_; }
  std::span<const char> memory() const {
    return {reinterpret_cast<const char*>(data_.get()), bytes_};
  }                                      // all of them, packed
  const void* columns(int first) const;  // first: a multiple of kColumnBlock
  std::size_t bytes() const { return bytes_; }

 private:
  NumberType type_ = NumberType::kF32;
  int n_ = 0, k_ = 0;
  Packing packing_ = Packing::kPlain;
  // True: [n / 64, k / u, 16, 64, 4 bytes of consecutive k], zero-padded, where u = 16 x values in
  // 4 bytes: what our AVX-512 and AMX products read. False: panels (gemm_panels.h). 12-bit weights
  // are the same for both.
  bool blocked_ = false;
  std::size_t block_bytes_ = 0;  // of kColumnBlock columns
  std::size_t bytes_ = 0;
  std::shared_ptr<std::byte> data_;
};

// Which of a tile's blocks of columns are wanted: so that others can take some over while the tile
// is computed.
class ColumnBlocks {
 public:
  static constexpr int kNone = 0x7fffffff;
  // The first of the next block's columns, less the tile's first; kNone: no more.
  virtual int next() = 0;

 protected:
  ~ColumnBlocks() = default;
};

// One tile: out[m, n] = epilogue(x[m, k] W[:, first : first + n] + bias[n]). Rows of x are k values
// apart, rows of out ldo values. kInt8: the product is x_scales[row] * w_scales[column] * sum of
// bytes - x_offsets[row] * w_sums[column].
struct GemmTile {
  int m, n;
  const void* x;
  const PackedWeights* w;
  int first = 0;
  const float* x_scales = nullptr;   // kInt8: [m]
  const float* x_offsets = nullptr;  // kInt8: [m]
  const float* w_scales = nullptr;   // kInt8: [n], of column `first` and on, as the next two
  const float* w_sums = nullptr;     // kInt8: [n]
  const float* bias = nullptr;       // may be null
  void* out;                         // float, or bfloat16 (uint16_t) with out_bf16
  std::size_t ldo;
  Epilogue epilogue = Epilogue::kStore;  // kAdd: not with out_bf16
  bool out_bf16 = false;
  Scratch scratch;                 // of the calling thread
  ColumnBlocks* blocks = nullptr;  // null: all, in order
};
// For the loop over blocks, which ends with a column that is not below n.
inline int first_column(const GemmTile& t) { return t.blocks ? t.blocks->next() : 0; }
inline int next_column(const GemmTile& t, int column) {
  return t.blocks ? t.blocks->next() : column + kColumnBlock;
}

// The number type whose products take the least time here.
NumberType fastest_type();

void gemm(const GemmTile& tile);

// How many rows are best shared among threads: in multiples of `unit` (the kernel's tile), so many
// shares a thread at least, and of about `rows` rows where that is set.
struct RowShares {
  int unit, per_thread, rows = 0;
};
RowShares row_shares(NumberType type, int rows, int k);

}  // namespace blip::kernels
