#include "model/settings.h"

#include <array>
#include <cmath>

#include "io/json_object.h"
#include "model/known_keys.h"

namespace blip::model {
namespace {

using io::Json;
using Object = io::JsonObject;

float read_eps(const Object& object, float fallback) {
  const auto eps = object.number("layer_norm_eps");
  if (!eps) return fallback;
  if (!(*eps > 0 && *eps < 1))
    object.refuse("layer_norm_eps", *object.find("layer_norm_eps"), "a number between 0 and 1");
  return static_cast<float>(*eps);
}

// The sizes both towers share. Only BLIP's own activation is implemented: the exact (erf) GELU.
TowerSettings read_tower(const Object& object, float default_eps, int default_heads) {
  TowerSettings tower;
  tower.width = object.integer("hidden_size", 1, kMaxWidth);
  tower.layers = object.integer("num_hidden_layers", 1, kMaxLayers);
  tower.heads = object.integer("num_attention_heads", 1, kMaxWidth);
  tower.mlp = object.integer("intermediate_size", 1, kMaxWidth);
  tower.eps = read_eps(object, default_eps);
  tower.default_heads = default_heads;
  if (const auto act = object.string("hidden_act"); act && *act != "gelu") {
    object.refuse("hidden_act", *object.find("hidden_act"),
                  "\"gelu\" (no other activation is supported)");
  }
  return tower;
}

// transformers' defaults: vision eps 1e-5 and 12 heads, text eps 1e-12 and 8 heads.
TowerSettings read_vision(const Object& object) {
  TowerSettings vision = read_tower(object, 1e-5f, 12);
  vision.image_size = object.square("image_size", 1, kMaxImage);
  vision.patch_size = object.square("patch_size", 1, kMaxImage);
  return vision;
}

TowerSettings read_text(const Object& object) {
  TowerSettings text = read_tower(object, 1e-12f, 8);
  text.vocab = object.integer("vocab_size", 1, kMaxVocab);
  text.positions = object.integer("max_position_embeddings", 1, kMaxPositions);
  return text;
}

// Absent ones are those of transformers' BlipTextConfig.
void read_ids(const Object& object, Settings& settings) {
  settings.bos = object.integer("bos_token_id", 0, kMaxVocab).value_or(30522);
  settings.eos = object.integer("sep_token_id", 0, kMaxVocab).value_or(102);
  settings.pad = object.integer("pad_token_id", 0, kMaxVocab).value_or(0);
}

Architecture read_architecture(const Object& object) {
  const Json* names = object.find("architectures");
  if (names == nullptr || !names->is_array() || names->empty() || !names->front().is_string())
    return Architecture::kUnstated;
  const auto name = names->front().get<std::string>();
  if (name == "BlipForConditionalGeneration") return Architecture::kCaption;
  if (name == "BlipForImageTextRetrieval") return Architecture::kRetrieval;
  if (name == "BlipForQuestionAnswering") return Architecture::kQuestionAnswering;
  return Architecture::kUnstated;
}

}  // namespace

Settings official_settings() {
  Settings settings;
  settings.vision.eps = 1e-6f;
  settings.text.eps = 1e-12f;
  return settings;
}

Settings parse_config_json(std::string_view json, const std::string& where) {
  const Json root = io::parse_json(json, where);
  const Object object(root, where);
  if (const auto type = object.string("model_type"); type && *type != "blip") {
    object.refuse("model_type", *object.find("model_type"), "\"blip\"");
  }
  static const Json kEmpty = Json::object();
  const Json* vision = object.find("vision_config");
  const Json* text = object.find("text_config");
  const Object vision_object(vision == nullptr ? kEmpty : *vision, object.path("vision_config"));
  const Object text_object(text == nullptr ? kEmpty : *text, object.path("text_config"));
  Settings settings;
  settings.where = where;
  settings.vision = read_vision(vision_object);
  settings.text = read_text(text_object);
  read_ids(text_object, settings);
  settings.embed = object.integer("image_text_hidden_size", 1, kMaxWidth);
  settings.tied_words = object.boolean("tie_word_embeddings").value_or(true) &&
                        text_object.boolean("tie_word_embeddings").value_or(true);
  settings.architecture = read_architecture(object);
  if (const auto length = object.integer("max_text", kShortestText, kMaxPositions))
    settings.max_text = *length;
  if (auto prompt = object.string("prompt")) settings.prompt = std::move(*prompt);
  check_keys(root, FolderFile::kConfig, where + ": ", settings.warnings);
  check_keys(vision == nullptr ? kEmpty : *vision, FolderFile::kVisionConfig,
             object.path("vision_config") + ".", settings.warnings);
  check_keys(text == nullptr ? kEmpty : *text, FolderFile::kTextConfig,
             object.path("text_config") + ".", settings.warnings);
  return settings;
}

void apply_preprocessor_json(Settings& settings, std::string_view json, const std::string& where) {
  const Json root = io::parse_json(json, where);
  const Object outer(root, where);
  const Json* nested = outer.find("image_processor");
  const Object object(nested == nullptr ? root : *nested,
                      nested == nullptr ? where : outer.path("image_processor"));
  if (nested != nullptr) check_keys(root, FolderFile::kProcessor, where + ": ", settings.warnings);
  check_keys(nested == nullptr ? root : *nested, FolderFile::kPreprocessor,
             nested == nullptr ? where + ": " : outer.path("image_processor") + ".",
             settings.warnings);
  if (const auto size = object.square("size", 1, kMaxImage)) settings.preprocessor_size = size;
  if (const auto mean = object.triple("image_mean")) settings.normalization.mean = *mean;
  if (const auto deviation = object.triple("image_std")) settings.normalization.std = *deviation;
  for (const float deviation : settings.normalization.std) {
    if (!(deviation > 0))
      object.refuse("image_std", *object.find("image_std"), "three numbers above 0");
  }
  if (const auto resample = object.integer("resample", 0, 5); resample && *resample != 3) {
    object.refuse("resample", *object.find("resample"), "3 (bicubic, the only filter supported)");
  }
  const auto factor = object.number("rescale_factor");
  if (factor && std::abs(*factor * 255 - 1) > 1e-6)
    object.refuse("rescale_factor", *object.find("rescale_factor"), "1/255");
  if (object.boolean("do_rescale") == false)
    object.refuse("do_rescale", *object.find("do_rescale"), "true");
  if (object.boolean("do_normalize") == false) {
    settings.normalization.mean = {0, 0, 0};
    settings.normalization.std = {1, 1, 1};
  }
}

void check_generation_json(Settings& settings, std::string_view json, const std::string& where) {
  const Json root = io::parse_json(json, where);
  const Object object(root, where);
  check_keys(root, FolderFile::kGeneration, where + ": ", settings.warnings);
}

}  // namespace blip::model
