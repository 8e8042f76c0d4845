// One checkpoint to one GGUF file: blip convert, and blip pull --to.
#pragma once

#include <string>
#include <vector>

#include "cli/console.h"

namespace blip::cli {

struct Conversion {
  std::string source, destination, type;
  std::vector<std::string> adapters{};
};

// The words of --type.
std::vector<std::string> convert_types();

// Converts with progress and reports; the exit code. Throws Exit.
int write_converted(const Conversion& conversion, Console& console);

}  // namespace blip::cli
