#include "backend/sophon/stages.h"

#include <filesystem>

#include "backend/sophon/manifest.h"
#include "blip/error.h"
#include "model/settings.h"

namespace blip::backend::sophon {
namespace {

bool is_picture(const Port& port) {
  const abi::Shape& s = port.shape;
  return port.dtype == abi::DataType::kF32 && s.num_dims == 4 && s.dims[0] == 1 && s.dims[1] == 3 &&
         s.dims[2] == s.dims[3] && s.dims[2] >= 1 && s.dims[2] <= model::kMaxImage;
}

// [1, N, D]
bool is_states(const Port& port) {
  return port.dtype == abi::DataType::kF32 && port.shape.num_dims == 3 && port.shape.dims[0] == 1;
}

// Token ids or a mask, [1, T]; compilers make them integers or floats.
bool is_ids(const Port& port) {
  return (port.dtype == abi::DataType::kF32 || port.dtype == abi::DataType::kI32) &&
         port.shape.num_dims == 2 && port.shape.dims[0] == 1 && port.shape.dims[1] > 1;
}

bool is_text(std::span<const Port> ports) {
  return ports.size() == 2 && is_ids(ports[0]) && is_ids(ports[1]) &&
         ports[0].elements() == ports[1].elements();
}

bool is_probability(const Port& port) {
  return port.dtype == abi::DataType::kF32 && port.elements() == 1;
}

bool same_shape(const Port& a, const Port& b) {
  if (a.shape.num_dims != b.shape.num_dims) return false;
  for (int i = 0; i < a.shape.num_dims; ++i)
    if (a.shape.dims[i] != b.shape.dims[i]) return false;
  return true;
}

void require_fit(const Network& from, const Network& to) {
  if (same_shape(from.outputs()[0], to.inputs()[0])) return;
  throw Error(ErrorCode::kModel, to.path() + " does not belong to " + from.path() +
                                     ": it expects " + to.inputs()[0].text() +
                                     ", the other gives " + from.outputs()[0].text() +
                                     "; give bmodels of one model");
}

}  // namespace

const char* to_string(Role role) {
  switch (role) {
    case Role::kCaption:
      return "caption network";
    case Role::kMatch:
      return "match network";
    case Role::kVision:
      return "vision encoder";
    case Role::kQuestion:
      return "question encoder";
    case Role::kAnswer:
      return "answer decoder";
  }
  return "network";
}

Role find_role(const std::string& path, const std::string& signature, std::span<const Port> inputs,
               std::span<const Port> outputs) {
  if (outputs.size() == 1 && !inputs.empty()) {
    const Port& in = inputs[0];
    const Port& out = outputs[0];
    if (inputs.size() == 1 && is_picture(in) && is_ids(out)) return Role::kCaption;
    if (inputs.size() == 1 && is_picture(in) && is_states(out)) return Role::kVision;
    if (inputs.size() == 1 && is_states(in) && is_ids(out)) return Role::kAnswer;
    if (is_text(inputs.subspan(1)) && is_picture(in) && is_probability(out)) return Role::kMatch;
    if (is_text(inputs.subspan(1)) && is_states(in) && is_states(out)) return Role::kQuestion;
  }
  if (const auto folder = std::filesystem::path(path).parent_path();
      is_compiled_folder(folder.string()))
    throw Error(ErrorCode::kModel, path + " is a part of a compiled folder: give the folder, " +
                                       (folder.empty() ? "." : folder.string()));
  throw Error(ErrorCode::kModel, path + " is no BLIP network of a known form: " + signature +
                                     "; see docs/SOPHON.md for those that are");
}

Stages arrange(const std::vector<NetworkPtr>& networks) {
  Stages stages;
  std::string found;
  for (const NetworkPtr& network : networks) {
    const Role role =
        find_role(network->path(), network->signature(), network->inputs(), network->outputs());
    NetworkPtr& place = stages.networks[static_cast<std::size_t>(role)];
    if (place)
      throw Error(ErrorCode::kModel,
                  network->path() + " is a " + to_string(role) +
                      (network->path() == place->path() ? ", twice: it is named twice, or holds two"
                                                        : ", and so is " + place->path()) +
                      "; give one of each");
    place = network;
    found += (found.empty() ? "" : ", ") + network->path() + " (" + to_string(role) + ")";
  }
  const bool whole_task = stages[Role::kCaption] || stages[Role::kMatch];
  if (whole_task && networks.size() == 1) return stages;
  for (const Role role : {Role::kVision, Role::kQuestion, Role::kAnswer}) {
    if (whole_task || !stages[role])
      throw Error(ErrorCode::kModel,
                  "these bmodels are not one model: " + (found.empty() ? "none" : found) +
                      "; give a caption network or a match network alone, or the vision encoder, "
                      "question encoder "
                      "and answer decoder together" +
                      (whole_task ? "" : ": the " + std::string(to_string(role)) + " is missing"));
  }
  require_fit(*stages[Role::kVision], *stages[Role::kQuestion]);
  require_fit(*stages[Role::kQuestion], *stages[Role::kAnswer]);
  return stages;
}

}  // namespace blip::backend::sophon
