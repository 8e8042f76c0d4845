// Learned position embeddings of the vision tower at another image size than they were trained at.
#pragma once

#include <span>
#include <vector>

namespace blip::model {

// table: [1 + from * from, width], class token first. Returns [1 + to * to, width]: the class token
// as it is, the grid resampled as torch.nn.functional.interpolate(mode="bicubic",
// align_corners=False, size=(to, to)) does.
std::vector<float> interpolate_positions(std::span<const float> table, int from, int to, int width);

}  // namespace blip::model
