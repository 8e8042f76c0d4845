// What becomes of each key of the JSON files in a model folder: none is left out in silence.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"

namespace blip::model {

enum class FolderFile {
  kConfig,
  kVisionConfig,
  kTextConfig,
  kGeneration,
  kPreprocessor,
  kProcessor,
  kTokenizerConfig
};

// Looks at every key of an object of that kind:
// - read elsewhere, or without influence on transformers' answers: nothing;
// - one whose values but a few would change them in ways that are not supported: Error(kModel) with
//   where, key and expected;
// - a default of decoding, which the options decide here, or one that BLIP does not read: a warning
//   unless it is neutral;
// - unknown: a warning.
// path: what precedes the key in messages ("config.json: text_config.").
void check_keys(const nlohmann::json& object, FolderFile file, const std::string& path,
                std::vector<std::string>& warnings);

}  // namespace blip::model
