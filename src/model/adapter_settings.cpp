#include "model/adapter_settings.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "blip/error.h"
#include "blip/hub.h"
#include "io/json_object.h"

namespace blip::model {
namespace {

constexpr std::size_t kMaxNames = 1000;  // in a list; BLIP-large has about 300 modules
// Every expression is tried on every module, so both are kept short: at worst this takes seconds.
constexpr std::size_t kMaxExpression = 256, kMaxExpressionsTogether = 2048, kMaxModule = 256;
constexpr int kMaxLayerNumber = 1000;
constexpr std::string_view kSpecial = "^$\\[](){}|*+?";

[[noreturn]] void fail(const std::string& message) { throw Error(ErrorCode::kModel, message); }

// Keys that are read below, and keys that say how an adapter was trained or saved.
const std::set<std::string, std::less<>> kHarmless = {
    // Read below.
    "alpha_pattern", "base_model_name_or_path", "bias", "exclude_modules", "init_lora_weights",
    "layers_pattern", "layers_to_transform", "lora_alpha", "modules_to_save", "peft_type", "r",
    "rank_pattern", "revision", "target_modules", "use_rslora",
    // The matrices of GPT-2's layers are stored transposed; BLIP has none of them, and peft then
    // sets the key back.
    "fan_in_fan_out",
    // Told by the tensors.
    "lora_bias",
    // Has an effect on models that tell peft their output layer, which BLIP's classes do not.
    "ensure_weight_tying",
    // Of training and saving.
    "auto_mapping", "corda_config", "ephemeral_gpu_offload", "eva_config", "inference_mode",
    "loftq_config", "lora_dropout", "lora_ga_config", "megatron_core", "peft_version",
    "qalora_group_size", "runtime_config", "task_type"};

// An empty value switches a key off.
bool is_off(const io::Json& value) {
  return value.is_null() || (value.is_boolean() && !value.get<bool>()) ||
         ((value.is_object() || value.is_array()) && value.empty());
}

// Initialisations that leave the base as it is. The others (pissa, olora, corda, ...) take
// something out of it first.
bool is_plain_initialisation(const io::Json& value) {
  return value.is_boolean() || value == "gaussian" || value == "orthogonal" || value == "eva";
}

// Throws std::regex_error for what is no expression, and for what Python understands otherwise or
// what costs much. The search that libstdc++ calls polynomial follows all choices at once: its time
// is that of the expression's length times the name's.
std::regex compile(const std::string& text) {
  constexpr std::string_view kEscapes = ".-_dwsDWS\\+*?()[]{}|^$/";
  const auto refuse = [] { throw std::regex_error(std::regex_constants::error_complexity); };
  if (text.size() > kMaxExpression) refuse();
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool escape = text[i] == '\\', special_group = text[i] == '(' &&
                                                         text.substr(i + 1, 1) == "?" &&
                                                         text.substr(i + 2, 1) != ":";
    if (escape && (++i == text.size() || kEscapes.find(text[i]) == std::string_view::npos))
      refuse();
    // A counted repetition makes a long expression of a short one.
    if (special_group || (!escape && text[i] == '{')) refuse();
  }
  return std::regex(text, std::regex::ECMAScript | std::regex_constants::__polynomial);
}

bool is_name_or_end(std::string_view module, std::string_view end) {
  return module == end || (module.size() > end.size() && module.ends_with(end) &&
                           module[module.size() - end.size() - 1] == '.');
}

// order: the same object with its keys as they stand in the file, of which the first that matches
// counts.
template <class Value, class Read>
std::vector<std::pair<ModulePattern, Value>> read_patterns(const io::JsonObject& root,
                                                           const char* key,
                                                           const nlohmann::ordered_json& order,
                                                           const Read& read) {
  std::vector<std::pair<ModulePattern, Value>> patterns;
  const io::Json* object = root.find(key);
  if (object == nullptr) return patterns;
  if (!object->is_object() || object->size() > kMaxNames)
    root.refuse(key, *object, "an object of at most 1000 module names");
  std::size_t expressions = 0;  // bytes of all of them
  for (const auto& [text, ignored] : order.at(key).items()) {
    const io::Json& value = object->at(text);
    const io::JsonObject inner(*object, root.path(key));
    try {
      patterns.emplace_back(ModulePattern(text), read(inner, text.c_str()));
    } catch (const std::regex_error&) {
      inner.refuse(text.c_str(), value,
                   "its key to be a module's name or a simple regular expression, without counted "
                   "repetitions, (?...) and back references");
    }
    if (patterns.back().first.is_expression()) expressions += text.size();
    if (expressions > kMaxExpressionsTogether)
      root.refuse(key, *object, "regular expressions of at most 2048 bytes together");
  }
  return patterns;
}

// A list of names, or one.
std::vector<std::string> read_names(const io::JsonObject& root, const char* key) {
  const io::Json* value = root.find(key);
  if (value == nullptr) return {};
  if (value->is_string()) return {value->get<std::string>()};
  const auto is_text = [](const io::Json& entry) { return entry.is_string(); };
  if (!value->is_array() || value->size() > kMaxNames ||
      !std::all_of(value->begin(), value->end(), is_text))
    root.refuse(key, *value, "a list of at most 1000 module names");
  return value->get<std::vector<std::string>>();
}

ModuleSelection read_selection(const io::JsonObject& root, const char* key) {
  ModuleSelection selection;
  const io::Json* value = root.find(key);
  if (value == nullptr || !value->is_string()) {
    selection.names = read_names(root, key);
    return selection;
  }
  const std::string text = value->get<std::string>();
  selection.known = false;
  if (text == "all-linear") return selection;
  try {
    selection.expression = compile(text);
    selection.known = true;
  } catch (const std::regex_error&) {
    // What the adapter changes is told by its tensors as well.
  }
  return selection;
}

std::vector<int> read_layers(const io::JsonObject& root, const char* key) {
  const io::Json* value = root.find(key);
  if (value == nullptr) return {};
  const io::Json list = value->is_array() ? *value : io::Json::array({*value});
  if (list.size() > kMaxNames) root.refuse(key, *value, "at most 1000 numbers of layers");
  std::vector<int> layers;
  for (const io::Json& entry : list) {
    if (!entry.is_number_integer() || entry < 0 || entry > kMaxLayerNumber)
      root.refuse(key, *value, "numbers of layers, 0 to 1000");
    layers.push_back(entry.get<int>());
  }
  return layers;
}

// A name or a path. One that climbs out of a folder was never meant for the machine that reads it.
std::string read_base(const io::JsonObject& root) {
  std::string base = root.string("base_model_name_or_path").value_or("");
  const std::string revision = root.string("revision").value_or("");
  const bool climbs = ("/" + base + "/").find("/../") != std::string::npos;
  if (climbs || base.find('\0') != std::string::npos) {
    root.refuse("base_model_name_or_path", base,
                "a model's name or a path without \"..\"; where that is the base, give it as the "
                "model and this folder as its adapter");
  }
  if (!is_model_name(base) || revision.empty()) return base;
  if (!is_model_name(base + "@" + revision))
    root.refuse("revision", revision, "a branch, a tag or a commit of the base model");
  return base + "@" + revision;
}

// The number of a module's layer: of the first list of layers in its name, which one of these names
// stands before.
std::optional<int> layer_of(const std::string& module, const std::vector<std::string>& lists) {
  std::vector<std::string> parts;
  for (std::size_t begin = 0; begin <= module.size();) {
    const std::size_t dot = std::min(module.find('.', begin), module.size());
    parts.push_back(module.substr(begin, dot - begin));
    begin = dot + 1;
  }
  for (std::size_t i = lists.empty() ? 2 : 1; i + 1 < parts.size(); ++i) {
    const std::string& part = parts[i];
    if (part.empty() || part.size() > 4 ||
        part.find_first_not_of("0123456789") != std::string::npos)
      continue;
    if (lists.empty() || std::find(lists.begin(), lists.end(), parts[i - 1]) != lists.end())
      return std::stoi(part);
  }
  return std::nullopt;
}

}  // namespace

