// Which stage of which task a compiled network is.
#pragma once

#include <array>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backend/sophon/runtime.h"

namespace blip::backend::sophon {

using NetworkPtr = std::shared_ptr<const Network>;

enum class Role {
  kCaption,   // picture -> ids of the caption, prompt included
  kMatch,     // picture, ids, mask -> match probability
  kVision,    // picture -> image tokens
  kQuestion,  // image tokens, ids, mask -> question states
  kAnswer,    // question states -> ids of the answer
};
constexpr std::size_t kRoles = 5;
const char* to_string(Role role);

// By number, type and shape of what goes in and comes out, as names vary with the compiler.
// Throws Error(kModel) for a network that is no stage of BLIP.
Role find_role(const std::string& path, const std::string& signature, std::span<const Port> inputs,
               std::span<const Port> outputs);

// The networks of one model, by role; null where it has none.
struct Stages {
  std::array<NetworkPtr, kRoles> networks;
  const NetworkPtr& operator[](Role role) const { return networks[static_cast<std::size_t>(role)]; }
};

// Checks that the networks make one model and that their shapes go together. Throws Error(kModel).
Stages arrange(const std::vector<NetworkPtr>& networks);

}  // namespace blip::backend::sophon
