#include "model/adapter.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <regex>
#include <set>

#include "blip/error.h"
#include "blip/hub.h"
#include "io/file.h"
#include "io/json_object.h"

namespace blip::model {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxConfig = std::size_t{1} << 20;
constexpr int kMaxRank = 4096;
constexpr std::size_t kMaxPattern = 128, kMaxPatterns = 1000;

[[noreturn]] void fail(const std::string& message) { throw Error(ErrorCode::kModel, message); }

// Keys that say how an adapter was trained, or which modules have one: its tensors tell the latter.
const std::set<std::string, std::less<>> kHarmless = {
    "auto_mapping", "base_model_name_or_path", "bias", "exclude_modules", "inference_mode", "layers_pattern",
    "layers_to_transform", "lora_dropout", "lora_bias", "modules_to_save", "peft_type", "peft_version", "revision",
    "target_modules", "task_type", "r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern", "init_lora_weights",
    "qalora_group_size", "ensure_weight_tying", "loftq_config", "eva_config", "corda_config", "runtime_config",
    "ephemeral_gpu_offload", "megatron_core"};

// An empty value switches a key off.
bool is_off(const io::Json& value) {
  return value.is_null() || (value.is_boolean() && !value.get<bool>()) || ((value.is_object() || value.is_array()) && value.empty());
}

// Initialisations that leave the base as it is. The others (pissa, olora, corda, ...) take something out of it first.
bool is_plain_initialisation(const io::Json& value) {
  return value.is_boolean() || value.is_null() || value == "gaussian" || value == "orthogonal" || value == "eva";
}

// Matching goes back over repetitions: without repeated groups, and with few repetitions, that stays cheap.
bool is_safe(const std::string& pattern) {
  int repetitions = 0;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '\\') {
      ++i;
      if (i < pattern.size() && pattern[i] >= '1' && pattern[i] <= '9') return false;  // a back reference
      continue;
    }
    if (c != '*' && c != '+' && c != '?' && c != '{') continue;
    if (i > 0 && pattern[i - 1] == ')') return false;
    if (c != '?') ++repetitions;
  }
  return pattern.size() <= kMaxPattern && repetitions <= 2;
}

// As peft: the key is the module's name, or what follows a dot in it.
bool matches(const std::string& key, const std::string& module) {
  const std::string_view name = module;
  if (name == key || (name.size() > key.size() && name.ends_with(key) && name[name.size() - key.size() - 1] == '.')) return true;
  if (key.find_first_of("^$\\[](){}|*+?") == std::string::npos || module.size() > 2 * kMaxPattern) return false;
  const std::string expression = key.starts_with('^') ? key : "(.*\\.)?(" + key + ")$";
  return std::regex_search(module, std::regex(expression), std::regex_constants::match_continuous);
}

template <class Value, class Read>
std::vector<std::pair<std::string, Value>> read_patterns(const io::JsonObject& root, const char* key, const Read& read) {
  std::vector<std::pair<std::string, Value>> patterns;
  const io::Json* object = root.find(key);
  if (object == nullptr) return patterns;
  if (!object->is_object() || object->size() > kMaxPatterns) root.refuse(key, *object, "an object of at most 1000 module names");
  for (const auto& [pattern, value] : object->items()) {
    const io::JsonObject inner(*object, root.path(key));
    if (!is_safe(pattern)) inner.refuse(pattern.c_str(), value, "a module's name or a regular expression without repeated groups");
    try {
      static_cast<void>(std::regex(pattern));
    } catch (const std::regex_error&) {
      inner.refuse(pattern.c_str(), value, "a module's name or a regular expression");
    }
    patterns.emplace_back(pattern, read(inner, pattern.c_str()));
  }
  return patterns;
}

std::string without_end(const std::string& name, std::string_view end) {
  return name.ends_with(end) ? name.substr(0, name.size() - end.size()) : std::string();
}

std::vector<float> values_of(const io::TensorView& view, const std::string& where) {
  if (view.type == io::ElementType::q8_0 || view.type == io::ElementType::boolean) {
    fail(where + ": tensor " + view.name + ": expected floating-point values, got " + io::to_string(view.type));
  }
  std::vector<float> values(view.count());
  view.to_f32(values);
  return values;
}

// out [rows, columns] += scale * left [rows, rank] right [rank, columns]
void add_product(std::vector<float>& out, const std::vector<float>& left, const std::vector<float>& right, std::size_t rows,
                 std::size_t rank, std::size_t columns, double scale) {
  for (std::size_t i = 0; i < rows; ++i) {
    float* row = out.data() + i * columns;
    for (std::size_t k = 0; k < rank; ++k) {
      const float factor = static_cast<float>(scale * left[i * rank + k]);
      const float* from = right.data() + k * columns;
      for (std::size_t j = 0; j < columns; ++j) row[j] += factor * from[j];
    }
  }
}

std::vector<float> transposed(const std::vector<float>& values, std::size_t rows, std::size_t columns) {
  std::vector<float> out(values.size());
  for (std::size_t i = 0; i < rows; ++i)
    for (std::size_t j = 0; j < columns; ++j) out[j * rows + i] = values[i * columns + j];
  return out;
}

