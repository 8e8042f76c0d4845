// Where there is no choice of vector instructions: what the compiler was told to use.
#include <cstdlib>
#include <string>

#include "blip/error.h"
#include "kernels/isa.h"

namespace blip::kernels {

const char* to_string(Isa) { return "baseline"; }

Isa isa() {
  static const Isa chosen = [] {
    // NOLINTNEXTLINE(concurrency-mt-unsafe): nothing here writes the environment.
    const char* name = std::getenv(kForceIsaVariable);
    if (name && *name && std::string(name) != to_string(Isa::kBaseline))
      throw Error(ErrorCode::kUsage, std::string(kForceIsaVariable) + "=" + name + ": this machine lacks it, its best is baseline");
    return Isa::kBaseline;
  }();
  return chosen;
}

}  // namespace blip::kernels
