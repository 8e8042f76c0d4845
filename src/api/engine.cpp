// Engine: a loaded model on a device.
#include <algorithm>
#include <filesystem>
#include <utility>

#include "api/impl.h"
#include "backend/registry.h"
#include "blip/error.h"
#include "blip/hub.h"
#include "core/large_memory.h"
#include "core/zone.h"
#include "hub/cache.h"
#include "model/checkpoint.h"
#include "model/source.h"

namespace blip {
namespace {

// Where an option belongs that this kind does not take.
std::string whose_option(const DeviceKind& kind, const std::string& option) {
  for (const backend::Backend* other : backend::backends())
    if (other->kind().option_named(option)) return ": the device must be " + other->kind().forms;
  if (kind.options.empty()) return ", which takes no options of its own";
  return "; it takes " + kind.option_names();
}

// The device's kind takes these options. Whether they name the model, in place of a path.
bool check_device_options(const DeviceKind& kind, const EngineOptions& options) {
  bool names_model = false;
  for (const DeviceOption& given : options.device_options) {
    const DeviceOptionInfo* known = kind.option_named(given.name);
    if (known == nullptr)
      throw Error(ErrorCode::kUsage, given.name + " has no effect on " + options.device +
                                         whose_option(kind, given.name));
    names_model = names_model || known->names_model;
  }
  return names_model;
}

// Under the name by which a model in the hub's cache is known, where its files say nothing better.
ModelInfo named(ModelInfo info, const std::string& path) {
  std::filesystem::path folder = std::filesystem::path(path).lexically_normal();
  if (!folder.has_filename()) folder = folder.parent_path();
  const std::string name = hub::name_of_snapshot(folder);
  if (!name.empty() && info.name == folder.filename()) info.name = name;
  return info;
}

}  // namespace

void check_threads(int threads) {
  if (threads < 0 || threads > kMaxThreads)
    throw Error(ErrorCode::kUsage, "threads must be 1 to " + std::to_string(kMaxThreads) +
                                       ", or 0 for every core; got " + std::to_string(threads));
}

ModelInfo info_of(const model::Checkpoint& checkpoint, const std::string& path) {
  return named(checkpoint.info(), path);
}

std::string adapter_base(const std::string& folder) { return model::stated_base(folder); }

const char* version() { return BLIP_VERSION; }

const DeviceOptionInfo* DeviceKind::option_named(const std::string& option) const {
  const auto known = std::find_if(options.begin(), options.end(),
                                  [&](const DeviceOptionInfo& one) { return one.name == option; });
  return known == options.end() ? nullptr : &*known;
}

std::string DeviceKind::option_names() const {
  std::string list;
  for (const DeviceOptionInfo& option : options) list += (list.empty() ? "" : ", ") + option.name;
  return list;
}

const DeviceKind& device_kind(const std::string& device) {
  return backend::find_backend(backend::parse_device_name(device)).kind();
}

std::vector<DType> device_dtypes(const std::string& device) {
  return backend::find_backend(backend::parse_device_name(device)).dtypes();
}

std::string device_for(const std::string& path) {
  const backend::Backend* owner = backend::owner_of(path);
  return owner ? owner->device_for(path) : EngineOptions().device;
}

Engine Engine::load(const std::string& given, const EngineOptions& options) {
  const StageZone zone("load");
  check_threads(options.threads);
  const backend::DeviceName device = backend::parse_device_name(options.device);
  const backend::Backend& backend = backend::find_backend(device);
  const bool named_by_options = check_device_options(backend.kind(), options);
  const std::string path = named_by_options ? given : require_model(given);
  const backend::Backend* owner = named_by_options ? nullptr : backend::owner_of(path);
  if (owner && owner != &backend)
    throw Error(ErrorCode::kUsage, path + " runs on " + owner->kind().name +
                                       " alone: choose one of its devices, " + owner->kind().forms);
  auto loaded = backend.load({device, path, options});
  auto impl = std::make_shared<Impl>();
  impl->info = named(std::move(loaded.info), path);
  impl->config = std::move(loaded.config);
  impl->tokenizer = std::move(loaded.tokenizer);
  impl->model = std::move(loaded.model);
  impl->device = options.device;
  return Engine(std::move(impl));
}

const ModelInfo& Engine::info() const { return impl_->info; }
DType Engine::dtype() const { return impl_->model->dtype(); }
int Engine::threads() const { return impl_->model->threads(); }
const std::string& Engine::device() const { return impl_->device; }

Image Engine::prepare(const Image& image) const {
  StageZone zone("prepare");
  const int size = impl_->model->capabilities().image_size;
  auto resized = image::resize_bicubic(image.impl_->rgb, size, size);
  return Image(std::make_shared<const Image::Impl>(
      Image::Impl{std::move(resized), image.impl_->prepare_ms + zone.finish()}));
}

std::size_t Engine::count_tokens(const std::string& text) const {
  constexpr std::size_t kAround = 2;  // [CLS] and [SEP]
  return impl_->tokenizer->encode(text).ids.size() - kAround;
}

// The prompt's first token becomes [DEC] and its [SEP] is dropped.
backend::TokenIds Engine::Impl::caption_start(const std::string& prompt) const {
  backend::TokenIds ids = tokenizer->encode(prompt).ids;
  ids.front() = config.tokens.bos;
  ids.pop_back();
  return ids;
}

std::size_t Engine::caption_prompt_tokens(const std::optional<std::string>& prompt) const {
  return impl_->caption_start(impl_->prompt_of(prompt)).size();
}

std::size_t Engine::answer_prompt_tokens() const { return impl_->answer_start().size(); }

std::string Engine::decode(std::span<const std::int32_t> token_ids) const {
  return impl_->tokenizer->decode(token_ids);
}

std::size_t Engine::spare_bytes() const { return impl_->model->spare_bytes(); }
std::size_t Engine::trim() const { return impl_->model->trim() + trim_arenas(); }
std::size_t kept_bytes() { return kept_arena_bytes(); }

std::vector<ExecutableUse> Engine::executables() const { return impl_->model->executables(); }

std::vector<std::string> Engine::faults() const { return impl_->model->faults(); }
bool Engine::works() const { return impl_->model->works(); }

std::vector<DeviceInfo> devices() {
  std::vector<DeviceInfo> list;
  for (const backend::Backend* backend : backend::backends())
    for (auto& device : backend->devices()) list.push_back(std::move(device));
  return list;
}

ModelInfo inspect(const std::string& given) {
  const std::string path = require_model(given);
  if (const backend::Backend* owner = backend::owner_of(path))
    if (auto info = owner->inspect(path)) return std::move(*info);
  return info_of(model::Checkpoint::open(path), path);
}

std::vector<FileCheck> verify(const std::string& given) {
  const std::string path = require_model(given);
  if (const backend::Backend* owner = backend::owner_of(path))
    if (auto checks = owner->verify(path)) return std::move(*checks);
  if (std::error_code error; !std::filesystem::exists(path, error))
    throw Error(ErrorCode::kModel, path + ": no such file or folder");
  throw Error(ErrorCode::kUnsupported,
              path +
                  " comes with no digests to verify; those of folders that "
                  "tools/sophon/build-bmodels made do");
}

}  // namespace blip
