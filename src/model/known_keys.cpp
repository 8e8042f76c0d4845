#include "model/known_keys.h"

#include <algorithm>
#include <array>
#include <map>
#include <span>
#include <string_view>

#include "blip/error.h"

namespace blip::model {
namespace {

using nlohmann::json;

enum class Rule {
  kRead,      // by settings.cpp or tokenizer_files.cpp
  kHarmless,  // changes no answer
  kFixed,     // other values are refused
  kDefault,   // of decoding: the options decide; other values are warned of
  kUnused,    // by BLIP, though its name promises something; other values are warned of
};

// neutral: a JSON list of the values that change nothing. null always is one.
struct Key {
  const char* name;
  Rule rule;
  const char* neutral = "[]";
};

constexpr Rule kRead = Rule::kRead, kHarmless = Rule::kHarmless, kFixed = Rule::kFixed,
               kDefault = Rule::kDefault, kUnused = Rule::kUnused;

// Of every configuration of transformers.
constexpr Key kCommon[] = {
    {"architectures", kRead},
    {"model_type", kRead},
    {"auto_map", kFixed},
    {"quantization_config", kFixed},
    {"compression_config", kFixed},
    {"pruned_heads", kFixed, "[{}]"},
    {"position_embedding_type", kFixed, R"(["absolute"])"},
    {"is_encoder_decoder", kFixed, "[false]"},
    {"add_cross_attention", kHarmless},
    {"attn_implementation", kHarmless},
    {"chunk_size_feed_forward", kHarmless},
    {"cross_attention_hidden_size", kHarmless},
    {"dtype", kHarmless},
    {"finetuning_task", kHarmless},
    {"gradient_checkpointing", kHarmless},
    {"id2label", kHarmless},
    {"initializer_factor", kHarmless},
    {"initializer_range", kHarmless},
    {"label2id", kHarmless},
    {"num_labels", kHarmless},
    {"output_attentions", kHarmless},
    {"output_hidden_states", kHarmless},
    {"problem_type", kHarmless},
    {"projection_dim", kHarmless},  // of BlipModel, which is refused
    {"return_dict", kHarmless},
    {"task_specific_params", kHarmless},
    {"tf_legacy_loss", kHarmless},
    {"tie_encoder_decoder", kHarmless},
    {"tie_word_embeddings", kRead},
    {"tokenizer_class", kHarmless},
    {"torch_dtype", kHarmless},
    {"torchscript", kHarmless},
    {"transformers_version", kHarmless},
    {"transformers_weights", kHarmless},
    {"use_bfloat16", kHarmless},
    {"use_cache", kHarmless},
    {"use_return_dict", kHarmless},
    {"prefix", kUnused},
};

constexpr Key kConfig[] = {
    {"text_config", kRead},
    {"vision_config", kRead},
    {"image_text_hidden_size", kRead},
    {"max_text", kRead},
    {"prompt", kRead},
    {"label_smoothing", kHarmless},
    {"logit_scale_init_value", kHarmless},
    {"bos_token_id", kUnused},
    {"eos_token_id", kUnused},
    {"pad_token_id", kUnused},
    {"sep_token_id", kUnused},
    {"decoder_start_token_id", kUnused},
};

constexpr Key kVision[] = {
    {"hidden_size", kRead},
    {"intermediate_size", kRead},
    {"num_hidden_layers", kRead},
    {"num_attention_heads", kRead},
    {"image_size", kRead},
    {"patch_size", kRead},
    {"hidden_act", kRead},
    {"layer_norm_eps", kRead},
    {"num_channels", kFixed, "[3]"},
    {"is_decoder", kHarmless},
    {"attention_dropout", kHarmless},
    {"dropout", kHarmless},
    {"hidden_dropout", kHarmless},
    {"bos_token_id", kUnused},
    {"eos_token_id", kUnused},
    {"pad_token_id", kUnused},
    {"sep_token_id", kUnused},
    {"decoder_start_token_id", kUnused},
};

constexpr Key kText[] = {
    {"hidden_size", kRead},
    {"intermediate_size", kRead},
    {"num_hidden_layers", kRead},
    {"num_attention_heads", kRead},
    {"vocab_size", kRead},
    {"max_position_embeddings", kRead},
    {"hidden_act", kRead},
    {"layer_norm_eps", kRead},
    {"bos_token_id", kRead},
    {"sep_token_id", kRead},
    {"pad_token_id", kRead},
    {"is_decoder", kFixed, "[true]"},
    {"eos_token_id", kHarmless},         // generation ends at sep_token_id
    {"encoder_hidden_size", kHarmless},  // replaced by the vision tower's width
    {"attention_probs_dropout_prob", kHarmless},
    {"hidden_dropout_prob", kHarmless},
    {"label_smoothing", kHarmless},
    {"type_vocab_size", kHarmless},
    {"decoder_start_token_id", kUnused},  // texts begin with bos_token_id
};

// Defaults of decoding that an option of ours stands for. Some folders state them in text_config.
constexpr Key kDecoding[] = {
    {"do_sample", kDefault, "[false]"},
    {"length_penalty", kDefault, "[1]"},
    {"max_length", kDefault, "[20]"},
    {"max_new_tokens", kDefault},
    {"min_length", kDefault, "[0]"},
    {"min_p", kDefault, "[0]"},
    {"no_repeat_ngram_size", kDefault, "[0]"},
    {"num_beams", kDefault, "[1]"},
    {"num_return_sequences", kDefault, "[1]"},
    {"repetition_penalty", kDefault, "[1]"},
    {"temperature", kDefault, "[1]"},
    {"top_k", kDefault, "[50]"},
    {"top_p", kDefault, "[1]"},
    {"output_scores", kHarmless},
    {"output_logits", kHarmless},
    {"return_dict_in_generate", kHarmless},
    {"remove_invalid_values", kHarmless},
    {"renormalize_logits", kHarmless},
};

// Decoding that we do not have.
constexpr Key kOtherDecoding[] = {
    {"bad_words_ids", kFixed},
    {"begin_suppress_tokens", kFixed, "[[]]"},
    {"constraints", kFixed},
    {"diversity_penalty", kFixed, "[0]"},
    {"early_stopping", kFixed, "[false]"},
    {"encoder_no_repeat_ngram_size", kFixed, "[0]"},
    {"encoder_repetition_penalty", kFixed, "[1]"},
    {"epsilon_cutoff", kFixed, "[0]"},
    {"eta_cutoff", kFixed, "[0]"},
    {"exponential_decay_length_penalty", kFixed},
    {"force_words_ids", kFixed},
    {"forced_bos_token_id", kFixed},
    {"forced_decoder_ids", kFixed, "[[]]"},
    {"forced_eos_token_id", kFixed},
    {"guidance_scale", kFixed, "[1]"},
    {"min_new_tokens", kFixed, "[0]"},
    {"num_beam_groups", kFixed, "[1]"},
    {"penalty_alpha", kFixed, "[0]"},
    {"sequence_bias", kFixed},
    {"stop_strings", kFixed},
    {"suppress_tokens", kFixed, "[[]]"},
    {"top_h", kFixed},
    {"typical_p", kFixed, "[1]"},
    {"watermarking_config", kFixed},
};

// transformers' BLIP passes its own ids to generate() and never reads those of this file.
constexpr Key kGeneration[] = {
    {"bos_token_id", kHarmless},
    {"eos_token_id", kHarmless},
    {"pad_token_id", kHarmless},
    {"decoder_start_token_id", kHarmless},
    {"sep_token_id", kHarmless},
    {"cache_implementation", kHarmless},
    {"cache_config", kHarmless},
    {"compile_config", kHarmless},
    {"disable_compile", kHarmless},
    {"dola_layers", kUnused},
    {"low_memory", kHarmless},
    {"max_time", kUnused},
    {"output_attentions", kHarmless},
    {"output_hidden_states", kHarmless},
    {"prompt_lookup_num_tokens", kHarmless},
    {"token_healing", kUnused, "[false]"},
    {"transformers_version", kHarmless},
    {"use_cache", kHarmless},
    {"assistant_confidence_threshold", kHarmless},
    {"assistant_early_exit", kHarmless},
    {"assistant_lookbehind", kHarmless},
    {"is_assistant", kHarmless},
    {"max_matching_ngram_size", kHarmless},
    {"num_assistant_tokens", kHarmless},
    {"num_assistant_tokens_schedule", kHarmless},
    {"prefill_chunk_size", kHarmless},
    {"return_legacy_cache", kHarmless},
    {"target_lookbehind", kHarmless},
};

constexpr Key kPreprocessor[] = {
    {"do_normalize", kRead},
    {"do_rescale", kRead},
    {"image_mean", kRead},
    {"image_std", kRead},
    {"resample", kRead},
    {"rescale_factor", kRead},
    {"size", kRead},
    {"do_resize", kFixed, "[true]"},
    {"do_convert_rgb", kFixed, "[true]"},
    {"do_center_crop", kFixed, "[false]"},
    {"do_grayscale", kFixed, "[false]"},
    {"default_to_square", kFixed, "[true]"},
    {"pad_size", kFixed},
    {"image_processor_type", kFixed,
     R"(["BlipImageProcessor", "BlipImageProcessorFast", "BlipImageProcessorPil"])"},
    {"feature_extractor_type", kFixed, R"(["BlipFeatureExtractor", "BlipImageProcessor"])"},
    {"crop_size", kHarmless},  // without do_center_crop
    {"data_format", kHarmless},
    {"device", kHarmless},
    {"disable_grouping", kHarmless},
    {"do_pad", kHarmless},        // to the largest picture of a batch; all have one size
    {"size_divisor", kHarmless},  // of another model's processor, from which BLIP's was copied
    {"input_data_format", kHarmless},
    {"image_seq_length", kHarmless},
    {"processor_class", kHarmless},
    {"return_tensors", kHarmless},
    {"auto_map", kFixed},
};

constexpr Key kProcessor[] = {
    {"image_processor", kRead},   {"processor_class", kHarmless},  {"tokenizer", kHarmless},
    {"chat_template", kHarmless}, {"num_query_tokens", kHarmless}, {"auto_map", kFixed},
};

constexpr Key kTokenizerConfig[] = {
    {"added_tokens_decoder", kRead},
    {"additional_special_tokens", kRead},
    {"extra_special_tokens", kRead},
    {"bos_token", kRead},
    {"clean_up_tokenization_spaces", kRead},
    {"cls_token", kRead},
    {"do_lower_case", kRead},
    {"eos_token", kRead},
    {"mask_token", kRead},
    {"pad_token", kRead},
    {"sep_token", kRead},
    {"strip_accents", kRead},
    {"tokenize_chinese_chars", kRead},
    {"unk_token", kRead},
    {"tokenizer_class", kFixed,
     R"(["BertTokenizer", "BertTokenizerFast", "PreTrainedTokenizerFast", "TokenizersBackend"])"},
    {"truncation_side", kFixed, R"(["right"])"},
    {"split_special_tokens", kFixed, "[false]"},
    {"add_prefix_space", kFixed, "[false]"},
    {"auto_map", kFixed},
    {"backend", kHarmless},
    {"chat_template", kHarmless},
    {"do_basic_tokenize",
     kHarmless},  // of the tokenizer in Python; the one of the `tokenizers` package is used
    {"never_split", kHarmless},  // the same
    {"use_fast", kHarmless},
    {"from_slow", kHarmless},
    {"legacy", kHarmless},
    {"is_local", kHarmless},
    {"local_files_only", kHarmless},
    {"max_length", kHarmless},  // of the call after which the tokenizer was saved, and the next six
    {"pad_to_multiple_of", kHarmless},
    {"pad_token_type_id", kHarmless},
    {"padding", kHarmless},
    {"stride", kHarmless},
    {"truncation", kHarmless},
    {"truncation_strategy", kHarmless},
    {"model_input_names", kHarmless},
    {"model_max_length", kHarmless},
    {"model_specific_special_tokens", kUnused, "[{}]"},
    {"name_or_path", kHarmless},
    {"padding_side", kHarmless},
    {"processor_class", kHarmless},
    {"return_token_type_ids", kHarmless},
    {"special_tokens_map_file", kHarmless},
    {"tokenizer_file", kHarmless},
    {"vocab_file", kHarmless},
};

// true: what would be refused is warned of instead
using Table = std::vector<std::pair<std::span<const Key>, bool>>;

Table tables_of(FolderFile file) {
  switch (file) {
    case FolderFile::kConfig:
      return {{kConfig, false}, {kCommon, false}, {kDecoding, false}, {kOtherDecoding, true}};
    case FolderFile::kVisionConfig:
      return {{kVision, false}, {kCommon, false}, {kDecoding, false}, {kOtherDecoding, true}};
    case FolderFile::kTextConfig:
      return {{kText, false}, {kCommon, false}, {kDecoding, false}, {kOtherDecoding, false}};
    case FolderFile::kGeneration:
      return {{kGeneration, false}, {kDecoding, false}, {kOtherDecoding, true}};
    case FolderFile::kPreprocessor:
      return {{kPreprocessor, false}};
    case FolderFile::kProcessor:
      return {{kProcessor, false}};
    case FolderFile::kTokenizerConfig:
      return {{kTokenizerConfig, false}};
  }
  return {};
}

// The options of ours that stand for a default of decoding.
std::string option_for(std::string_view key) {
  static const std::map<std::string_view, std::string> kOptions = {
      {"do_sample", "sample"},          {"no_repeat_ngram_size", "no_repeat_ngram"},
      {"num_beams", "beams"},           {"num_return_sequences", "num_return"},
      {"max_new_tokens", "max_length"}, {"min_new_tokens", "min_length"},
  };
  const auto it = kOptions.find(key);
  return it == kOptions.end() ? std::string(key) : it->second;
}

void check(const std::string& name, const json& value, const Key& key, bool lenient,
           const std::string& path, std::vector<std::string>& warnings) {
  if (key.rule == kRead || key.rule == kHarmless || value.is_null()) return;
  const json neutral = json::parse(key.neutral);
  if (std::find(neutral.begin(), neutral.end(), value) != neutral.end()) return;
  const std::string is = path + name + " is " + shown(value);
  if (key.rule == kFixed && !lenient) {
    std::string expected;
    for (const json& one : neutral) expected += (expected.empty() ? "" : " or ") + shown(one);
    throw Error(ErrorCode::kModel, is + "; expected " + (expected.empty() ? "none" : expected) +
                                       " (nothing else is supported)");
  }
  if (key.rule == kDefault) {
    warnings.push_back(is + ": not followed; decoding is decided by the option " +
                       option_for(name));
  } else {
    warnings.push_back(is + ": not followed, as BLIP in transformers does not");
  }
}

}  // namespace

void check_keys(const json& object, FolderFile file, const std::string& path,
                std::vector<std::string>& warnings) {
  const Table tables = tables_of(file);
  for (const auto& [name, value] : object.items()) {
    if (name.starts_with('_')) continue;  // what transformers keeps for itself
    const Key* found = nullptr;
    bool lenient = false;
    for (const auto& [keys, warn_only] : tables) {
      const auto it = std::find_if(keys.begin(), keys.end(),
                                   [&name = name](const Key& key) { return name == key.name; });
      if (it == keys.end() || found != nullptr) continue;
      found = &*it;
      lenient = warn_only;
    }
    if (found == nullptr) {
      warnings.push_back(path + name + " is not known: not followed");
    } else {
      check(name, value, *found, lenient, path, warnings);
    }
  }
}

}  // namespace blip::model
