#include "model/adapter.h"

#include <algorithm>
#include <filesystem>
#include <span>
#include <utility>

#include "base/file.h"
#include "blip/error.h"
#include "io/finite.h"
#include "model/disk.h"

namespace blip::model {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxConfig = std::size_t{1} << 20;
constexpr std::string_view kPrefix = "base_model.model.";

[[noreturn]] void fail(const std::string& message) { throw Error(ErrorCode::kModel, message); }

std::string file_of_tensors(const std::string& folder) {
  for (const char* name : {"adapter_model.safetensors", "adapter_model.bin"}) {
    const fs::path file = fs::path(folder) / name;
    std::error_code ignored;
    if (fs::is_regular_file(file, ignored)) return file.string();
  }
  throw Error(ErrorCode::kIo, folder +
                                  ": adapter_config.json is there, but neither "
                                  "adapter_model.safetensors nor adapter_model.bin");
}

bool is_floating(io::ElementType type) {
  using io::ElementType;
  return type == ElementType::f32 || type == ElementType::f16 || type == ElementType::bf16 ||
         type == ElementType::f64;
}

// Of a tensor of an adapter.
std::vector<float> values_of(const io::TensorView& tensor, const std::string& where) {
  if (!is_floating(tensor.type))
    fail(where + ": tensor " + tensor.name + ": expected floating-point values, got " +
         io::to_string(tensor.type));
  std::vector<float> values(tensor.count());
  tensor.to_f32(values);
  if (!io::fits(values, io::ElementType::f32))
    io::refuse_values(where, tensor, io::ElementType::f32);
  return values;
}

std::vector<float> values_of(const io::TensorView& tensor) {
  std::vector<float> values(tensor.count());
  tensor.to_f32(values);
  return values;
}

// out [rows, columns] += scale * left [rows, rank] right [rank, columns]
void add_product(std::vector<float>& out, const std::vector<float>& left,
                 const std::vector<float>& right, std::size_t rows, std::size_t rank,
                 std::size_t columns, double scale) {
  for (std::size_t i = 0; i < rows; ++i) {
    float* row = out.data() + i * columns;
    for (std::size_t k = 0; k < rank; ++k) {
      const auto factor = static_cast<float>(scale * left[i * rank + k]);
      const float* from = right.data() + k * columns;
      for (std::size_t j = 0; j < columns; ++j) row[j] += factor * from[j];
    }
  }
}

std::vector<float> transposed(const std::vector<float>& values, std::size_t rows,
                              std::size_t columns) {
  std::vector<float> out(values.size());
  for (std::size_t i = 0; i < rows; ++i)
    for (std::size_t j = 0; j < columns; ++j) out[j * rows + i] = values[i * columns + j];
  return out;
}

bool take_off(std::string& name, std::string_view end) {
  if (!name.ends_with(end) || name.size() == end.size()) return false;
  name.resize(name.size() - end.size());
  return true;
}

bool take_out(std::string& name, std::string_view part) {
  const auto at = name.find(std::string(part) + ".");
  if (at == std::string::npos) return false;
  name.erase(at, part.size());
  return true;
}

// "a, b, c, ..."
std::string first_of(const std::vector<std::string>& names) {
  constexpr std::size_t kShown = 3;
  std::string text;
  for (std::size_t i = 0; i < std::min(kShown, names.size()); ++i)
    text += (i > 0 ? ", " : "") + names[i];
  return text + (names.size() > kShown ? ", ..." : "");
}

}  // namespace

Adapter::Adapter(const std::string& folder) {
  const std::string config = (fs::path(folder) / "adapter_config.json").string();
  settings_ = parse_adapter_json(read_text(config, kMaxConfig), config);
  where_ = file_of_tensors(folder);
  file_ = where_.ends_with(".bin") ? io::open_torch(where_) : io::open_safetensors(where_);
}

AdapterMerger::AdapterMerger(TensorMap& tensors, const std::vector<TensorSpec>& table,
                             std::vector<std::string>& warnings)
    : tensors_(tensors), table_(table), warnings_(warnings) {
  for (const TensorSpec& spec : table) by_name_.emplace(spec.on_disk, &spec);
  for (const TensorSpec& spec : table) {
    if (!spec.alias.empty())
      by_name_.emplace(spec.alias, &spec);  // unless it is a tensor of its own
  }
}

const TensorSpec* AdapterMerger::find(const std::string& name) const {
  const auto it = by_name_.find(name);
  return it == by_name_.end() ? nullptr : it->second;
}

const TensorSpec& AdapterMerger::required(const Adapter& adapter, const std::string& name) const {
  const TensorSpec* spec = find(name);
  if (spec == nullptr)
    fail(adapter.where() + ": the base model has no tensor " + name +
         "; is this adapter for another model?");
  return *spec;
}

