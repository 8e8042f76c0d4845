// The tensors of a checkpoint under the names its files give them, and what kind of model they
// make.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "io/tensor_file.h"
#include "model/settings.h"
#include "model/tensor_table.h"

namespace blip::model {

// Views by on-disk name, without the names of what the model was wrapped into when it was saved.
class DiskTensors {
 public:
  explicit DiskTensors(std::string where) : where_(std::move(where)) {}
  // Adds every tensor of a file. A name two files hold is Error(kModel).
  void add(const io::TensorFile& file);
  // Takes off the prefix that the names of a BLIP share, whatever it is ("model.",
  // "base_model.model.", "net."), with what lies beside it, and the levels that torch's wrappers
  // add anywhere ("module.", "_orig_mod."). Several prefixes, and two names that become one, are
  // Error(kModel). Call once, after the last add.
  void strip_wrappers();

  const std::string& where() const { return where_; }  // the checkpoint, for messages
  const io::TensorView* find(std::string_view name) const;
  bool any_with_prefix(std::string_view prefix) const;
  // 1 + the largest number that follows `prefix`, 0 if there is none. Throws Error(kModel) above
  // kMaxLayers.
  int count_layers(const std::string& prefix) const;
  const std::map<std::string, io::TensorView, std::less<>>& all() const { return tensors_; }

 private:
  using Tensors = std::map<std::string, io::TensorView, std::less<>>;
  void replace(Tensors tensors);

  std::string where_;
  Tensors tensors_;
};

// Shape without the leading ones by which layouts differ ([1, N, D] and [N, D]), down to `rank`
// dimensions.
std::vector<std::int64_t> squeezed(const std::vector<std::int64_t>& shape, std::size_t rank);

// Throws Error(kModel) where the names are those of no BLIP we know.
Layout detect_layout(const DiskTensors& disk);

// Which tower plays which role (not for kCanonical, whose names say it).
struct Roles {
  PartPrefixes prefixes;
  bool itm = false, itc = false;
};
Roles detect_roles(const DiskTensors& disk, Layout layout, Architecture architecture);

// The configuration: sizes from the tensors, the rest from the settings. Where tensors contradict
// each other the majority counts, so that the check against the tensor table then names the odd one
// out. Throws Error(kModel) where the settings state another size than the tensors have, naming the
// key and a tensor.
ModelConfig infer_config(const DiskTensors& disk, Layout layout, const Roles& roles,
                         const Settings& settings);

// Relations that every configuration must keep, whatever it was read from. Throws Error(kModel)
// naming `where`.
void validate(const ModelConfig& config, const std::string& where);

}  // namespace blip::model
