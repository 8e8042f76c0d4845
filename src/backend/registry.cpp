#include "backend/registry.h"

#include <algorithm>
#include <cassert>
#include <mutex>
#include <utility>

#include "backend/cpu/cpu_model.h"
#include "backend/sophon/sophon_model.h"
#include "blip/error.h"
#include "model/checkpoint.h"

namespace blip::backend {
namespace {

// A static library's objects are linked only where something names them: here is what does.
struct Registry {
  std::mutex mutex;
  std::vector<const Backend*> all{&cpu::backend(), &sophon::backend()};
};

Registry& registry() {
  static Registry one;
  return one;
}

}  // namespace

DeviceName parse_device_name(const std::string& text) {
  const std::size_t colon = text.find(':');
  if (colon == std::string::npos) return {text, text, std::nullopt};
  return {text, text.substr(0, colon), text.substr(colon + 1)};
}

std::vector<std::string> LoadRequest::values_of(const std::string& option) const {
  std::vector<std::string> values;
  for (const DeviceOption& given : options.device_options)
    if (given.name == option) values.push_back(given.value);
  return values;
}

std::vector<const Backend*> backends() {
  const std::lock_guard lock(registry().mutex);
  return registry().all;
}

const Backend& find_backend(const DeviceName& device) {
  std::string known;
  for (const Backend* backend : backends()) {
    const DeviceKind& kind = backend->kind();
    if (kind.name == device.kind && (kind.numbered || !device.place)) return *backend;
    known += (known.empty() ? "" : ", ") + kind.forms;
  }
  throw Error(ErrorCode::kDevice,
              "unknown device \"" + device.text + "\"; this build has: " + known);
}

const Backend* owner_of(const std::string& path) {
  for (const Backend* backend : backends())
    if (!backend->device_for(path).empty()) return backend;
  return nullptr;
}

Registration::Registration(const Backend& backend) {
  const std::lock_guard lock(registry().mutex);
  auto& all = registry().all;
  assert(std::none_of(all.begin(), all.end(), [&](const Backend* known) {
    return known->kind().name == backend.kind().name;
  }));
  all.push_back(&backend);
}

Loaded load_checkpoint(
    const LoadRequest& request,
    const std::function<std::shared_ptr<const Model>(const model::Checkpoint&)>& make) {
  const auto checkpoint = model::Checkpoint::open(request.path, request.options.adapters);
  Loaded loaded;
  loaded.info = checkpoint.info();
  loaded.config = checkpoint.config();
  loaded.tokenizer = std::make_unique<text::Tokenizer>(checkpoint.vocabulary());
  try {
    loaded.model = make(checkpoint);
  } catch (const Error&) {
    // What a file lost while it was read may look like a fault of the model.
    checkpoint.check_unchanged();
    throw;
  }
  checkpoint.check_unchanged();
  return loaded;
}

Capabilities capabilities_of(const model::ModelConfig& config) {
  const bool answers = config.question_encoder && config.answer_decoder;
  return {.caption = config.caption_decoder.has_value(),
          .itm = config.has_itm_head,
          .itc = config.embed_dim > 0,
          .ask = answers,
          .rank = answers,
          .nlvr = config.nlvr_encoder.has_value(),
          .attention = true,
          .image_size = config.vision.image_size,
          .text_length = config.max_text,
          .max_text_length = config.max_positions()};
}

}  // namespace blip::backend