AdapterMerger::Parts AdapterMerger::sort_tensors(const Adapter& adapter) {
  Parts parts;
  std::map<std::string, const io::TensorView*> copies;
  for (const io::TensorView& tensor : adapter.file().tensors()) {
    std::string name = tensor.name;
    if (name.starts_with(kPrefix)) name.erase(0, kPrefix.size());
    const auto set = [&](const io::TensorView*& part, bool embedding) {
      part = &tensor;
      Change& change = parts.changes[name];
      (embedding ? change.embedding : change.linear) = true;
    };
    if (take_off(name, ".lora_A.weight"))
      set(parts.changes[name].a, false);
    else if (take_off(name, ".lora_B.weight"))
      set(parts.changes[name].b, false);
    else if (take_off(name, ".lora_embedding_A"))
      set(parts.changes[name].a, true);
    else if (take_off(name, ".lora_embedding_B"))
      set(parts.changes[name].b, true);
    else if (take_off(name, ".lora_B.bias"))
      parts.changes[name].bias = &tensor;
    else if (name.find(".lora_") != std::string::npos)
      fail(adapter.where() + ": tensor " + tensor.name +
           " is of a kind that is not understood; merge the adapter with peft's merge_and_unload "
           "first");
    else {
      // The module that modules_to_save put out of use.
      if (name.find(".original_module.") != std::string::npos) continue;
      // What peft has wrapped keeps its name but for this.
      const bool again = take_out(name, ".modules_to_save");
      take_out(name, ".base_layer");
      if (is_ignorable(name)) continue;
      // With bias "all", peft stores such a bias twice.
      auto& place = again ? copies : parts.replacements;
      if (!place.emplace(name, &tensor).second) fail(adapter.where() + ": two tensors for " + name);
    }
  }
  parts.replacements.merge(copies);
  return parts;
}

const TensorSpec& AdapterMerger::stored(const TensorSpec& spec) const {
  if (tensors_.contains(spec.name)) return spec;
  const std::string words = std::string(canonical_prefix(spec.part)) + ".word";
  return *std::find_if(table_.begin(), table_.end(),
                       [&](const TensorSpec& other) { return other.name == words; });
}

const io::TensorView& AdapterMerger::old_values(const TensorSpec& spec) const {
  return tensors_.at(stored(spec).name);
}

// The output matrix stays as it is.
void AdapterMerger::untie(const TensorSpec& words) {
  if (is_decoder(words.part) && words.name.ends_with(".word"))
    tensors_.emplace(std::string(canonical_prefix(words.part)) + ".head.weight",
                     tensors_.at(words.name));
}

// Low-rank changes of several adapters add up. What is stored whole is the work of one.
void AdapterMerger::claim(const Adapter& adapter, const TensorSpec& spec, bool whole) {
  const auto other = [&](const std::map<std::string, const Adapter*>& by) {
    const auto it = by.find(spec.name);
    if (it != by.end() && it->second != &adapter)
      fail(adapter.where() + ": changes " + spec.on_disk + ", as " + it->second->where() +
           " does, and one of them stores it whole (bias, modules_to_save); merge one adapter at a "
           "time");
  };
  other(replaced_);
  if (whole) other(changed_);
  (whole ? replaced_ : changed_)[spec.name] = &adapter;
}

void AdapterMerger::put(const Adapter& adapter, const TensorSpec& spec, std::vector<float> values) {
  if (!io::fits(values, io::ElementType::f32))
    fail(adapter.where() + ": merged, " + spec.on_disk +
         " has values beyond those of f32; lora_alpha or the factors are too large");
  io::TensorView view = old_values(spec);
  values_.push_back(std::move(values));
  view.name = spec.on_disk;
  view.type = io::ElementType::f32;
  view.data = std::as_bytes(std::span(values_.back()));
  tensors_.insert_or_assign(spec.name, view);
}

// own_copies: what modules_to_save names, which leaves tensors tied to it as they are; else biases
// and the like, which are written where the base model has them.
void AdapterMerger::replace(const Adapter& adapter, const Parts& parts, bool own_copies) {
  for (const auto& [name, tensor] : parts.replacements) {
    if (adapter.settings().saves(name) != own_copies) continue;
    const TensorSpec& named = required(adapter, name);
    const TensorSpec& spec = own_copies ? named : stored(named);
    const io::TensorView& old = old_values(spec);
    if (squeezed(tensor->shape, old.shape.size()) != old.shape)
      fail(adapter.where() + ": tensor " + tensor->name + " is " + tensor->describe() +
           "; the base model has " + old.describe());
    claim(adapter, spec, true);
    if (own_copies) untie(spec);
    put(adapter, spec, values_of(*tensor, adapter.where()));
  }
}

