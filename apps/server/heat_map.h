// A word's attention laid over its picture.
#pragma once

#include <span>
#include <string>

#include "blip/blip.h"

namespace blip::server {

// The picture, at most kHeatMapSide pixels along an edge, under the weights [side, side]: untouched
// where they are 0, red to yellow where they are largest. A PNG file's bytes.
inline constexpr int kHeatMapSide = 1024;
std::string heat_map_png(const Image& picture, std::span<const float> weights, int side);

}  // namespace blip::server
