// Engine: a loaded model on a device.
#include <chrono>
#include <filesystem>
#include <tuple>
#include <utility>

#include "api/impl.h"
#include "backend/cpu/cpu_model.h"
#include "backend/sophon/sophon_model.h"
#include "blip/error.h"
#include "blip/hub.h"
#include "hub/cache.h"
#include "model/checkpoint.h"
#include "model/source.h"
#include "model/tokenizer_files.h"
#include "model/vocabulary.h"

namespace blip {
namespace {

void check(const EngineOptions& options) {
  if (options.threads < 0 || options.threads > kMaxThreads)
    throw Error(ErrorCode::kUsage, "threads must be 1 to " + std::to_string(kMaxThreads) + ", or 0 for every core; got " + std::to_string(options.threads));
  const bool sophon = backend::sophon::is_device_name(options.device);
  if (options.device != "cpu" && !sophon) throw Error(ErrorCode::kDevice, "unknown device \"" + options.device + "\"; this build has: cpu, sophon:N, sophon:N,M, sophon:all");
  if (!sophon && !options.bmodels.empty())
    throw Error(ErrorCode::kUsage, "bmodels run on a SOPHON chip: the device must be sophon or sophon:N, not " + options.device);
  if (!sophon && !options.tokenizer.empty())
    throw Error(ErrorCode::kUsage,
                "tokenizer has no effect on " + options.device +
                    ": a model file brings its own vocabulary; only compiled models take one");
}

bool is_bmodel(const std::string& path) { return path.ends_with(".bmodel"); }

text::Vocabulary read_vocabulary(const std::string& path) {
  if (path.empty()) return text::official_vocabulary(text::bundled_tokens());
  text::Vocabulary vocabulary;
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    auto folder = model::load_vocabulary(path);
    if (!folder) throw Error(ErrorCode::kModel, path + " has neither vocab.txt nor tokenizer.json");
    vocabulary = std::move(folder->vocabulary);
  } else {
    vocabulary = model::read_vocabulary_file(path);
  }
  text::add_blip_tokens(vocabulary);
  return vocabulary;
}

// The vocabulary of a compiled folder; one given besides must say the same.
std::unique_ptr<text::Tokenizer> folder_tokenizer(const backend::sophon::Manifest& m, const EngineOptions& options) {
  auto tokenizer = std::make_unique<text::Tokenizer>(text::official_vocabulary(backend::sophon::read_vocabulary(m)));
  const auto& special = tokenizer->special();
  const auto refuse = [&](const std::string& what, int got, int expected) {
    throw Error(ErrorCode::kModel, m.path + ": " + what + " is " + std::to_string(expected) + ", but " + std::to_string(got) + " by " + m.vocabulary_file);
  };
  if (tokenizer->size() != m.vocabulary_size) refuse("vocabulary.size", tokenizer->size(), m.vocabulary_size);
  for (const auto& [name, got, expected] : {std::tuple{"pad", special.pad, m.pad}, {"cls", special.cls, m.cls}, {"sep", special.sep, m.sep}, {"dec", special.dec, m.dec}, {"enc", special.enc, m.enc}})
    if (got != expected) refuse(std::string("special.") + name, got, expected);
  if (!options.tokenizer.empty() && read_vocabulary(options.tokenizer) != tokenizer->vocabulary())
    throw Error(ErrorCode::kModel, options.tokenizer + " is another vocabulary than the one " + m.folder + " was compiled with; leave it out");
  return tokenizer;
}

}  // namespace

ModelInfo info_of(const model::Checkpoint& checkpoint, const std::string& path) {
  ModelInfo info = checkpoint.info();
  std::filesystem::path folder = std::filesystem::path(path).lexically_normal();
  if (!folder.has_filename()) folder = folder.parent_path();
  const std::string name = hub::name_of_snapshot(folder);
  if (!name.empty() && info.name == folder.filename())
    info.name = name;  // nothing in its files says better
  return info;
}

const char* to_string(DType dtype) {
  switch (dtype) {
    case DType::kAuto: return "auto";
    case DType::kF32: return "f32";
    case DType::kBf16: return "bf16";
    case DType::kInt8: return "int8";
    case DType::kF16: return "f16";
  }
  return "unknown";
}

DType parse_dtype(const std::string& name) {
  for (const DType dtype : {DType::kAuto, DType::kF32, DType::kBf16, DType::kInt8, DType::kF16})
    if (name == to_string(dtype)) return dtype;
  throw Error(ErrorCode::kUsage, "unknown dtype \"" + name + "\"; use auto, f32, bf16 or int8, or f16 with a model compiled so");
}

std::string adapter_base(const std::string& folder) { return model::stated_base(folder); }

const char* version() { return BLIP_VERSION; }

