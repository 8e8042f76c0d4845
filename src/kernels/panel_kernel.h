// What the bodies of the product over panels (gemm_panels-inl.h) and what calls them
// (gemm_panels.cpp) know of each other.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/vector.h"

namespace blip::kernels {

// Columns of a packed panel; a unit of them, 4 bytes each, is a line.
inline constexpr int kPanel = 16;
inline constexpr std::size_t kPanelUnit = 64;

// What sums of floats begin with.
alignas(kPanelUnit) inline constexpr char kZeros[kPanelUnit] = {};

// Up to so many rows, two panels are read at a time: with one or two sums of each a multiply-add
// would wait for the one before.
inline constexpr int kFewRows = 2;

// Some rows by some panels, over a block of units. More than one panel: for kFewRows at most.
struct PanelBlock {
  int rows, panels, units;
  const char* x;  // [rows, units] as pack_row leaves them, ldx bytes apart
  std::size_t ldx;
  std::size_t plane;  // bytes to a second copy of each, where there is one
  const char* panel;  // [panels, units, 16] of 4 bytes, panel_stride and unit_stride bytes apart
  std::size_t panel_stride, unit_stride;
  // what the first panel's sums begin with (16 of 4 bytes); null: with those that are there
  const char* start;
  std::size_t start_stride;        // to the next panel's; 0: the same
  const std::int32_t* row_starts;  // if set, instead: one of each row
  char* sums;                      // [rows, 16 x panels] of 4 bytes
  std::size_t lds;                 // bytes
  // So many bytes ahead of what is read are fetched, a line of each panel at every unit; or 0.
  std::size_t ahead;
  // If set, a line of this memory is fetched for each line of x, and the rows ahead.
  const char* next;
};

// One number type's product on one instruction set.
struct PanelKernel {
  int rows;          // of a register tile
  int planes;        // of x: 1, or 2 where it takes twice the memory
  int step;          // bytes from a unit of x to the next
  bool fast;         // by instructions for this type
  bool signed_rows;  // bytes of x are multiplied less 128, so that sums begin with 128 times the
                     // column's
  // Values [k], in whole units, as the product reads them; null: x is read as it is.
  void (*pack_row)(const void* x, int k, char* out, std::size_t plane);
  void (*multiply)(const PanelBlock& block);
  Chain (*chain)(int rounds);
};

// Of this machine.
const PanelKernel& panel_kernel_of(NumberType type);
// Queries, bytes 128 above theirs, by keys that are too. Where not signed_rows, a row's sums begin
// with -128 times the sum of the query.
const PanelKernel& key_kernel();

// Of bytes, by AVX-VNNI or by the same instructions of AVX-512 on vectors as short; where the
// machine has either.
const PanelKernel& vnni_panels();
const PanelKernel& vnni_keys();

}  // namespace blip::kernels
