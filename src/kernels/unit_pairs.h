// Which units of a panel of bytes may be added up in 16 bits before they are widened: see
// PanelKernel::paired.
#pragma once

#include <cstdint>

#include "kernels/panel_kernel.h"

namespace blip::kernels {

inline constexpr int kPairedUnitsMax = 1 << 10;

// units: [n, kPanel] of four weights each, n at most kPairedUnitsMax. order: [n], the pairs that
// fit whatever x is, whose number is returned, and behind them the units that are left alone.
int pair_units(const std::uint32_t* units, int n, std::uint16_t* order);

}  // namespace blip::kernels
