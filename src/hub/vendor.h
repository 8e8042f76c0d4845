// The compiled models that the chips' vendor publishes with its BLIP sample: "sophon-demo/bm1684x".
// They are on no hub.
#pragma once

#include <string>
#include <vector>

#include "hub/name.h"

namespace blip::hub {

// Their names, one for each chip.
const std::vector<std::string>& vendor_names();

// Throws Error(kUnsupported) for a name of theirs, with the commands that fetch the files; does
// nothing for another.
void refuse_vendor_model(const Name& name);

}  // namespace blip::hub
