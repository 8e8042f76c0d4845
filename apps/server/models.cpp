#include "server/models.h"

#include "server/problem.h"

namespace blip::server {

bool can(const ModelInfo& info, Task task) {
  switch (task) {
    case Task::kCaption: return info.can_caption;
    case Task::kMatch: return info.can_match_itm || info.can_match_itc;
    case Task::kAsk: return info.can_ask;
    case Task::kRank: return info.can_rank;
    case Task::kEmbedImage:
    case Task::kEmbedTexts: return info.can_match_itc;
  }
  return false;
}

Model& Models::choose(const std::string& name, Task task) const {
  for (const auto& model : models_) {
    if (name.empty() ? !can(model->engine.info(), task) : model->name != name) continue;
    if (!can(model->engine.info(), task)) throw Problem(kUnsupportedTask, "model \"" + name + "\" cannot " + to_string(task) + "; see /v1/models");
    return *model;
  }
  if (name.empty()) throw Problem(kUnsupportedTask, std::string("no loaded model can ") + to_string(task) + "; see /v1/models");
  throw Problem(kModelNotFound, "no model \"" + name + "\"; see /v1/models");
}

}  // namespace blip::server
