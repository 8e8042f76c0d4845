// LoRA adapters, as the peft package saves them: low-rank changes of a base model's matrices, merged when it is loaded.
//
//   adapter_config.json                               kind, rank, scale, base model
//   adapter_model.safetensors | adapter_model.bin     base_model.model.MODULE.lora_A.weight [r, in], .lora_B.weight [out, r]
//
// W + scale B A, scale = alpha / r, or alpha / sqrt(r) with use_rslora. Tensors without lora_ in their names (biases, modules_to_save)
// replace those of the base.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "io/tensor_file.h"
#include "model/disk.h"

namespace blip::model {

bool holds_adapter(const std::string& folder);

// Where a model's tensors are, and what is merged into them.
struct Location {
  std::string model, adapter;  // paths; adapter "" = none
};
// path: a model (or its name, in the cache), or a folder with an adapter, whose base is then looked for as transformers does: by the name or path that it
// states, in the cache, else beside it. adapter: a folder or a name in the cache, "" = none given. Throws Error(kIo | kModel | kUsage).
Location locate(const std::string& path, const std::string& adapter);

// The base that an adapter's folder states, "NAME@REVISION" where it states one; "" where the folder has no adapter.
std::string stated_base(const std::string& folder);

struct AdapterSettings {
  std::string base, revision;  // of the base model: a name or a path; "" = not told
  double alpha = 8;
  int rank = 8;
  bool rank_stabilized = false;
  // By the end of a module's name (a regular expression of a safe kind): other ranks and alphas.
  std::vector<std::pair<std::string, double>> alphas;
  std::vector<std::pair<std::string, int>> ranks;

  // What multiplies B A for a module of this rank. Throws Error(kModel) where the rank is not the one stated.
  double scale(const std::string& module, int stored_rank, const std::string& where) const;
};

// Throws Error(kModel) for what changes answers and is not understood (DoRA, other kinds of adapters), by its key.
AdapterSettings parse_adapter_json(std::string_view text, const std::string& where);

class Adapter {
 public:
  // Reads the folder's two files. Throws Error(kIo | kModel).
  explicit Adapter(const std::string& folder);

  const AdapterSettings& settings() const { return settings_; }
  // Puts merged tensors in the place of the base's. They are f32 and live as long as this object.
  // Throws Error(kModel) where a tensor of the adapter fits nothing in the base.
  void merge(DiskTensors& base);

 private:
  struct Change;
  void apply(DiskTensors& base, const std::string& module, const Change& change);
  void put(DiskTensors& base, const std::string& name, std::vector<float> values);

  std::string where_;
  AdapterSettings settings_;
  std::unique_ptr<io::TensorFile> file_;
  std::vector<std::unique_ptr<std::vector<float>>> merged_;
};

}  // namespace blip::model
