// LoRA adapters, as the peft package saves them: low-rank changes of a base model's matrices,
// merged when it is loaded.
//
//   adapter_config.json                               kind, rank, scale, base model
//   (model/adapter_settings.h) adapter_model.safetensors | adapter_model.bin
//   base_model.model.MODULE.lora_A.weight [r, in], .lora_B.weight [out, r]
//
// W + scale B A, scale = alpha / r, or alpha / sqrt(r) with use_rslora. Tensors without lora_ in
// their names (biases, modules_to_save) replace those of the base. Answers are those of
// transformers, which keeps base and change apart: an output matrix that is tied to the word
// embeddings does not follow a change of those, nor they a change of it.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "io/tensor_file.h"
#include "model/adapter_settings.h"
#include "model/tensor_table.h"

namespace blip::model {

using TensorMap = std::map<std::string, io::TensorView, std::less<>>;  // by canonical name

class Adapter {
 public:
  // Reads the folder's two files. Throws Error(kIo | kModel).
  explicit Adapter(const std::string& folder);

  const AdapterSettings& settings() const { return settings_; }
  const std::string& where() const { return where_; }  // the file of tensors, for messages
  const io::TensorFile& file() const { return *file_; }

 private:
  AdapterSettings settings_;
  std::string where_;
  std::unique_ptr<io::TensorFile> file_;
};

// Merges adapters into the tensors of a model, one after the other.
class AdapterMerger {
 public:
  // table: the model's tensors under transformers' names, by which adapters call them. All must
  // outlive it.
  AdapterMerger(TensorMap& tensors, const std::vector<TensorSpec>& table,
                std::vector<std::string>& warnings);

  // Throws Error(kModel) where a tensor of the adapter fits nothing in the model, and where two
  // adapters cannot both have their way. Warns of what the adapter's settings name and its file
  // does not hold.
  void merge(const Adapter& adapter);

  // What the merged tensors, which are f32, are views of.
  std::vector<std::vector<float>> take_values() { return std::move(values_); }

 private:
  // The factors of one module. Of an embedding, lora_embedding_A is [r, rows] and lora_embedding_B
  // [width, r].
  struct Change {
    const io::TensorView *a = nullptr, *b = nullptr, *bias = nullptr;
    bool linear = false, embedding = false;  // by the names of the factors
  };
  struct Parts {
    std::map<std::string, Change> changes;                      // by module
    std::map<std::string, const io::TensorView*> replacements;  // by transformers' name
  };

  static Parts sort_tensors(const Adapter& adapter);
  void replace(const Adapter& adapter, const Parts& parts, bool own_copies);
  void apply(const Adapter& adapter, const std::string& module, const Change& change);
  void add_bias(const Adapter& adapter, const std::string& module, const io::TensorView& bias,
                double scale);
  void warn_of_missing(const Adapter& adapter, const Parts& parts);

  const TensorSpec* find(const std::string& name) const;
  const TensorSpec& required(const Adapter& adapter, const std::string& name) const;
  // What holds the tensor's values: an output matrix that is not there is the word embeddings.
  const TensorSpec& stored(const TensorSpec& spec) const;
  const io::TensorView& old_values(const TensorSpec& spec) const;
  void untie(const TensorSpec& words);
  void claim(const Adapter& adapter, const TensorSpec& spec, bool whole);
  void put(const Adapter& adapter, const TensorSpec& spec, std::vector<float> values);

  TensorMap& tensors_;
  const std::vector<TensorSpec>& table_;
  std::vector<std::string>& warnings_;
  std::map<std::string, const TensorSpec*, std::less<>> by_name_;
  std::map<std::string, const Adapter*> replaced_,
      changed_;  // by canonical name: which adapter was the last to
  std::vector<std::vector<float>> values_;
};

}  // namespace blip::model
