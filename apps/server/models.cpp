#include "server/models.h"

#include "server/problem.h"

namespace blip::server {

bool can(const ModelInfo& info, Task task) {
  switch (task) {
    case Task::kCaption:
      return info.can_caption;
    case Task::kMatch:
      return info.can_match_itm || info.can_match_itc;
    case Task::kAsk:
      return info.can_ask;
    case Task::kRank:
      return info.can_rank;
    case Task::kEmbedImage:
    case Task::kEmbedTexts:
      return info.can_match_itc;
    case Task::kAttention:
      return info.can_attend;
    case Task::kNlvr:
      return info.can_nlvr;
  }
  return false;
}

Model& Models::choose(const std::string& name, Task task, bool attention) const {
  const auto able = [&](const Model& model) {
    return can(model.engine.info(), task) && (!attention || model.engine.info().can_attend);
  };
  const std::string work =
      std::string(to_string(task)) + (attention ? " and tell where it looked" : "");
  for (const auto& model : models_) {
    if (name.empty() ? !able(*model) : model->name != name) continue;
    if (!able(*model))
      throw Problem(kUnsupportedTask,
                    "model " + quote(name) + " cannot " + work + "; see /v1/models");
    return *model;
  }
  if (name.empty())
    throw Problem(kUnsupportedTask, "no loaded model can " + work + "; see /v1/models");
  throw Problem(kModelNotFound, "no model " + quote(name) + "; see /v1/models");
}

std::string Models::faults() const {
  std::string text;
  for (const auto& model : models_)
    for (const std::string& fault : model->engine.faults())
      text +=
          (text.empty() ? "" : "; ") + std::string("model ") + quote(model->name) + ": " + fault;
  if (text.empty()) return text;
  return text + "; the model is loaded again when the device comes back, and others go on";
}

}  // namespace blip::server