std::shared_ptr<Engine::Impl> Engine::Impl::load_folder(const std::string& path, const EngineOptions& options) {
  const auto manifest = backend::sophon::read_manifest(path);
  if (options.dtype != DType::kAuto && to_string(options.dtype) != manifest.dtype)
    throw Error(ErrorCode::kUsage, path + " is compiled in " + manifest.dtype + ", not " + to_string(options.dtype) + "; leave the type out or compile another");
  auto impl = std::make_shared<Impl>();
  impl->tokenizer = folder_tokenizer(manifest, options);
  auto loaded = backend::sophon::load(manifest, options.device);
  impl->info = std::move(loaded.info);
  impl->info.vocab_size = impl->tokenizer->size();
  impl->config.normalization = manifest.normalization;
  impl->config.prompt = manifest.prompt;
  impl->config.tokens = {manifest.dec, manifest.sep, manifest.pad, manifest.enc};
  impl->model = std::move(loaded.model);
  impl->device = options.device;
  return impl;
}

std::shared_ptr<Engine::Impl> Engine::Impl::load_compiled(const std::string& path, const EngineOptions& options) {
  std::vector<std::string> bmodels = options.bmodels;
  if (bmodels.empty()) {
    if (backend::sophon::is_compiled_folder(path)) return load_folder(path, options);
    if (!is_bmodel(path))
      throw Error(ErrorCode::kUnsupported, options.device + " runs compiled models (.bmodel, or a folder with manifest.json), not " + path + "; see docs/SOPHON.md");
    bmodels.push_back(path);
  }
  auto impl = std::make_shared<Impl>();
  impl->tokenizer = std::make_unique<text::Tokenizer>(read_vocabulary(options.tokenizer));
  const auto& special = impl->tokenizer->special();
  auto loaded = backend::sophon::load(bmodels, options.device, {special.dec, special.sep, special.pad});
  impl->info = std::move(loaded.info);
  impl->info.vocab_size = impl->tokenizer->size();
  impl->config.tokens = {special.dec, special.sep, special.pad, special.enc};
  model::describe_tokens(impl->config, impl->info);
  impl->model = std::move(loaded.model);
  impl->device = options.device;
  return impl;
}

Engine Engine::load(const std::string& given, const EngineOptions& options) {
  check(options);
  const std::string path = options.bmodels.empty() ? require_model(given) : given;
  if (backend::sophon::is_device_name(options.device) && !options.adapters.empty())
    throw Error(ErrorCode::kUnsupported,
                "a compiled model takes no adapter; merge it before: `blip convert --adapter`, "
                "then compile that");
  if (backend::sophon::is_device_name(options.device)) return Engine(Impl::load_compiled(path, options));
  if (is_bmodel(path) || backend::sophon::is_compiled_folder(path)) throw Error(ErrorCode::kUsage, path + " is compiled for a SOPHON chip: choose one with the device sophon or sophon:N");
  const auto checkpoint = model::Checkpoint::open(path, options.adapters);
  auto impl = std::make_shared<Impl>();
  impl->info = info_of(checkpoint, path);
  impl->config = checkpoint.config();
  impl->tokenizer = std::make_unique<text::Tokenizer>(checkpoint.vocabulary());
  impl->device = options.device;
  try {
    impl->model = backend::cpu::load(checkpoint, options);
  } catch (const Error&) {
    checkpoint.check_unchanged();  // what a file lost while it was read may look like a fault of the model
    throw;
  }
  checkpoint.check_unchanged();
  return Engine(std::move(impl));
}

const ModelInfo& Engine::info() const { return impl_->info; }
DType Engine::dtype() const { return impl_->model->dtype(); }
int Engine::threads() const { return impl_->model->threads(); }
const std::string& Engine::device() const { return impl_->device; }

Image Engine::prepare(const Image& image) const {
  const auto started = std::chrono::steady_clock::now();
  const int size = impl_->model->capabilities().image_size;
  auto resized = image::resize_bicubic(image.impl_->rgb, size, size);
  const std::chrono::duration<double, std::milli> spent = std::chrono::steady_clock::now() - started;
  return Image(std::make_shared<const Image::Impl>(Image::Impl{std::move(resized), image.impl_->prepare_ms + spent.count()}));
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

std::string Engine::decode(std::span<const std::int32_t> token_ids) const { return impl_->tokenizer->decode(token_ids); }

std::vector<NetworkUse> Engine::networks() const { return impl_->model->networks(); }

std::vector<DeviceInfo> devices() {
  std::vector<DeviceInfo> list{{"cpu", backend::cpu::describe_cpu()}};
  for (auto& device : backend::sophon::list_devices()) list.push_back(std::move(device));
  return list;
}

ModelInfo inspect(const std::string& given) {
  const std::string path = require_model(given);
  if (backend::sophon::is_compiled_folder(path)) return backend::sophon::info_of(backend::sophon::read_manifest(path));
  return info_of(model::Checkpoint::open(path), path);
}

}  // namespace blip
