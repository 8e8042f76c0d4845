// Where a vocabulary comes from: vocab.txt, tokenizer.json, the library itself.
#include "text/vocabulary.h"

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "base/json.h"
#include "blip/error.h"
#include "text/bundled_vocabulary.h"

namespace blip::text {
namespace {

using nlohmann::json;

// As many values as the largest vocabulary has tokens, and those that describe added ones.
constexpr JsonLimits kLimits{
    .max_bytes = std::size_t{64} << 20, .max_depth = 64, .max_values = kMaxTokens + kMaxTokens / 2};

// Reads the parts of one file; every message says which.
class Reader {
 public:
  explicit Reader(std::string where) : where_(std::move(where)) {}

  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ErrorCode::kModel,
                where_ + ": " + what + "; use a BERT WordPiece tokenizer.json or a vocab.txt");
  }

  json parse(std::string_view text) const {
    try {
      json file = read_json<json>(text, kLimits);
      if (!file.is_object()) fail("expected an object, got " + shown(file));
      return file;
    } catch (const JsonError& error) {
      fail(std::string("not valid JSON: ") + error.what());
    }
  }

  // A setting that our tokenizer has fixed: absent is fine, another value is another tokenizer.
  void expect(const json& object, const char* part, const char* key, const json& expected) const {
    const auto it = object.find(key);
    if (it == object.end() || *it == expected) return;
    fail(std::string(part) + "." + key + ": expected " + shown(expected) + ", got " + shown(*it));
  }

  // A part of the file; an absent part has BERT's settings.
  json part_of(const json& file, const char* name) const {
    const auto it = file.find(name);
    if (it == file.end()) return json::object();
    if (!it->is_object()) fail(std::string(name) + ": expected an object, got " + shown(*it));
    return *it;
  }

  bool flag(const json& object, const std::string& part, const char* key, bool otherwise) const {
    const auto it = object.find(key);
    if (it == object.end()) return otherwise;
    if (!it->is_boolean()) fail(part + key + ": expected true or false, got " + shown(*it));
    return it->get<bool>();
  }

  std::string text(const json& object, const std::string& part, const char* key,
                   const std::string& otherwise) const {
    const auto it = object.find(key);
    if (it == object.end()) return otherwise;
    if (!it->is_string()) fail(part + key + ": expected a string, got " + shown(*it));
    return it->get<std::string>();
  }

  NormalizerOptions normalizer(const json& file) const {
    const json object = part_of(file, "normalizer");
    expect(object, "normalizer", "type", "BertNormalizer");
    expect(object, "normalizer", "clean_text", true);
    NormalizerOptions options;
    options.lowercase = flag(object, "normalizer.", "lowercase", true);
    options.split_chinese = flag(object, "normalizer.", "handle_chinese_chars", true);
    const auto accents = object.find("strip_accents");
    // null: accents go exactly where letters are lowered
    const bool stated = accents != object.end() && !accents->is_null();
    options.strip_accents =
        stated ? flag(object, "normalizer.", "strip_accents", true) : options.lowercase;
    return options;
  }

  AddedToken added(const json& entry) const {
    if (!entry.is_object() || !entry.contains("content") || !entry["content"].is_string() ||
        !entry.contains("id")) {
      fail("added_tokens: expected objects with \"id\" and \"content\", got " + shown(entry));
    }
    AddedToken token;
    token.content = entry["content"].get<std::string>();
    const json& id = entry["id"];
    if (!id.is_number_integer() || id < 0 || id >= kMaxTokens)
      fail("id of token " + shown(entry["content"]) + ": expected a number from 0, got " +
           shown(id));
    token.id = id.get<std::int32_t>();
    token.special = flag(entry, "added_tokens.", "special", false);
    token.normalized = flag(entry, "added_tokens.", "normalized", !token.special);
    token.lstrip = flag(entry, "added_tokens.", "lstrip", false);
    token.rstrip = flag(entry, "added_tokens.", "rstrip", false);
    token.single_word = flag(entry, "added_tokens.", "single_word", false);
    return token;
  }

