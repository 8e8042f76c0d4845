// From a path to open tensor files: what a user may point at, and where adapters, JSON and
// vocabulary files lie.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "io/tensor_file.h"
#include "model/settings.h"

namespace blip::model {

// Where a model is, and the folders of the LoRA adapters to merge into it.
struct Location {
  std::string model;
  std::vector<std::string> adapters;
  std::vector<std::string> names;  // of the adapters: as given, or their folders'
  std::string ignored;  // adapter_config.json beside a model that is one file by itself; "" = none
};

// path: a model, or a folder with an adapter, or a name of either in the cache (blip/hub.h). As in
// transformers, an adapter that lies beside a whole model is of it; an adapter without one is of
// the base that it states. adapters: those that are given besides, by folder or name. Throws
// Error(kIo | kModel | kUsage), which say what was looked for.
Location locate(const std::string& path, const std::vector<std::string>& adapters);

// The base that the adapter in a folder states, where that is not beside it; else "".
std::string stated_base(const std::string& folder);

struct Source {
  std::string path;    // the file (or index) opened, for messages
  std::string folder;  // where config.json and the vocabulary are looked for
  std::string
      name;  // what to call the model where no metadata says: the folder's or the file's name
  std::string format;  // "safetensors", "torch", "gguf"
  std::vector<std::unique_ptr<io::TensorFile>> files;
};

// Throws Error(kIo) where nothing can be read and Error(kModel) where what is there is no
// checkpoint.
Source open_source(const std::string& path);

// config.json, generation_config.json and the settings of the pictures of the folder. Throws
// Error(kModel) where config.json is missing.
Settings load_settings(const std::string& folder, const std::string& model_file);

}  // namespace blip::model