void AdapterMerger::apply(const Adapter& adapter, const std::string& module, const Change& change) {
  const std::string& where = adapter.where();
  const TensorSpec& spec = required(adapter, module + ".weight");
  if (change.a == nullptr || change.b == nullptr)
    fail(where + ": " + module + " has one of its two factors only");
  const bool table = spec.name.ends_with(".word") || spec.name.ends_with(".position");
  if (change.linear == table || change.embedding != table)
    fail(where + ": " + module + " has factors of another kind of layer than the base model's");
  if (adapter.settings().targets(module) == false)
    fail(where + ": has factors for " + module +
         ", which target_modules of adapter_config.json does not name (or exclude_modules, "
         "modules_to_save or layers_to_transform leaves out)");
  const io::TensorView &a = *change.a, &b = *change.b, &old = old_values(spec);
  const bool whole = a.shape.size() >= 2 && b.shape.size() >= 2 && old.shape.size() >= 2 &&
                     a.shape[0] >= 1 && a.shape[0] <= kMaxRank;
  const std::size_t rank = whole ? static_cast<std::size_t>(a.shape[0]) : 1,
                    outputs = whole ? static_cast<std::size_t>(b.shape[0]) : 0;
  const std::size_t inputs = a.count() / rank;
  const bool fits = whole && b.count() == outputs * rank &&
                    static_cast<std::size_t>(b.shape[1]) == rank &&
                    inputs * outputs == old.count() &&
                    static_cast<std::size_t>(old.shape[0]) == (change.embedding ? inputs : outputs);
  if (!fits)
    fail(where + ": " + module + ": factors of " + a.describe() + " and " + b.describe() +
         " do not fit the base model's " + old.describe());
  const double scale = adapter.settings().scale(module, static_cast<int>(rank), where);
  claim(adapter, spec, false);
  std::vector<float> values = values_of(old);
  const std::vector<float> left = values_of(b, where), right = values_of(a, where);
  if (change.embedding) {
    untie(spec);
    add_product(values, transposed(right, rank, inputs), transposed(left, outputs, rank), inputs,
                rank, outputs, scale);
  } else {
    add_product(values, left, right, outputs, rank, inputs, scale);
  }
  put(adapter, spec, std::move(values));
  if (change.bias != nullptr) add_bias(adapter, module, *change.bias, scale);
}

void AdapterMerger::add_bias(const Adapter& adapter, const std::string& module,
                             const io::TensorView& bias, double scale) {
  const TensorSpec* spec = find(module + ".bias");
  if (spec == nullptr || old_values(*spec).count() != bias.count())
    fail(adapter.where() + ": the base model has no bias of that size for " + bias.name + " (" +
         bias.describe() + ")");
  claim(adapter, *spec, false);
  std::vector<float> sums = values_of(old_values(*spec));
  const std::vector<float> added = values_of(bias, adapter.where());
  for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += static_cast<float>(scale * added[i]);
  put(adapter, *spec, std::move(sums));
}

void AdapterMerger::warn_of_missing(const Adapter& adapter, const Parts& parts) {
  std::vector<std::string> missing;
  for (const TensorSpec& spec : table_) {
    std::string module = spec.on_disk;
    if (spec.shape.size() < 2 || !take_off(module, ".weight") || parts.changes.contains(module))
      continue;
    if (adapter.settings().targets(module) == true) missing.push_back(module);
  }
  for (const std::string& saved : adapter.settings().saved) {
    AdapterSettings only;
    only.saved = {saved};
    const bool there = std::any_of(parts.replacements.begin(), parts.replacements.end(),
                                   [&](const auto& r) { return only.saves(r.first); });
    if (!there) missing.push_back(saved);
  }
  if (missing.empty()) return;
  warnings_.push_back(adapter.where() + ": holds nothing for " + std::to_string(missing.size()) +
                      (missing.size() == 1 ? " module" : " modules") +
                      " that adapter_config.json names (" + first_of(missing) +
                      "); as in the base model");
}

void AdapterMerger::merge(const Adapter& adapter) {
  const Parts parts = sort_tensors(adapter);
  if (parts.changes.empty() && parts.replacements.empty())
    fail(adapter.where() + ": holds no tensors of an adapter");
  // What replaces goes first: changes are of what is then there.
  replace(adapter, parts, false);
  replace(adapter, parts, true);
  for (const auto& [module, change] : parts.changes) apply(adapter, module, change);
  warn_of_missing(adapter, parts);
  adapter.file().check_unchanged();
}

}  // namespace blip::model