  // The tokens that open and close every text.
  void frame(const json& file, Vocabulary& vocabulary) const {
    const auto it = file.find("post_processor");
    if (it == file.end() || it->is_null()) return;
    const std::string type = it->is_object() ? text(*it, "post_processor.", "type", "") : "";
    if (type == "BertProcessing") {
      for (const auto& [key, token] :
           {std::pair{"cls", &vocabulary.cls}, {"sep", &vocabulary.sep}}) {
        const json& pair = it->contains(key) ? (*it)[key] : json();
        if (!pair.is_array() || pair.empty() || !pair[0].is_string())
          fail(std::string("post_processor.") + key + ": expected [token, id], got " + shown(pair));
        *token = pair[0].get<std::string>();
      }
      return;
    }
    const auto special = [](const json& piece) -> std::optional<std::string> {
      if (!piece.is_object() || !piece.contains("SpecialToken") ||
          !piece["SpecialToken"].is_object())
        return std::nullopt;
      const json& token = piece["SpecialToken"];
      return token.contains("id") && token["id"].is_string()
                 ? std::optional(token["id"].get<std::string>())
                 : std::nullopt;
    };
    const json single = it->is_object() && it->contains("single") ? (*it)["single"] : json();
    const bool framed = type == "TemplateProcessing" && single.is_array() && single.size() == 3 &&
                        single[1].is_object() && single[1].contains("Sequence");
    const auto cls = framed ? special(single[0]) : std::nullopt,
               sep = framed ? special(single[2]) : std::nullopt;
    if (!cls || !sep)
      fail("post_processor: expected one that puts [CLS] before and [SEP] behind a text, got " +
           shown(*it));
    vocabulary.cls = *cls;
    vocabulary.sep = *sep;
  }

 private:
  std::string where_;
};

// Tokens by id, each id at most once. Never larger than the number of tokens in the file.
class TokenList {
 public:
  TokenList(const Reader& reader, std::size_t capacity) : reader_(reader), tokens_(capacity) {}

  void put(const std::string& token, const json& id) {
    if (!id.is_number_integer() || id < 0)
      reader_.fail("id of token " + shown(json(token)) + ": expected a number from 0, got " +
                   shown(id));
    const auto index = id.get<std::uint64_t>();
    if (index >= tokens_.size()) {
      reader_.fail("token " + shown(json(token)) + " has id " + shown(id) +
                   ", but there are only " + std::to_string(tokens_.size()) +
                   " tokens: ids are missing");
    }
    auto& slot = tokens_[index];
    if (slot && *slot != token)
      reader_.fail("id " + shown(id) + " is given to both " + shown(json(*slot)) + " and " +
                   shown(json(token)));
    slot = token;
    used_ = std::max<std::size_t>(used_, index + 1);
  }

  std::vector<std::string> take() {
    std::vector<std::string> out;
    out.reserve(used_);
    for (std::size_t i = 0; i < used_; ++i) {
      if (!tokens_[i]) reader_.fail("no token has id " + std::to_string(i));
      out.push_back(std::move(*tokens_[i]));
    }
    return out;
  }

 private:
  const Reader& reader_;
  std::vector<std::optional<std::string>> tokens_;
  std::size_t used_ = 0;
};

json entry_of(const AddedToken& token) {
  return {{"id", token.id},
          {"content", token.content},
          {"special", token.special},
          {"normalized", token.normalized},
          {"lstrip", token.lstrip},
          {"rstrip", token.rstrip},
          {"single_word", token.single_word},
          {"is_piece", token.is_piece}};
}

}  // namespace

int Vocabulary::find(std::string_view token) const {
  const auto it = std::find(tokens.begin(), tokens.end(), token);
  return it == tokens.end() ? -1 : static_cast<int>(it - tokens.begin());
}

void Vocabulary::add_special(const std::string& token) {
  int id = find(token);
  const bool listed = std::any_of(added.begin(), added.end(),
                                  [&](const AddedToken& other) { return other.content == token; });
  if (listed) return;
  const bool is_piece = id >= 0;
  if (!is_piece) {
    id = static_cast<int>(tokens.size());
    tokens.push_back(token);
  }
  added.push_back(special_token(token, id));
  added.back().is_piece = is_piece;
}

Vocabulary plain_vocabulary(std::vector<std::string> tokens) {
  Vocabulary vocabulary;
  vocabulary.tokens = std::move(tokens);
  return vocabulary;
}

void add_blip_tokens(Vocabulary& vocabulary) {
  for (const char* token : {"[DEC]", "[ENC]"}) vocabulary.add_special(token);
}

Vocabulary official_vocabulary(std::vector<std::string> tokens) {
  Vocabulary vocabulary = plain_vocabulary(std::move(tokens));
  add_blip_tokens(vocabulary);
  return vocabulary;
}

const std::vector<std::string>& bundled_tokens() {
  static const std::vector<std::string> tokens = parse_vocab_txt(kBundledVocabulary);
  return tokens;
}

