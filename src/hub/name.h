// Names of models: "ORG/NAME", "ORG/NAME@REVISION", and the table of short ones.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace blip::hub {

struct Name {
  std::string repository;  // "ORG/NAME"
  std::string revision;    // "" = none was given

  std::string revision_or_main() const { return revision.empty() ? "main" : revision; }
};

// nullopt for what cannot be a name. Neither part can lead out of a folder that is called by it.
std::optional<Name> parse_name(std::string_view text);

bool is_commit(std::string_view revision);  // 40 hexadecimal digits

// Names that differ from `text` by little, best first, at most three; for messages.
std::vector<std::string> nearest(const std::string& text, const std::vector<std::string>& names);

}  // namespace blip::hub
