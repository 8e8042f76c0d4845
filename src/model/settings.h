// What the JSON files of a Hugging Face folder say about a model, before the tensors are asked.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "model/config.h"

namespace blip::model {

// Limits beyond which a configuration is nonsense; they keep a hostile file from costing memory or overflowing.
inline constexpr int kMaxWidth = 1 << 16, kMaxLayers = 1000, kMaxVocab = 1'000'000, kMaxImage = 1 << 14, kMaxPositions = 1 << 20;
inline constexpr int kMaxSide = 256;  // patches along one side: 65,537 image tokens

// One tower as stated; nullopt = the file does not say.
struct TowerSettings {
  std::optional<int> width, layers, heads, mlp;
  std::optional<int> vocab, positions;         // text
  std::optional<int> image_size, patch_size;   // vision
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
  int max_text = 35;
  std::string prompt = "a picture of ";
};

// The settings of an official .pth, which holds tensors only.
Settings official_settings();

// config.json of transformers' BlipConfig; absent keys take transformers' defaults. Two keys of our own are understood at
// the top level: "max_text" and "prompt". Throws Error(kModel) naming `where`, the key, and the allowed values.
Settings parse_config_json(std::string_view json, const std::string& where);

// preprocessor_config.json, or processor_config.json with its "image_processor" inside.
void apply_preprocessor_json(Settings& settings, std::string_view json, const std::string& where);

}  // namespace blip::model