bool same_folder(const std::string& a, const std::string& b) {
  std::error_code ignored;
  return fs::equivalent(a, b, ignored);
}

}  // namespace

bool holds_adapter(const std::string& folder) {
  std::error_code ignored;
  return fs::is_regular_file(fs::path(folder) / "adapter_config.json", ignored);
}

std::string stated_base(const std::string& folder) {
  if (!holds_adapter(folder)) return "";
  const fs::path config = fs::path(folder) / "adapter_config.json";
  const AdapterSettings settings = parse_adapter_json(io::read_text(config.string(), kMaxConfig), config.string());
  const std::string base = settings.base.empty() ? "." : settings.base;
  return is_model_name(base) && !settings.revision.empty() ? base + "@" + settings.revision : base;
}

Location locate(const std::string& name, const std::string& given) {
  const std::string found = find_model(name), path = found.empty() ? name : found;
  if (!given.empty()) {
    const std::string adapter = find_model(given);
    if (adapter.empty()) throw Error(ErrorCode::kIo, "the adapter " + given + " is no folder here and not in the cache; `blip pull " + given + "` downloads one of that name");
    if (!holds_adapter(adapter)) throw Error(ErrorCode::kIo, adapter + " holds no adapter: there is no adapter_config.json");
    if (holds_adapter(path) && !same_folder(path, adapter))
      throw Error(ErrorCode::kUsage, path + " has an adapter of its own; merge it first: `blip convert`");
    if (!holds_adapter(path)) return {path, adapter};
  }
  if (!holds_adapter(path)) return {path, ""};
  const std::string base = stated_base(path);
  if (base == ".") return {path, path};
  if (const std::string there = find_model(base); !there.empty()) return {there, path};
  if (is_model_name(base))
    throw Error(ErrorCode::kIo, "the adapter in " + path + " is for " + base + ", which is not in the cache; `blip pull " + base + "` downloads it");
  return {path, path};  // a path of another machine: the base lies beside the adapter, or opening it says what is missing
}

double AdapterSettings::scale(const std::string& module, int stored_rank, const std::string& where) const {
  int stated = rank;
  double a = alpha;
  const auto find = [&](const auto& patterns, auto& value) {
    for (const auto& [pattern, other] : patterns) {
      if (!matches(pattern, module)) continue;
      value = other;
      return;
    }
  };
  find(ranks, stated);
  find(alphas, a);
  if (stated != stored_rank) {
    fail(where + ": " + module + " has rank " + std::to_string(stored_rank) + "; expected " + std::to_string(stated) +
         " by adapter_config.json");
  }
  return a / (rank_stabilized ? std::sqrt(static_cast<double>(stated)) : stated);
}

AdapterSettings parse_adapter_json(std::string_view text, const std::string& where) {
  const io::Json json = io::parse_json(text, where);
  const io::JsonObject root(json, where);
  const std::string kind = root.required_string("peft_type");
  if (kind != "LORA") root.refuse("peft_type", json["peft_type"], "\"LORA\": other adapters cannot be merged here; merge it with peft first");
  for (const auto& [key, value] : json.items()) {
    if (kHarmless.contains(key) || is_off(value)) continue;
    root.refuse(key.c_str(), value, "it to be off: merge such an adapter with peft's merge_and_unload first");
  }
  if (const io::Json* start = root.find("init_lora_weights"); start != nullptr && !is_plain_initialisation(*start))
    root.refuse("init_lora_weights", *start, "true or \"gaussian\": this one changed the base model as well; merge it with peft first");
  AdapterSettings settings;
  settings.base = root.string("base_model_name_or_path").value_or("");
  settings.revision = root.string("revision").value_or("");
  settings.rank = root.integer("r", 1, kMaxRank).value_or(settings.rank);
  settings.alpha = root.number("lora_alpha").value_or(settings.alpha);
  settings.rank_stabilized = root.boolean("use_rslora").value_or(false);
  settings.ranks = read_patterns<int>(root, "rank_pattern", [](const io::JsonObject& o, const char* key) { return o.required_integer(key, 1, kMaxRank); });
  settings.alphas = read_patterns<double>(root, "alpha_pattern", [](const io::JsonObject& o, const char* key) {
    const auto value = o.number(key);
    if (!value) o.refuse(key, o.required(key), "a number");
    return *value;
  });
  return settings;
}

// The factors of one module.
struct Adapter::Change {
  const io::TensorView *a = nullptr, *b = nullptr, *bias = nullptr;
  bool embedding = false;  // lora_embedding_A [r, N], lora_embedding_B [D, r], of a table [N, D]
};

Adapter::Adapter(const std::string& folder) {
  const fs::path config = fs::path(folder) / "adapter_config.json";
  settings_ = parse_adapter_json(io::read_text(config.string(), kMaxConfig), config.string());
  const fs::path safe = fs::path(folder) / "adapter_model.safetensors", torch = fs::path(folder) / "adapter_model.bin";
  std::error_code ignored;
  if (!fs::exists(safe, ignored) && !fs::exists(torch, ignored)) {
    throw Error(ErrorCode::kIo, folder + ": adapter_config.json is there, but neither adapter_model.safetensors nor adapter_model.bin");
  }
  where_ = (fs::exists(safe, ignored) ? safe : torch).string();
  file_ = fs::exists(safe, ignored) ? io::open_safetensors(where_) : io::open_torch(where_);
}