std::vector<std::string> parse_vocab_txt(std::string_view text) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  std::vector<std::string> tokens;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    tokens.emplace_back(line);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return tokens;
}

Vocabulary parse_tokenizer_json(std::string_view text, const std::string& where) {
  const Reader reader(where);
  const json file = reader.parse(text);
  const auto model = file.find("model");
  if (model == file.end() || !model->is_object()) reader.fail("there is no \"model\" object");
  reader.expect(*model, "model", "type", "WordPiece");
  reader.expect(*model, "model", "continuing_subword_prefix", "##");
  reader.expect(*model, "model", "max_input_chars_per_word", 100);
  const auto words = model->find("vocab");
  if (words == model->end() || !words->is_object())
    reader.fail("model.vocab: expected an object of token: id");
  const json added = file.value("added_tokens", json::array());
  if (!added.is_array()) reader.fail("added_tokens: expected a list, got " + shown(added));

  Vocabulary vocabulary;
  TokenList tokens(reader, words->size() + added.size());
  for (const auto& [token, id] : words->items()) tokens.put(token, id);
  for (const json& entry : added) {
    AddedToken token = reader.added(entry);
    token.is_piece = words->contains(token.content);
    tokens.put(token.content, entry["id"]);
    vocabulary.added.push_back(std::move(token));
  }
  vocabulary.tokens = tokens.take();
  vocabulary.unk = reader.text(*model, "model.", "unk_token", "[UNK]");
  vocabulary.normalizer = reader.normalizer(file);
  reader.expect(reader.part_of(file, "pre_tokenizer"), "pre_tokenizer", "type", "BertPreTokenizer");
  if (const auto decoder = file.find("decoder"); decoder != file.end() && !decoder->is_null()) {
    const json object = reader.part_of(file, "decoder");
    reader.expect(object, "decoder", "type", "WordPiece");
    reader.expect(object, "decoder", "prefix", "##");
    reader.expect(object, "decoder", "cleanup", true);
  }
  reader.frame(file, vocabulary);
  return vocabulary;
}

std::string settings_json(const Vocabulary& vocabulary) {
  // [DEC] and [ENC] at the end, whether the tokens were found with them or they were added here.
  Vocabulary usual = official_vocabulary(vocabulary.tokens), stated = vocabulary;
  for (Vocabulary* each : {&usual, &stated}) {
    for (AddedToken& token : each->added) token.is_piece = true;
  }
  if (stated == usual) return "";
  json added = json::array();
  for (const AddedToken& token : vocabulary.added) added.push_back(entry_of(token));
  const json settings{{"lowercase", vocabulary.normalizer.lowercase},
                      {"strip_accents", vocabulary.normalizer.strip_accents},
                      {"split_chinese", vocabulary.normalizer.split_chinese},
                      {"clean_up_spaces", vocabulary.clean_up_spaces},
                      {"pad", vocabulary.pad},
                      {"unk", vocabulary.unk},
                      {"cls", vocabulary.cls},
                      {"sep", vocabulary.sep},
                      {"mask", vocabulary.mask},
                      {"added_tokens", added}};
  return settings.dump();
}

void apply_settings(Vocabulary& vocabulary, std::string_view text, const std::string& where) {
  const Reader reader(where);
  const json file = reader.parse(text);
  vocabulary.normalizer.lowercase = reader.flag(file, "", "lowercase", true);
  vocabulary.normalizer.strip_accents = reader.flag(file, "", "strip_accents", true);
  vocabulary.normalizer.split_chinese = reader.flag(file, "", "split_chinese", true);
  vocabulary.clean_up_spaces = reader.flag(file, "", "clean_up_spaces", true);
  for (const auto& [key, token] : {std::pair{"pad", &vocabulary.pad},
                                   {"unk", &vocabulary.unk},
                                   {"cls", &vocabulary.cls},
                                   {"sep", &vocabulary.sep},
                                   {"mask", &vocabulary.mask}}) {
    *token = reader.text(file, "", key, *token);
  }
  const json added = file.value("added_tokens", json::array());
  if (!added.is_array()) reader.fail("added_tokens: expected a list, got " + shown(added));
  vocabulary.added.clear();
  for (const json& entry : added) {
    vocabulary.added.push_back(reader.added(entry));
    vocabulary.added.back().is_piece = reader.flag(entry, "added_tokens.", "is_piece", true);
  }
}

}  // namespace blip::text