ModulePattern::ModulePattern(const std::string& text) : text_(text) {
  if (text.find_first_of(kSpecial) == std::string::npos) return;
  static_cast<void>(
      compile(text));  // on its own: parentheses that do not match could match with those around it
  expression_.emplace("(?:.*\\.)?(?:" + text + ")",
                      std::regex::ECMAScript | std::regex_constants::__polynomial);
}

bool ModulePattern::matches(const std::string& module) const {
  if (is_name_or_end(module, text_)) return true;
  return expression_ && module.size() <= kMaxModule && std::regex_match(module, *expression_);
}

std::optional<bool> ModuleSelection::contains(const std::string& module) const {
  if (!known) return std::nullopt;
  if (expression) return module.size() <= kMaxModule && std::regex_match(module, *expression);
  return std::any_of(names.begin(), names.end(),
                     [&](const std::string& name) { return is_name_or_end(module, name); });
}

double AdapterSettings::scale(const std::string& module, int stored_rank,
                              const std::string& where) const {
  const auto stated = [&](const auto& patterns, auto value) {
    const auto found = std::find_if(patterns.begin(), patterns.end(), [&](const auto& pattern) {
      return pattern.first.matches(module);
    });
    return found == patterns.end() ? value : found->second;
  };
  const int r = stated(ranks, rank);
  if (r != stored_rank) {
    fail(where + ": " + module + " has rank " + std::to_string(stored_rank) + "; expected " +
         std::to_string(r) + " by r and rank_pattern of adapter_config.json");
  }
  return stated(alphas, alpha) / (rank_stabilized ? std::sqrt(static_cast<double>(r)) : r);
}