void Adapter::put(DiskTensors& base, const std::string& name, std::vector<float> values) {
  merged_.push_back(std::make_unique<std::vector<float>>(std::move(values)));
  io::TensorView view = *base.find(name);
  view.type = io::ElementType::f32;
  view.data = std::as_bytes(std::span(*merged_.back()));
  base.replace(name, view);
}

void Adapter::apply(DiskTensors& base, const std::string& module, const Change& change) {
  const std::string name = base.find(module + ".weight") == nullptr && change.embedding ? module : module + ".weight";
  const io::TensorView* old = base.find(name);
  if (old == nullptr) fail(where_ + ": the base model has no tensor " + name + "; is this adapter for another model?");
  if (change.a == nullptr || change.b == nullptr) fail(where_ + ": " + module + " has one of its two factors only");
  const io::TensorView &a = *change.a, &b = *change.b;
  if (a.shape.empty() || b.shape.size() < 2 || old->shape.size() < 2 || a.shape[0] < 1 || a.shape[0] > kMaxRank) {
    fail(where_ + ": " + module + ": factors of " + a.describe() + " and " + b.describe() + " fit no matrix");
  }
  const auto rank = static_cast<std::size_t>(a.shape[0]), outputs = static_cast<std::size_t>(b.shape[0]);
  const std::size_t inputs = a.count() / rank, total = old->count();
  const auto rows = static_cast<std::size_t>(old->shape[0]);
  const bool fits = b.count() == outputs * rank && static_cast<std::size_t>(b.shape[1]) == rank && inputs * outputs == total &&
                    rows == (change.embedding ? inputs : outputs);
  if (!fits) {
    fail(where_ + ": " + module + ": factors of " + a.describe() + " and " + b.describe() + " do not fit the base model's " + old->describe());
  }
  const double scale = settings_.scale(module, static_cast<int>(rank), where_);
  std::vector<float> values = values_of(*old, base.where());
  const std::vector<float> left = values_of(b, where_), right = values_of(a, where_);
  if (change.embedding) {
    add_product(values, transposed(right, rank, inputs), transposed(left, outputs, rank), inputs, rank, outputs, scale);
  } else {
    add_product(values, left, right, outputs, rank, inputs, scale);
  }
  put(base, name, std::move(values));
  if (change.bias == nullptr) return;
  const io::TensorView* bias = base.find(module + ".bias");
  if (bias == nullptr || bias->count() != change.bias->count()) fail(where_ + ": the base model has no bias of that size for " + change.bias->name);
  std::vector<float> sums = values_of(*bias, base.where());
  const std::vector<float> added = values_of(*change.bias, where_);
  for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += static_cast<float>(scale * added[i]);
  put(base, module + ".bias", std::move(sums));
}

void Adapter::merge(DiskTensors& base) {
  std::map<std::string, Change> changes;
  std::vector<std::pair<std::string, const io::TensorView*>> replacements;
  for (const io::TensorView& tensor : file_->tensors()) {
    std::string name = tensor.name;
    if (!name.starts_with("base_model.model.")) fail(where_ + ": unexpected tensor " + name + "; expected names that begin with base_model.model.");
    name.erase(0, std::string_view("base_model.model.").size());
    if (std::string module = without_end(name, ".lora_A.weight"); !module.empty()) changes[module].a = &tensor;
    else if (module = without_end(name, ".lora_B.weight"); !module.empty()) changes[module].b = &tensor;
    else if (module = without_end(name, ".lora_B.bias"); !module.empty()) changes[module].bias = &tensor;
    else if (module = without_end(name, ".lora_embedding_A"); !module.empty()) changes[module].a = &tensor, changes[module].embedding = true;
    else if (module = without_end(name, ".lora_embedding_B"); !module.empty()) changes[module].b = &tensor, changes[module].embedding = true;
    else if (name.find(".lora_") != std::string::npos) fail(where_ + ": tensor " + tensor.name + " is of a kind that cannot be merged here (DoRA?); merge it with peft first");
    else replacements.emplace_back(name, &tensor);
  }
  // What replaces goes first: a trained bias is what a factor's bias is added to.
  for (auto& [name, tensor] : replacements) {
    for (const std::string_view layer : {".base_layer.", ".modules_to_save.", ".original_module."}) {
      if (const auto at = name.find(layer); at != std::string::npos) name.erase(at, layer.size() - 1);
    }
    const io::TensorView* old = base.find(name);
    if (old == nullptr) fail(where_ + ": the base model has no tensor " + name + "; is this adapter for another model?");
    if (old->count() != tensor->count()) fail(where_ + ": tensor " + name + ": expected " + old->describe() + ", got " + tensor->describe());
    put(base, name, values_of(*tensor, where_));
  }
  for (const auto& [module, change] : changes) apply(base, module, change);
}

}  // namespace blip::model
