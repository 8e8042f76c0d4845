// Which model to load.
#pragma once

#include <string>

namespace blip::cli {

// The given path; without one $BLIP_MODEL; without that the bundled model beside the program. Throws Exit(3) when there is none.
std::string find_model(const std::string& given);

}  // namespace blip::cli