bool AdapterSettings::saves(const std::string& module) const {
  const std::string name = "." + module + ".";
  return std::any_of(saved.begin(), saved.end(), [&](const std::string& part) {
    return name.find("." + part + ".") != std::string::npos;
  });
}

std::optional<bool> AdapterSettings::targets(const std::string& module) const {
  if (saves(module)) return false;
  const bool nothing_excluded = excluded.known && !excluded.expression && excluded.names.empty();
  const auto out = nothing_excluded ? std::optional(false) : excluded.contains(module);
  if (out.value_or(false)) return false;
  const auto in = target.contains(module);
  if (!in || !*in) return in;
  if (!layers.empty() && !target.expression) {
    const auto plain = [](const std::string& name) {
      return name.find_first_of(kSpecial) == std::string::npos;
    };
    if (!std::all_of(layer_lists.begin(), layer_lists.end(), plain)) return std::nullopt;
    const auto layer = layer_of(module, layer_lists);
    if (!layer || std::find(layers.begin(), layers.end(), *layer) == layers.end()) return false;
  }
  return out ? std::optional(true) : std::nullopt;
}

AdapterSettings parse_adapter_json(std::string_view text, const std::string& where) {
  const io::Json json = io::parse_json(text, where);
  const auto order = read_json<nlohmann::ordered_json>(text);
  const io::JsonObject root(json, where);
  const std::string kind = root.required_string("peft_type");
  if (kind != "LORA")
    root.refuse("peft_type", json["peft_type"],
                "\"LORA\": other adapters cannot be merged here; merge it with peft's "
                "merge_and_unload first");
  for (const auto& [key, value] : json.items()) {
    if (kHarmless.contains(key) || is_off(value)) continue;
    root.refuse(key.c_str(), value,
                "it to be off: such an adapter is not understood; merge it with peft's "
                "merge_and_unload first");
  }
  if (const io::Json* start = root.find("init_lora_weights");
      start != nullptr && !is_plain_initialisation(*start))
    root.refuse(
        "init_lora_weights", *start,
        "true or \"gaussian\": this one changed the base model as well; merge it with peft first");
  if (const auto bias = root.string("bias");
      bias && *bias != "none" && *bias != "all" && *bias != "lora_only")
    root.refuse("bias", json["bias"], "\"none\", \"all\" or \"lora_only\"");
  AdapterSettings settings;
  settings.base = read_base(root);
  settings.rank = root.integer("r", 1, kMaxRank).value_or(settings.rank);
  settings.alpha = root.number("lora_alpha").value_or(settings.alpha);
  settings.rank_stabilized = root.boolean("use_rslora").value_or(false);
  settings.ranks =
      read_patterns<int>(root, "rank_pattern", order, [](const io::JsonObject& o, const char* key) {
        return o.required_integer(key, 1, kMaxRank);
      });
  settings.alphas = read_patterns<double>(root, "alpha_pattern", order,
                                          [](const io::JsonObject& o, const char* key) {
                                            const auto value = o.number(key);
                                            if (!value) o.refuse(key, o.required(key), "a number");
                                            return *value;
                                          });
  settings.target = read_selection(root, "target_modules");
  // Nothing named: what peft then takes depends on the model.
  if (!settings.target.expression && settings.target.names.empty()) settings.target.known = false;
  settings.excluded = read_selection(root, "exclude_modules");
  settings.saved = read_names(root, "modules_to_save");
  settings.layers = read_layers(root, "layers_to_transform");
  settings.layer_lists = read_names(root, "layers_pattern");
  return settings;
}

}  // namespace blip::model
