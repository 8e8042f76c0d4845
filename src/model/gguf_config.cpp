#include "model/gguf_config.h"

#include <array>
#include <cmath>

#include "blip/error.h"
#include "model/settings.h"
#include "text/tokenizer.h"

namespace blip::model {
namespace {

constexpr const char *kTokens = "tokenizer.ggml.tokens",
                     *kUnknown = "tokenizer.ggml.unknown_token_id",
                     *kCls = "tokenizer.ggml.cls_token_id",
                     *kSep =
                         "tokenizer.ggml.seperator_token_id",  // spelt so in the GGUF specification
                         *kPad = "tokenizer.ggml.padding_token_id",
                     *kBos = "tokenizer.ggml.bos_token_id", *kEos = "tokenizer.ggml.eos_token_id",
                     *kAdapters = "blip.adapters",
                     *kQuestion = "blip.question_token_id",  // where it is not [ENC]
                         *kSettings = "blip.tokenizer";      // JSON, text::settings_json

[[noreturn]] void fail(const std::string& message) { throw Error(ErrorCode::kModel, message); }

// The keys of the configuration. Visitor: integer(key, int&, low, high), number(key, float&, low,
// high), text(key, string&), flag(key, bool&), triple(key, array<float, 3>&), tower(key,
// optional<TextConfig>&) -> bool (is the tower there).
template <class Visitor>
void visit_text(Visitor& v, const std::string& part, std::optional<TextConfig>& tower) {
  const std::string at = "blip." + part + ".";
  if (!v.tower(at + "block_count", tower)) return;
  TextConfig& c = *tower;
  v.integer(at + "block_count", c.layers, 1, kMaxLayers);
  v.integer(at + "embedding_length", c.width, 1, kMaxWidth);
  v.integer(at + "feed_forward_length", c.mlp, 1, kMaxWidth);
  v.integer(at + "attention.head_count", c.heads, 1, kMaxWidth);
  v.number(at + "attention.layer_norm_epsilon", c.eps);
  v.integer(at + "cross_attention_length", c.vision_width, 1, kMaxWidth);
  v.integer(at + "context_length", c.max_positions, 1, kMaxPositions);
  v.integer(at + "vocab_size", c.vocab, 1, kMaxVocab);
}

template <class Visitor>
void visit(Visitor& v, ModelConfig& c) {
  v.integer("blip.vision.image_size", c.vision.image_size, 1, kMaxImage);
  v.integer("blip.vision.patch_size", c.vision.patch_size, 1, kMaxImage);
  v.integer("blip.vision.block_count", c.vision.layers, 1, kMaxLayers);
  v.integer("blip.vision.embedding_length", c.vision.width, 1, kMaxWidth);
  v.integer("blip.vision.feed_forward_length", c.vision.mlp, 1, kMaxWidth);
  v.integer("blip.vision.attention.head_count", c.vision.heads, 1, kMaxWidth);
  v.number("blip.vision.attention.layer_norm_epsilon", c.vision.eps);
  v.triple("blip.vision.image_mean", c.normalization.mean);
  v.triple("blip.vision.image_std", c.normalization.std);
  visit_text(v, "text", c.text_encoder);
  visit_text(v, "caption", c.caption_decoder);
  visit_text(v, "question", c.question_encoder);
  visit_text(v, "answer", c.answer_decoder);
  visit_text(v, "nlvr", c.nlvr_encoder);
  v.flag("blip.itm_head", c.has_itm_head);
  v.integer("blip.itc_length", c.embed_dim, 0, kMaxWidth);
  v.integer("blip.max_text_length", c.max_text, kShortestText, kMaxPositions);
  v.text("blip.prompt", c.prompt);
}

class Writer {
 public:
  explicit Writer(Metadata& metadata) : metadata_(metadata) {}
  bool tower(const std::string&, const std::optional<TextConfig>& tower) const {
    return tower.has_value();
  }
  void integer(const std::string& key, int value, int, int) {
    metadata_[key] = std::int64_t{value};
  }
  void number(const std::string& key, float value) { metadata_[key] = double{value}; }
  void flag(const std::string& key, bool value) { metadata_[key] = value; }
  void text(const std::string& key, const std::string& value) { metadata_[key] = value; }
  void triple(const std::string& key, const std::array<float, 3>& v) {
    metadata_[key] = std::vector<double>{v[0], v[1], v[2]};
  }

 private:
  Metadata& metadata_;
};

class Reader {
 public:
  Reader(const Metadata& metadata, std::string where)
      : metadata_(metadata), where_(std::move(where)) {}

  bool tower(const std::string& key, std::optional<TextConfig>& tower) const {
    if (metadata_.contains(key)) tower.emplace();
    return tower.has_value();
  }
  void integer(const std::string& key, int& value, int low, int high) const {
    const auto number = get<std::int64_t>(key, "an integer");
    if (number < low || number > high) {
      fail(where_ + ": " + key + " is " + std::to_string(number) + "; expected " +
           std::to_string(low) + " to " + std::to_string(high));
    }
    value = static_cast<int>(number);
  }
  void number(const std::string& key, float& value) const {
    const double number = get<double>(key, "a number");
    if (!(number > 0 && number < 1))
      fail(where_ + ": " + key + " is " + std::to_string(number) +
           "; expected a number between 0 and 1");
    value = static_cast<float>(number);
  }
  void flag(const std::string& key, bool& value) const { value = get<bool>(key, "a boolean"); }
  void text(const std::string& key, std::string& value) const {
    value = get<std::string>(key, "a string");
  }
  void triple(const std::string& key, std::array<float, 3>& value) const {
    const auto numbers = get<std::vector<double>>(key, "three numbers");
    if (numbers.size() != 3)
      fail(where_ + ": " + key + " has " + std::to_string(numbers.size()) + " values; expected 3");
    for (std::size_t i = 0; i < 3; ++i) {
      value[i] = static_cast<float>(numbers[i]);
      if (!std::isfinite(value[i])) fail(where_ + ": " + key + " is not finite");
    }
  }

