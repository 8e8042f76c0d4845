// From a path to open tensor files: what a user may point at, and where the JSON and vocabulary files lie.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "io/tensor_file.h"
#include "model/settings.h"

namespace blip::model {

struct Source {
  std::string path;    // the file (or index) opened, for messages
  std::string folder;  // where config.json and the vocabulary are looked for
  std::string name;    // what to call the model where no metadata says: the folder's or the file's name
  std::string format;  // "safetensors", "torch", "gguf"
  std::vector<std::unique_ptr<io::TensorFile>> files;
};

// Throws Error(kIo) where nothing can be read and Error(kModel) where what is there is no checkpoint.
Source open_source(const std::string& path);

// config.json, generation_config.json and the settings of the pictures of the folder. Throws Error(kModel) where config.json is
// missing, and for what refuse_adapter refuses.
Settings load_settings(const std::string& folder, const std::string& model_file);

// An adapter (LoRA) beside a model changes its answers. Throws Error(kModel) naming the file where there is one.
void refuse_adapter(const std::string& folder);

}  // namespace blip::model
