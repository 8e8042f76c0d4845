// Our own product over panels of 16 columns: for processors without AVX-512, and for the number
// types that one with AVX-512 has no instructions for. A row's sums are added up in the same order
// whatever the rows beside it and the columns computed with it, and sums of bytes are exact: the
// same on every instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/gemm.h"
#include "kernels/vector.h"

namespace blip::kernels {

// Bytes of kColumnBlock columns of k values.
std::size_t panel_block_bytes(NumberType type, Packing packing, int k);

// rows: [count, k] as torch stores them, of the type; count is at most kColumnBlock; packing: not
// k12Bit. out:
// panel_block_bytes() of zeros.
void pack_panels(NumberType type, Packing packing, int count, int k, const void* rows, void* out);

// Whether the kernel of a type takes two units of a column as one: 16 columns of both lie in their
// two lines, [16, 2] of 4 bytes, in panels and in 12-bit weights alike. join_units puts them so,
// [n, columns] of 4 bytes where n is even.
bool joins_units(NumberType type);
void join_units(int n, int columns, std::uint32_t* units);

// Rows of k values that are best multiplied by a panel before the next.
int panel_rows_at_once(NumberType type, int k);

// tile.w holds panels, or 12-bit weights.
void gemm_panels(const GemmTile& tile);

// How many of its rows share a panel, on any instruction set: a multiple of it.
inline constexpr int kPanelRowUnit = 12;

// Whether bytes are multiplied by vectors of them, so that they are the fastest type; plain code is
// faster in floats.
bool has_fast_bytes();

// For measuring: `rounds` of a register tile's products as gemm_panels multiplies this type, in
// registers.
Chain panel_chain(NumberType type, int rounds);

}  // namespace blip::kernels
