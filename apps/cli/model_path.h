// Which model a command line means, and how its files come here.
#pragma once

#include <string>
#include <vector>

#include "blip/hub.h"
#include "cli/console.h"

namespace blip::cli {

struct HubFlags {
  bool update = false, offline = false;
};

// What was given, else $BLIP_MODEL; "" without either.
std::string given_model(const std::string& given);

// With the program's progress, warnings and Ctrl-C.
HubOptions hub_options(const HubFlags& flags, Console& console);

// The path that Engine::load and convert take: what was given, where it exists; else the model of
// that name, downloaded where the cache lacks it; without one, $BLIP_MODEL, the first of the
// adapters, whose base is then looked for, or the bundled model. The base of an adapter is
// downloaded with it. Throws Exit.
std::string model_path(const std::string& given, const HubFlags& flags, Console& console,
                       const std::vector<std::string>& adapters = {});

// The same for adapters, which do without their bases. Empty where none is given.
std::vector<std::string> adapter_paths(const std::vector<std::string>& given, const HubFlags& flags,
                                       Console& console);

// The same for pull: `name` is known to be given.
std::string pull_model(const std::string& name, const HubFlags& flags, Console& console);

// Downloads the base model of an adapter at this path, where it is one whose base has a name.
// Throws Exit.
void pull_base(const std::string& path, const HubFlags& flags, Console& console);

}  // namespace blip::cli
