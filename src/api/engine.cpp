// Engine: a loaded model on a device.
#include <utility>

#include "api/impl.h"
#include "backend/cpu/cpu_model.h"
#include "blip/error.h"
#include "model/checkpoint.h"

namespace blip {
namespace {

constexpr int kMaxThreads = 1024;

void check(const EngineOptions& options) {
  if (options.threads < 0 || options.threads > kMaxThreads)
    throw Error(ErrorCode::kUsage, "threads must be 1 to " + std::to_string(kMaxThreads) + ", or 0 for every core; got " + std::to_string(options.threads));
  if (options.device != "cpu") throw Error(ErrorCode::kDevice, "unknown device \"" + options.device + "\"; this build has: cpu");
}

}  // namespace

const char* to_string(DType dtype) {
  switch (dtype) {
    case DType::kAuto: return "auto";
    case DType::kF32: return "f32";
    case DType::kBf16: return "bf16";
    case DType::kInt8: return "int8";
  }
  return "unknown";
}

DType parse_dtype(const std::string& name) {
  for (const DType dtype : {DType::kAuto, DType::kF32, DType::kBf16, DType::kInt8})
    if (name == to_string(dtype)) return dtype;
  throw Error(ErrorCode::kUsage, "unknown dtype \"" + name + "\"; use auto, f32, bf16 or int8");
}

const char* version() { return BLIP_VERSION; }

Engine Engine::load(const std::string& path, const EngineOptions& options) {
  check(options);
  const auto checkpoint = model::Checkpoint::open(path);
  auto impl = std::make_shared<Impl>();
  impl->info = checkpoint.info();
  impl->config = checkpoint.config();
  impl->tokenizer = std::make_unique<text::Tokenizer>(checkpoint.vocabulary());
  impl->device = options.device;
  impl->model = backend::cpu::load(checkpoint, options);
  return Engine(std::move(impl));
}

const ModelInfo& Engine::info() const { return impl_->info; }
DType Engine::dtype() const { return impl_->model->dtype(); }
int Engine::threads() const { return impl_->model->threads(); }
const std::string& Engine::device() const { return impl_->device; }

std::vector<DeviceInfo> devices() { return {{"cpu", backend::cpu::describe_cpu()}}; }

ModelInfo inspect(const std::string& path) { return model::Checkpoint::open(path).info(); }

}  // namespace blip
