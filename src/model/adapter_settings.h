// What adapter_config.json says: which modules of its base model a LoRA adapter changes, and how
// much.
#pragma once

#include <optional>
#include <regex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace blip::model {

inline constexpr int kMaxRank = 4096;

// A name or a regular expression as peft understands them: for all of a module's name, or for what
// follows a dot in it.
class ModulePattern {
 public:
  // Throws std::regex_error for what is no expression, and for one that is not evaluated here (see
  // adapter_settings.cpp).
  explicit ModulePattern(const std::string& text);

  bool matches(const std::string& module) const;
  bool is_expression() const { return expression_.has_value(); }

 private:
  std::string text_;
  std::optional<std::regex> expression_;
};

// The modules that a key names: a list of the ends of their names, or one expression for all of a
// name.
struct ModuleSelection {
  std::vector<std::string> names;
  std::optional<std::regex> expression;
  // False where the key says it in a way that is not followed: "all-linear", or an expression that
  // is not evaluated here.
  bool known = true;

  // nullopt where that is not known.
  std::optional<bool> contains(const std::string& module) const;
};

struct AdapterSettings {
  // the base model, a name (NAME@REVISION where a revision is stated) or a path; "" = not stated
  std::string base;
  double alpha = 8;
  int rank = 8;
  bool rank_stabilized = false;
  // Other alphas and ranks; the first that matches a module counts.
  std::vector<std::pair<ModulePattern, double>> alphas;
  std::vector<std::pair<ModulePattern, int>> ranks;

  ModuleSelection target, excluded;
  std::vector<std::string> saved;  // modules that are stored whole
  std::vector<int> layers;         // the numbers of the layers that are changed; empty = all
  std::vector<std::string>
      layer_lists;  // what the lists of layers are called ("layer"); empty = whatever

  // What multiplies B A for a module of this rank. Throws Error(kModel) where the rank is not the
  // one stated.
  double scale(const std::string& module, int stored_rank, const std::string& where) const;
  // Whether the module is one that has a low-rank change by these settings; nullopt where they do
  // not tell.
  std::optional<bool> targets(const std::string& module) const;
  // Whether a module of this name, or one around it, is stored whole.
  bool saves(const std::string& module) const;
};

// Throws Error(kModel), naming `where` and the key, for what changes answers and is not understood
// (DoRA, adapters of other kinds, unknown keys) and for values out of range.
AdapterSettings parse_adapter_json(std::string_view text, const std::string& where);

}  // namespace blip::model
