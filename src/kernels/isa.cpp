#include "kernels/isa.h"

#include <array>
#include <cstdlib>
#include <string>

#include "blip/error.h"
#include "kernels/isa_machine.h"

namespace blip::kernels {
namespace {

// In the order of Isa.
constexpr std::array<const char*, 11> kNames{"baseline",    "avx2",        "avx2_vnni", "avx512",
                                             "avx512_vnni", "avx512_bf16", "amx",       "neon",
                                             "dotprod",     "i8mm",        "bf16"};

Isa parse(const std::string& name) {
  std::string names;
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    if (name == kNames[i]) return static_cast<Isa>(i);
    if (machine_has(static_cast<Isa>(i)))
      names += (names.empty() ? "" : ", ") + std::string(kNames[i]);
  }
  throw Error(ErrorCode::kUsage,
              std::string(kForceIsaVariable) + "=" + name + " is unknown; use one of " + names);
}

Isa force(const std::string& name) {
  const Isa wanted = parse(name);
  if (!machine_has(wanted))
    throw Error(ErrorCode::kUsage, std::string(kForceIsaVariable) + "=" + name +
                                       ": this machine lacks it, its best is " +
                                       to_string(machine_isa()));
  limit_vectors(wanted);
  return wanted;
}

}  // namespace

const char* to_string(Isa isa) { return kNames[static_cast<std::size_t>(isa)]; }

Isa isa() {
  static const Isa chosen = [] {
    // NOLINTNEXTLINE(concurrency-mt-unsafe): nothing here writes the environment.
    const char* name = std::getenv(kForceIsaVariable);
    return name && *name ? force(name) : machine_isa();
  }();
  return chosen;
}

}  // namespace blip::kernels
