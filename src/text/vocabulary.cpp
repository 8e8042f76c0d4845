// Where a vocabulary comes from: vocab.txt, tokenizer.json, the library itself.
#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>

#include "blip/error.h"
#include "text/bundled_vocabulary.h"
#include "text/tokenizer.h"

namespace blip::text {
namespace {

using nlohmann::json;

[[noreturn]] void fail(const std::string& what) {
  throw Error(ErrorCode::kModel, "tokenizer.json: " + what + "; use a BERT WordPiece tokenizer.json or a vocab.txt");
}

json parse(std::string_view text) {
  try {
    return json::parse(text);
  } catch (const json::parse_error& error) {
    fail("not valid JSON at byte " + std::to_string(error.byte));
  } catch (const json::exception&) {  // a number too large for any type
    fail("not valid JSON");
  }
}

// A short form of a value for messages, whatever it holds.
std::string show(const json& value) {
  std::string text = value.dump(-1, ' ', true, json::error_handler_t::replace);
  return text.size() > 40 ? text.substr(0, 40) + "..." : text;
}

// A setting that our tokenizer has fixed: absent is fine, another value is another tokenizer.
void expect(const json& object, const char* part, const char* key, const json& expected) {
  const auto it = object.find(key);
  if (it == object.end() || *it == expected) return;
  fail(std::string(part) + "." + key + ": expected " + show(expected) + ", got " + show(*it));
}

// A part of the file; an absent part has BERT's settings.
json part_of(const json& file, const char* name) {
  const auto it = file.find(name);
  if (it == file.end()) return json::object();
  if (!it->is_object()) fail(std::string(name) + ": expected an object, got " + show(*it));
  return *it;
}

bool read_lowercase(const json& file) {
  const json normalizer = part_of(file, "normalizer");
  expect(normalizer, "normalizer", "type", "BertNormalizer");
  expect(normalizer, "normalizer", "clean_text", true);
  expect(normalizer, "normalizer", "handle_chinese_chars", true);
  const json lowercase = normalizer.value("lowercase", json(true));
  if (!lowercase.is_boolean()) fail("normalizer.lowercase: expected true or false, got " + show(lowercase));
  // null: accents go exactly where letters are lowered.
  const auto accents = normalizer.find("strip_accents");
  if (accents != normalizer.end() && !accents->is_null()) expect(normalizer, "normalizer", "strip_accents", lowercase);
  expect(part_of(file, "pre_tokenizer"), "pre_tokenizer", "type", "BertPreTokenizer");
  return lowercase.get<bool>();
}

// Tokens by id, each id at most once. Never larger than the number of tokens in the file.
class TokenList {
 public:
  explicit TokenList(std::size_t capacity) : tokens_(capacity) {}

  void put(const std::string& token, const json& id) {
    if (!id.is_number_integer() || id < 0) fail("id of token " + show(token) + ": expected a number from 0, got " + show(id));
    const auto index = id.get<std::uint64_t>();
    if (index >= tokens_.size()) {
      fail("token " + show(token) + " has id " + show(id) + ", but there are only " + std::to_string(tokens_.size()) +
           " tokens: ids are missing");
    }
    auto& slot = tokens_[index];
    if (slot && *slot != token) fail("id " + show(id) + " is given to both " + show(*slot) + " and " + show(token));
    slot = token;
    used_ = std::max<std::size_t>(used_, index + 1);
  }

  std::vector<std::string> take() {
    std::vector<std::string> out;
    out.reserve(used_);
    for (std::size_t i = 0; i < used_; ++i) {
      if (!tokens_[i]) fail("no token has id " + std::to_string(i));
      out.push_back(std::move(*tokens_[i]));
    }
    return out;
  }

 private:
  std::vector<std::optional<std::string>> tokens_;
  std::size_t used_ = 0;
};

}  // namespace

std::vector<std::string> Tokenizer::parse_vocab_txt(std::string_view text) {
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

std::vector<std::string> Tokenizer::parse_tokenizer_json(std::string_view text, bool* lowercase) {
  const json file = parse(text);
  if (!file.is_object()) fail("expected an object, got " + show(file));
  const auto model = file.find("model");
  if (model == file.end() || !model->is_object()) fail("there is no \"model\" object");
  expect(*model, "model", "type", "WordPiece");
  expect(*model, "model", "unk_token", "[UNK]");
  expect(*model, "model", "continuing_subword_prefix", "##");
  expect(*model, "model", "max_input_chars_per_word", 100);
  const auto vocabulary = model->find("vocab");
  if (vocabulary == model->end() || !vocabulary->is_object()) fail("model.vocab: expected an object of token: id");
  const json added = file.value("added_tokens", json::array());
  if (!added.is_array()) fail("added_tokens: expected a list, got " + show(added));

  TokenList tokens(vocabulary->size() + added.size());
  for (const auto& [token, id] : vocabulary->items()) tokens.put(token, id);
  for (const json& entry : added) {
    if (!entry.is_object() || !entry.contains("content") || !entry["content"].is_string() || !entry.contains("id")) {
      fail("added_tokens: expected objects with \"id\" and \"content\", got " + show(entry));
    }
    tokens.put(entry["content"].get<std::string>(), entry["id"]);
  }
  const bool lower = read_lowercase(file);
  if (lowercase) *lowercase = lower;
  return tokens.take();
}

const std::vector<std::string>& Tokenizer::bundled_vocabulary() {
  static const std::vector<std::string> vocabulary = parse_vocab_txt(kBundledVocabulary);
  return vocabulary;
}

}  // namespace blip::text
