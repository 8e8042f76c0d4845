// What the JSON files of a Hugging Face folder say about a model, before the tensors are asked.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/config.h"

namespace blip::model {

// Limits beyond which a configuration is nonsense; they keep a hostile file from costing memory or
// overflowing.
inline constexpr int kMaxWidth = 1 << 16, kMaxVocab = kMaxVocabulary, kMaxImage = 1 << 14,
                     kMaxPositions = 1 << 20;
using blip::kMaxLayers;
inline constexpr int kMaxSide = 256;  // patches along one side: 65,537 image tokens

// One tower as stated; nullopt = the file does not say.
struct TowerSettings {
  std::optional<int> width, layers, heads, mlp;
  std::optional<int> vocab, positions;        // text
  std::optional<int> image_size, patch_size;  // vision
  float eps = 0;
  int default_heads = 0;  // what transformers assumes where the file does not say; 0 = width / 64
};

// The task that config.json's "architectures" names; its heads are then required.
enum class Architecture { kUnstated, kCaption, kRetrieval, kQuestionAnswering };

struct Settings {
  std::string where;  // the file, for messages; "" = none (official .pth)
  TowerSettings vision, text;
  Architecture architecture = Architecture::kUnstated;
  image::Normalization normalization;
  std::optional<int> preprocessor_size;
  std::optional<int> embed;  // "image_text_hidden_size"
  bool tied_words = true;    // "tie_word_embeddings"
  // transformers' BLIP begins texts with text_config's bos_token_id and ends them at its
  // sep_token_id. Unset: no config.json.
  std::optional<int> bos, eos, pad;
  int max_text = ModelConfig().max_text;
  std::string prompt = kCaptionPrompt;
  std::vector<std::string> warnings;  // what the files say and is not followed
};

// The settings of an official .pth, which holds tensors only.
Settings official_settings();

// config.json of transformers' BlipConfig; absent keys take transformers' defaults. Two keys of our
// own are understood at the top level: "max_text" and "prompt". Throws Error(kModel) naming
// `where`, the key, and the allowed values.
Settings parse_config_json(std::string_view json, const std::string& where);

// preprocessor_config.json, or processor_config.json with its "image_processor" inside.
void apply_preprocessor_json(Settings& settings, std::string_view json, const std::string& where);

// generation_config.json, of which transformers' BLIP reads nothing: what would be a surprise
// becomes a warning.
void check_generation_json(Settings& settings, std::string_view json, const std::string& where);

}  // namespace blip::model
