// Every key of the folders that Salesforce published and that transformers writes: changed, it is
// applied, refused by name or warned of by name, or it stands in the list of those that change no
// answer.
#include <algorithm>
#include <set>
#include <sstream>

#include "model/settings.h"
#include "model/tokenizer_files.h"
#include "model_fixture.h"

namespace blip::model {
namespace {

constexpr const char* kConfigFile = "config.json";
constexpr const char* kTokenizerFile = "tokenizer_config.json";
constexpr const char* kWords = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\ncat\n";

const std::set<std::string> kHarmless = {
    // Of every configuration.
    "_commit_hash", "_name_or_path", "_from_model_config", "add_cross_attention",
    "chunk_size_feed_forward", "cross_attention_hidden_size", "dtype", "finetuning_task",
    "id2label", "initializer_factor", "initializer_range", "label2id", "model_type",
    "output_attentions", "output_hidden_states", "output_scores", "problem_type", "projection_dim",
    "remove_invalid_values", "return_dict", "return_dict_in_generate", "task_specific_params",
    "tf_legacy_loss", "tie_encoder_decoder", "tokenizer_class", "torch_dtype", "torchscript",
    "transformers_version", "use_bfloat16", "use_cache",
    // Of training.
    "attention_dropout", "attention_probs_dropout_prob", "hidden_dropout_prob", "label_smoothing",
    "logit_scale_init_value",
    // BLIP takes others: the vision tower's width, sep_token_id.
    "encoder_hidden_size", "eos_token_id",
    // Of pictures that all have one size.
    "do_pad", "size_divisor", "processor_class", "_valid_processor_keys",
    // Of the tokenizer in Python, and of how a tokenizer was called or found.
    "do_basic_tokenize", "never_split", "model_input_names", "model_max_length", "name_or_path",
    "special_tokens_map_file", "backend", "is_local", "local_files_only"};

// Where a key that is told elsewhere changes nothing, and the other way round.
const std::set<std::string> kHarmlessAt = {
    "config.json/text_config/architectures", "config.json/vision_config/architectures",
    "config.json/vision_config/is_decoder", "config.json/vision_config/tie_word_embeddings"};
const std::set<std::string> kToldAt = {"config.json/model_type",
                                       "config.json/vision_config/eos_token_id",
                                       "tokenizer_config.json/tokenizer_class"};

// A value of the same kind that says something else.
Json changed(const Json& value) {
  if (value.is_boolean()) return !value.get<bool>();
  if (value.is_number_integer()) return value.get<std::int64_t>() + 1;
  if (value.is_number()) return value.get<double>() + 0.25;
  if (value.is_string()) return "other";
  Json other = value.is_null() ? Json(7) : value;
  if (other.is_array() && !other.empty() && other[0].is_string()) return Json::array({"other"});
  if (other.is_array()) other.push_back(7);
  if (other.is_object() && other.contains("height")) return {{"height", 8}, {"width", 8}};
  if (other.is_object()) other["other"] = 7;
  return other;
}

std::string digest(const TowerSettings& t) {
  std::ostringstream out;
  for (const auto& number :
       {t.width, t.layers, t.heads, t.mlp, t.vocab, t.positions, t.image_size, t.patch_size})
    out << number.value_or(-1) << ' ';
  out << t.eps << ' ';
  return out.str();
}

std::string digest(const Settings& s) {
  std::ostringstream out;
  out << digest(s.vision) << digest(s.text) << static_cast<int>(s.architecture) << ' '
      << s.embed.value_or(-1) << ' ' << s.tied_words << ' ' << s.preprocessor_size.value_or(-1)
      << ' ' << s.bos.value_or(-1) << ' ' << s.eos.value_or(-1) << ' ' << s.pad.value_or(-1) << ' '
      << s.prompt;
  for (const auto& triple : {s.normalization.mean, s.normalization.std}) {
    for (const float value : triple) out << ' ' << value;
  }
  return out.str();
}

// What reading a file gives, and what it says about it.
struct Reading {
  std::string result, error;
  std::vector<std::string> warnings;
};

Reading read(const std::string& file, const Json& json) {
  Reading reading;
  try {
    if (file == kTokenizerFile || file == "special_tokens_map.json") {
      const TemporaryFolder folder;
      folder.write("vocab.txt", kWords);
      folder.write(file, json.dump());
      const auto found = load_vocabulary(folder.path());
      reading.result =
          text::settings_json(found->vocabulary) + std::to_string(found->vocabulary.tokens.size());
      reading.warnings = found->warnings;
      return reading;
    }
    Settings settings;
    if (file == kConfigFile) {
      settings = parse_config_json(json.dump(), file);
    } else if (file == "generation_config.json") {
      check_generation_json(settings, json.dump(), file);
    } else {
      apply_preprocessor_json(settings, json.dump(), file);
    }
    reading.result = digest(settings);
    reading.warnings = settings.warnings;
  } catch (const Error& error) {
    reading.error = error.what();
  }
  return reading;
}

bool names(const std::string& message, const std::string& key) {
  return message.find(key) != std::string::npos;
}

// `root` is the file, `object` the place in it whose keys are changed.
void change_each(const std::string& folder, const std::string& file, const Json& root,
                 const Json::json_pointer& object) {
  const Reading before = read(file, root);
  for (const auto& [key, value] : root.at(object).items()) {
    if (key == "text_config" || key == "vision_config") continue;
    Json other = root;
    other[object][key] = changed(value);
    const Reading after = read(file, other);
    const bool warned = std::any_of(after.warnings.begin(), after.warnings.end(),
                                    [&key = key](const std::string& w) { return names(w, key); });
    const bool told =
        names(after.error, key) || warned || (after.error.empty() && after.result != before.result);
    const std::string place = file + object.to_string() + "/" + key;
    const bool harmless = !kToldAt.contains(place) &&
                          (kHarmless.contains(key) || kHarmlessAt.contains(place) ||
                           (file == "generation_config.json" && key.ends_with("_token_id")));
    EXPECT_NE(told, harmless) << folder << ": " << place << " -> " << other[object][key] << ": "
                              << after.error;
  }
}

TEST(FolderKeys, EveryKeyIsAppliedRefusedToldOrHarmless) {
  const Json folders = load_json(data_path("folder_keys.json"));
  ASSERT_EQ(folders.size(), 8u);
  for (const auto& [folder, files] : folders.items()) {
    for (const auto& [file, json] : files.items()) {
      if (file == "added_tokens.json") continue;  // its keys are tokens
      change_each(folder, file, json, Json::json_pointer());
      if (file != kConfigFile) continue;
      change_each(folder, file, json, Json::json_pointer("/text_config"));
      change_each(folder, file, json, Json::json_pointer("/vision_config"));
    }
  }
}

TEST(FolderKeys, NothingIsSaidOfFoldersAsTheyAre) {
  const Json folders = load_json(data_path("folder_keys.json"));
  for (const auto& [folder, files] : folders.items()) {
    for (const auto& [file, json] : files.items()) {
      if (file == "added_tokens.json") continue;
      const Reading reading = read(file, json);
      EXPECT_EQ(reading.error, "") << folder << ": " << file;
      EXPECT_EQ(reading.warnings, std::vector<std::string>{}) << folder << ": " << file;
    }
  }
}

TEST(FolderKeys, AnUnknownKeyIsWarnedOf) {
  for (const char* file : {"config.json", "preprocessor_config.json", "generation_config.json",
                           "tokenizer_config.json"}) {
    const Reading reading = read(file, {{"frobnicate", 3}});
    ASSERT_EQ(reading.warnings.size(), 1u) << file;
    EXPECT_TRUE(
        names(reading.warnings[0], std::string(file) + ": frobnicate is not known: not followed"))
        << reading.warnings[0];
  }
}

TEST(FolderKeys, MessagesSayWhatToDo) {
  const auto config = [](const char* part, const char* key, const Json& value) {
    return read(kConfigFile, {{part, {{key, value}}}});
  };
  EXPECT_EQ(config("text_config", "typical_p", 0.5).error,
            "config.json: text_config.typical_p is 0.5; expected 1 (nothing else is supported)");
  EXPECT_EQ(
      config("text_config", "is_decoder", false).error,
      "config.json: text_config.is_decoder is false; expected true (nothing else is supported)");
  EXPECT_EQ(config("text_config", "num_beams", 5).warnings,
            (std::vector<std::string>{"config.json: text_config.num_beams is 5: not followed; "
                                      "decoding is decided by the option beams"}));
  EXPECT_EQ(read("generation_config.json", {{"no_repeat_ngram_size", 2}}).warnings,
            (std::vector<std::string>{"generation_config.json: no_repeat_ngram_size is 2: not "
                                      "followed; decoding is decided by the option "
                                      "no_repeat_ngram"}));
  EXPECT_EQ(config("text_config", "decoder_start_token_id", 5).warnings,
            (std::vector<std::string>{"config.json: text_config.decoder_start_token_id is 5: not "
                                      "followed, as BLIP in transformers does not"}));
  EXPECT_EQ(
      read("preprocessor_config.json", {{"do_resize", false}}).error,
      "preprocessor_config.json: do_resize is false; expected true (nothing else is supported)");
  EXPECT_EQ(read("preprocessor_config.json", {{"pad_size", 9}}).error,
            "preprocessor_config.json: pad_size is 9; expected none (nothing else is supported)");
}

TEST(FolderKeys, IdsOfTheConfigurationDecide) {
  Draft draft("caption");
  draft.config["text_config"].update(
      {{"bos_token_id", 2}, {"sep_token_id", 7}, {"pad_token_id", 4}});
  draft.vocabulary += "[DEC]\n[ENC]\nx\ny\nz\n";  // a token for every row: none is added
  const ModelInfo info = draft.open().info();
  EXPECT_EQ(info.bos_token, 2);
  EXPECT_EQ(info.eos_token, 7);
  EXPECT_EQ(info.pad_token, 4);
  EXPECT_EQ(info.question_token, 126);
  for (const char* key : {"bos_token_id", "sep_token_id", "pad_token_id"}) {
    Draft wrong("caption");
    wrong.vocabulary += "[DEC]\n[ENC]\nx\ny\nz\n";
    wrong.config["text_config"][key] = 130;
    expect_contains(error_of(ErrorCode::kModel, [&] { wrong.open(); }),
                    std::string("config.json: text_config.") + key +
                        " is 130, but the word embeddings of the caption_decoder have 130 rows");
  }
}

// Rows without [DEC] and [ENC], or with the first alone, are enough where no text needs them.
TEST(FolderKeys, EmbeddingsOfAPlainBert) {
  for (const int rows : {125, 126}) {
    Draft draft("combined");
    std::erase_if(draft.tensors, [](const auto& item) {
      return item.first.starts_with("text_decoder.") ||
             item.first.starts_with("question_encoder.") ||
             item.first.starts_with("answer_decoder.");
    });
    RawTensor& words = draft.tensors.at("text_encoder.embeddings.word_embeddings.weight");
    words.bytes.resize(words.bytes.size() / 130 * static_cast<std::size_t>(rows));
    words.shape[0] = rows;
    draft.config["text_config"]["vocab_size"] = rows;
    const Checkpoint checkpoint = draft.open();
    EXPECT_EQ(checkpoint.info().vocab_size, rows);
    EXPECT_EQ(checkpoint.vocabulary().tokens.size(), static_cast<std::size_t>(rows));
    EXPECT_EQ(checkpoint.info().question_token, 2);  // [CLS], as in transformers
  }
}

TEST(FolderKeys, AnAdapterWithoutItsSettingsIsRefused) {
  for (const char* name : {"adapter_model.safetensors", "adapter_model.bin", "adapter_model.pt"}) {
    const Draft draft("caption");
    draft.folder.write(name, "{}");
    const std::string what = error_of(ErrorCode::kModel, [&] { draft.open(); });
    expect_contains(
        what,
        std::string("/") + name +
            ": an adapter changes the model's answers, but its adapter_config.json is missing");
  }
}

TEST(FolderKeys, PicturesOfTwoFilesMustAgree) {
  const Draft draft("caption");
  draft.folder.write("preprocessor_config.json", R"({"size": 32})");
  draft.folder.write("processor_config.json", R"({"image_processor": {"size": 40}})");
  expect_contains(error_of(ErrorCode::kModel, [&] { draft.open(); }),
                  "processor_config.json and preprocessor_config.json state different pictures");
  draft.folder.write("processor_config.json", R"({"image_processor": {"size": 32}})");
  EXPECT_EQ(draft.open().config().vision.image_size, 32);
}

TEST(FolderKeys, UntiedWordsNeedAMatrix) {
  Draft draft("caption");
  draft.config["tie_word_embeddings"] = false;
  expect_contains(error_of(ErrorCode::kModel, [&] { draft.open(); }),
                  "config.json: tie_word_embeddings is false, but the tensor "
                  "text_decoder.cls.predictions.decoder.weight is missing");
}

}  // namespace
}  // namespace blip::model