 private:
  template <class T>
  T get(const std::string& key, const char* expected) const {
    const auto it = metadata_.find(key);
    if (it == metadata_.end())
      fail(where_ + ": the key " + key +
           " is missing; is this a GGUF file written by `blip convert`?");
    const T* value = std::get_if<T>(&it->second);
    if (value == nullptr) fail(where_ + ": the key " + key + " is not " + expected);
    return *value;
  }

  const Metadata& metadata_;
  std::string where_;
};

}  // namespace

void write_config(const ModelConfig& config, Metadata& metadata) {
  Writer writer(metadata);
  ModelConfig copy = config;  // the list of keys is shared with the reader, which writes into it
  visit(writer, copy);
}

ModelConfig read_config(const Metadata& metadata, const std::string& where) {
  const auto architecture = metadata.find("general.architecture");
  const auto* name =
      architecture == metadata.end() ? nullptr : std::get_if<std::string>(&architecture->second);
  if (name == nullptr || *name != "blip") {
    fail(where + ": general.architecture is " +
         (name == nullptr ? "missing" : "\"" + *name + "\"") + "; expected \"blip\"");
  }
  ModelConfig config;
  const Reader reader(metadata, where);
  visit(reader, config);
  for (const float deviation : config.normalization.std) {
    if (!(deviation > 0)) fail(where + ": blip.vision.image_std must be above 0");
  }
  if ((config.has_itm_head || config.embed_dim > 0) && !config.text_encoder) {
    fail(where + ": ITM or ITC heads without a text encoder (blip.text.block_count is missing)");
  }
  return config;
}

void write_merged_adapters(const std::vector<std::string>& names, Metadata& metadata) {
  if (!names.empty()) metadata[kAdapters] = names;
}

std::vector<std::string> merged_before(const Metadata& metadata, const std::string& where) {
  const auto it = metadata.find(kAdapters);
  if (it == metadata.end()) return {};
  const auto* names = std::get_if<std::vector<std::string>>(&it->second);
  if (names == nullptr) fail(where + ": " + kAdapters + " is not a list of strings");
  return *names;
}

void write_vocabulary(const text::Vocabulary& vocabulary, const TokenIds& tokens, int rows,
                      Metadata& metadata) {
  const text::SpecialTokens special = text::Tokenizer(vocabulary).special();
  std::vector<std::string> list = vocabulary.tokens;
  list.resize(static_cast<std::size_t>(rows));
  metadata[kTokens] = std::move(list);
  metadata["tokenizer.ggml.model"] = std::string("bert");
  metadata[kUnknown] = std::int64_t{special.unk};
  metadata[kCls] = std::int64_t{special.cls};
  metadata[kSep] = std::int64_t{special.sep};
  metadata[kPad] = std::int64_t{tokens.pad};
  metadata[kBos] = std::int64_t{tokens.bos};
  metadata[kEos] = std::int64_t{tokens.eos};
  if (tokens.question != special.enc) metadata[kQuestion] = std::int64_t{tokens.question};
  if (std::string settings = text::settings_json(vocabulary); !settings.empty())
    metadata[kSettings] = std::move(settings);
}

std::optional<text::Vocabulary> read_vocabulary(const Metadata& metadata, const std::string& where,
                                                TokenIds& ids) {
  const auto tokens = metadata.find(kTokens);
  if (tokens == metadata.end()) return std::nullopt;
  if (const auto kind = metadata.find("tokenizer.ggml.model"); kind != metadata.end()) {
    const auto* name = std::get_if<std::string>(&kind->second);
    if (name == nullptr || *name != "bert")
      fail(where +
           ": tokenizer.ggml.model is not \"bert\"; only WordPiece vocabularies are supported");
  }
  const auto* list = std::get_if<std::vector<std::string>>(&tokens->second);
  if (list == nullptr || list->empty()) fail(where + ": " + kTokens + " is not a list of strings");
  const auto id = [&](const char* key) {
    const auto it = metadata.find(key);
    if (it == metadata.end()) return -1;
    const auto* number = std::get_if<std::int64_t>(&it->second);
    if (number == nullptr || *number < 0 || *number >= static_cast<std::int64_t>(list->size())) {
      fail(where + ": " + key + " is " +
           (number == nullptr ? "no integer" : std::to_string(*number)) +
           "; expected an id of the " + std::to_string(list->size()) + " tokens of " + kTokens);
    }
    return static_cast<int>(*number);
  };
  text::Vocabulary vocabulary = text::official_vocabulary(*list);
  if (vocabulary.tokens.size() != list->size()) vocabulary = text::plain_vocabulary(*list);
  if (const auto it = metadata.find(kSettings); it != metadata.end()) {
    const auto* settings = std::get_if<std::string>(&it->second);
    if (settings == nullptr) fail(where + ": " + kSettings + " is not a string");
    text::apply_settings(vocabulary, *settings, where + ": " + kSettings);
  }
  const auto role = [&](const char* key, std::string& token) {
    const int found = id(key);
    if (found < 0) return;
    token = (*list)[static_cast<std::size_t>(found)];
    if (token.empty())
      fail(where + ": " + key + " is " + std::to_string(found) + ", which is no token of " +
           kTokens);
  };
  role(kUnknown, vocabulary.unk);
  role(kCls, vocabulary.cls);
  role(kSep, vocabulary.sep);
  ids = {id(kBos), id(kEos), id(kPad), id(kQuestion)};
  return vocabulary;
}

}  // namespace blip::model
