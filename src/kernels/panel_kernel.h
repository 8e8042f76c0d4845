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

// Some rows by some panels, over a block of units. Two panels: for few_rows of the kernel at most.
struct PanelBlock {
  int rows, panels, units;
  const char* x;  // [rows, units] as pack_row leaves them, groups of rows ldx bytes apart
  std::size_t ldx;
  std::size_t plane;  // bytes to a second copy of each, where there is one
  // [panels, units, 16] of 4 bytes or PanelKernel::lines times that, panel_stride and unit_stride
  // bytes apart
  const char* panel;
  std::size_t panel_stride, unit_stride;
  // what the first panel's sums begin with (16 of 4 bytes); null: with those that are there
  const char* start;
  std::size_t start_stride;        // to the next panel's; 0: the same
  const std::int32_t* row_starts;  // and of each row, where the kernel has row_starts
  char* sums;                      // [rows, 16 x panels] of 4 bytes; the rows of whole groups
  std::size_t lds;                 // bytes
  // So many bytes ahead of what is read are fetched, a line of each panel at every unit, by the
  // first rows; or 0.
  std::size_t ahead;
  // If set, a line of this memory is fetched for each line of x, and the rows ahead.
  const char* next;
  // Which unit of x goes with each of the panel's, where the kernel is paired; the first 2 x pairs
  // of them two by two.
  const std::uint16_t* order = nullptr;
  int pairs = 0;
};

// PanelKernel::few_rows where two panels are best at any number of rows.
inline constexpr int kAnyRows = 1 << 30;

// What most policies (gemm_panels-inl.h) have in common: see PanelKernel.
struct SingleUnits {
  static constexpr int kGroup = 1, kLines = 1, kFewRows = 2;
  static constexpr bool kJoined = false, kRowStarts = false, kPaired = false;
};

// One number type's product on one instruction set.
struct PanelKernel {
  int rows;  // of a register tile
  // Up to so many rows, two panels are read at a time: with one or two sums of each a multiply-add
  // would wait for the one before. Less than `rows`, two panels of one row, or kAnyRows; 0: never.
  int few_rows;
  int group;         // 1; or 2 rows of x that lie together, 8 bytes of each in turn
  int lines;         // units of 4 bytes that are one to this kernel, with a line each: 1 or 2
  bool joined;       // where the two of a column lie together (join_units)
  int planes;        // of x: 1, or 2 where it takes twice the memory
  int step;          // bytes from a unit of x to the next of a row or group
  bool fast;         // by instructions for this type
  bool signed_rows;  // bytes of x are multiplied less 128, so that sums begin with 128 times the
                     // column's
  bool row_starts;   // pack_row returns what the row's sums begin with besides
  // Of two units that fit (unit_pairs.h), products are added in 16 bits before they are widened.
  // Panels have units in an order of their own, and are read one at a time.
  bool paired;
  // Values [k], in whole units, as the product reads them, the row's first bytes at `out`. Null: x
  // is read as it is.
  std::int32_t (*pack_row)(const void* x, int k, char* out, std::size_t plane);
  void (*multiply)(const PanelBlock& block);
  Chain (*chain)(int rounds);
};

// Of this machine.
// Ordered: bfloat16 with the sums of AVX-512's products, in their order, on every instruction set.
const PanelKernel& panel_kernel_of(NumberType type, bool ordered = false);
// Queries, bytes 128 above theirs, by keys that are too.
const PanelKernel& key_kernel();

// By Highway's vectors; not on ARM64.
const PanelKernel& vector_panels(NumberType type);
const PanelKernel& vector_keys();

// On ARM64, by the best that isa() allows.
const PanelKernel& arm_panels(NumberType type, bool ordered = false);
const PanelKernel& arm_keys();

// Of bytes, by AVX-VNNI or by the same instructions of AVX-512 on vectors as short; where the
// machine has either.
const PanelKernel& vnni_panels();
const PanelKernel& vnni_keys();

}  // namespace blip::kernels
