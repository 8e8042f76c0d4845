// The kinds of devices that models run on. Each is a Backend, found by the word that device strings
// begin with: "sophon" of "sophon:0,1". The library's own are listed in registry.cpp; a program may
// add more with a Registration, before it loads a model. Thread-safe.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "model/checkpoint.h"
#include "text/tokenizer.h"

namespace blip::backend {

// A device string in its parts: "sophon:0,1" is {"sophon:0,1", "sophon", "0,1"}, "cpu" has no
// place.
struct DeviceName {
  std::string text, kind;
  std::optional<std::string> place;
};
DeviceName parse_device_name(const std::string& text);

// What a model is loaded from.
struct LoadRequest {
  DeviceName device;
  std::string path;  // "" where device options name the model
  const EngineOptions& options;

  // The values of a device option, in the order in which they were given.
  std::vector<std::string> values_of(const std::string& option) const;
};

// A model on its device, with what the sessions above it need.
struct Loaded {
  std::shared_ptr<const Model> model;
  ModelInfo info;
  model::ModelConfig config;
  std::unique_ptr<const text::Tokenizer> tokenizer;
};

class Backend {
 public:
  virtual ~Backend() = default;

  // Its name, device strings and options; lives as long as the backend.
  virtual const DeviceKind& kind() const = 0;
  // The devices of this machine; none where there are none, or no runtime for them. Throws Error.
  virtual std::vector<DeviceInfo> devices() const = 0;

  // The number types that models of weights can be computed in, f32 first; none where models are
  // compiled in one. Throws Error where the machine cannot say.
  virtual std::vector<DType> dtypes() const { return {}; }

  // Backends with model files of their own: the device for such a file or folder, "" for any other.
  // inspect: what it holds, nullopt where that is not told without loading it. verify: its files
  // against the digests that came with it, nullopt where there are none. Throws Error.
  virtual std::string device_for(const std::string& /*path*/) const { return {}; }
  virtual std::optional<ModelInfo> inspect(const std::string& /*path*/) const { return {}; }
  virtual std::optional<std::vector<FileCheck>> verify(const std::string& /*path*/) const {
    return {};
  }

  // The device's kind is this one, and the options are among kind().options. Throws Error: kUsage
  // or kDevice for a place that is none, kUnsupported for a path that this backend cannot open.
  virtual Loaded load(const LoadRequest& request) const = 0;
};

// The library's own in their order, then those that were added.
std::vector<const Backend*> backends();
// Throws Error(kDevice), which says what there is.
const Backend& find_backend(const DeviceName& device);
// The one that this path has a format of; null for what is no model file of a backend's own.
const Backend* owner_of(const std::string& path);

// Adds a backend for the rest of the program. Its name must be new.
class Registration {
 public:
  explicit Registration(const Backend& backend);
};

// For backends that compute models of weights: opens the checkpoint with the request's adapters and
// fills in everything but the model, which `make` loads. Throws Error.
Loaded load_checkpoint(
    const LoadRequest& request,
    const std::function<std::shared_ptr<const Model>(const model::Checkpoint&)>& make);
// What a backend can do that computes all parts of a model of weights.
Capabilities capabilities_of(const model::ModelConfig& config);

}  // namespace blip::backend
