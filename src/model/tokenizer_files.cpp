#include "model/tokenizer_files.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <unordered_map>
#include <utility>

#include "base/file.h"
#include "blip/error.h"
#include "io/json_object.h"
#include "model/known_keys.h"

namespace blip::model {
namespace {

namespace fs = std::filesystem;
using io::Json;
using io::JsonObject;
using text::AddedToken;
using text::Vocabulary;

// the largest tokenizer.json in use are a few MiB
constexpr std::size_t kMaxJson = std::size_t{64} << 20;

[[noreturn]] void fail(const std::string& message) { throw Error(ErrorCode::kModel, message); }

// Lines at the end without a token name nothing.
std::vector<std::string> read_vocab_txt(const std::string& path) {
  std::vector<std::string> tokens = text::parse_vocab_txt(read_text(path, kMaxJson));
  while (!tokens.empty() && tokens.back().empty()) tokens.pop_back();
  if (tokens.empty()) fail(path + " is empty; expected one token a line");
  return tokens;
}

// A JSON file of the folder that may be absent.
struct Optional {
  Optional(const fs::path& folder, const char* name)
      : where((folder / name).string()), there(is_there(where)) {
    if (there) json = io::parse_json(read_text(where, kMaxJson), where);
  }
  JsonObject object() const { return JsonObject(json, where); }

  std::string where;
  bool there;
  Json json = Json::object();
};

class Builder {
 public:
  explicit Builder(const fs::path& folder)
      : folder_(folder),
        config_(folder, "tokenizer_config.json"),
        map_(folder, "special_tokens_map.json"),
        added_(folder, "added_tokens.json") {}

  FolderVocabulary build() {
    const std::string vocab = (folder_ / "vocab.txt").string(),
                      tokenizer = (folder_ / "tokenizer.json").string();
    if (is_there(tokenizer)) {
      out_.where = tokenizer;
      tokenizer_json_ = read_text(tokenizer, kMaxJson);
      out_.vocabulary = text::parse_tokenizer_json(tokenizer_json_, tokenizer);
      if (is_there(vocab)) compare(read_vocab_txt(vocab), vocab);
    } else {
      out_.where = vocab;
      out_.vocabulary = text::plain_vocabulary(read_vocab_txt(vocab));
    }
    if (config_.there)
      check_keys((config_.object(), config_.json), FolderFile::kTokenizerConfig,
                 config_.where + ": ", out_.warnings);
    if (map_.there) map_.object();
    for (std::size_t i = 0; i < out_.vocabulary.tokens.size(); ++i)
      ids_.emplace(out_.vocabulary.tokens[i], static_cast<int>(i));
    normalizer();
    described_tokens();
    listed_tokens();
    roles();
    return std::move(out_);
  }

 private:
  // Both files hold the word pieces.
  void compare(const std::vector<std::string>& lines, const std::string& where) const {
    const Vocabulary& v = out_.vocabulary;
    const auto added = static_cast<std::size_t>(std::count_if(
        v.added.begin(), v.added.end(), [](const AddedToken& t) { return !t.is_piece; }));
    const std::size_t pieces = v.tokens.size() - added;
    if (lines.size() < pieces || lines.size() > v.tokens.size()) {
      fail(where + " has " + std::to_string(lines.size()) + " tokens, " + out_.where + " " +
           std::to_string(pieces) + "; they are of different models: remove one");
    }
    for (std::size_t i = 0; i < lines.size(); ++i) {
      if (lines[i] != v.tokens[i]) {
        fail(where + ": token " + std::to_string(i) + " is " + shown(Json(lines[i])) + ", but " +
             shown(Json(v.tokens[i])) + " in " + out_.where +
             "; they are of different models: remove one");
      }
    }
  }

  // tokenizer_config.json decides; tokenizer.json may not contradict it.
  bool settled(const char* key, bool in_tokenizer, const char* other) const {
    const auto stated = config_.object().boolean(key);
    if (!stated) return in_tokenizer;
    if (!tokenizer_json_.empty() && *stated != in_tokenizer) {
      fail(config_.where + ": " + key + " is " + (*stated ? "true" : "false") +
           ", but normalizer." + other + " of " + out_.where + " says otherwise; make them agree");
    }
    return *stated;
  }

  void normalizer() {
    text::NormalizerOptions& n = out_.vocabulary.normalizer;
    const bool accents_follow = n.strip_accents == n.lowercase;
    n.lowercase = settled("do_lower_case", n.lowercase, "lowercase");
    if (accents_follow) n.strip_accents = n.lowercase;
    n.strip_accents = settled("strip_accents", n.strip_accents, "strip_accents");
    n.split_chinese = settled("tokenize_chinese_chars", n.split_chinese, "handle_chinese_chars");
    if (const auto clean = config_.object().boolean("clean_up_tokenization_spaces"))
      out_.vocabulary.clean_up_spaces = *clean;
  }

  // Ids follow one another: transformers gives a token another id than the file where some are
  // missing before it.
  void place(AddedToken token, const std::string& where) {
    if (token.content.empty()) return;
    Vocabulary& v = out_.vocabulary;
    const auto known = ids_.find(token.content);
    token.is_piece = known != ids_.end();
    if (known == ids_.end()) {
      if (static_cast<std::size_t>(token.id) < v.tokens.size()) {
        fail(where + ": " + shown(Json(token.content)) + " has id " + std::to_string(token.id) +
             ", which is that of " + shown(Json(v.tokens[static_cast<std::size_t>(token.id)])));
      }
      if (static_cast<std::size_t>(token.id) > v.tokens.size()) {
        fail(where + ": " + shown(Json(token.content)) + " has id " + std::to_string(token.id) +
             ", but there are only " + std::to_string(v.tokens.size()) +
             " tokens before it: ids are missing");
      }
      ids_.emplace(token.content, token.id);
      v.tokens.push_back(token.content);
    } else if (known->second != token.id) {
      fail(where + ": " + shown(Json(token.content)) + " has id " + std::to_string(token.id) +
           ", but " + std::to_string(known->second) + " in " + out_.where);
    }
    const auto listed = std::find_if(v.added.begin(), v.added.end(), [&](const AddedToken& other) {
      return other.content == token.content;
    });
    if (listed == v.added.end()) {
      v.added.push_back(std::move(token));
    } else {
      token.is_piece = listed->is_piece;
      *listed = std::move(token);
    }
  }

  static void read_flags(const JsonObject& object, AddedToken& token) {
    token.special = object.boolean("special").value_or(token.special);
    token.normalized = object.boolean("normalized").value_or(!token.special);
    token.lstrip = object.boolean("lstrip").value_or(false);
    token.rstrip = object.boolean("rstrip").value_or(false);
    token.single_word = object.boolean("single_word").value_or(false);
  }

  // {"30524": {"content": ..., flags}}
  void described_tokens() {
    const Json* decoder = config_.object().find("added_tokens_decoder");
    if (decoder == nullptr) return;
    const std::string where = config_.where + ": added_tokens_decoder";
    if (!decoder->is_object()) fail(where + " is " + shown(*decoder) + "; expected an object");
    std::map<int, AddedToken> tokens;
    for (const auto& [key, value] : decoder->items()) {
      const bool number =
          !key.empty() && key.size() <= 7 &&
          std::all_of(key.begin(), key.end(), [](char c) { return c >= '0' && c <= '9'; });
      if (!number) fail(where + ": the key " + shown(Json(key)) + " is not a token's id");
      const JsonObject object(value, where + "." + key);
      AddedToken token;
      token.content = object.required_string("content");
      token.id = std::stoi(key);
      read_flags(object, token);
      tokens[token.id] = std::move(token);
    }
    for (auto& [id, token] : tokens) place(std::move(token), where);
  }

  // {"<sks>": 30524}
  void listed_tokens() {
    if (!added_.there) return;
    added_.object();
    std::map<int, std::string> tokens;
    for (const auto& [content, id] : added_.json.items()) {
      const JsonObject object(added_.json, added_.where);
      const auto number = object.integer(content.c_str(), 0, static_cast<int>(text::kMaxTokens));
      if (!number || !tokens.emplace(*number, content).second)
        fail(added_.where + ": " + shown(Json(content)) + " has the id " + shown(id) +
             "; expected one of its own");
    }
    for (const auto& [id, content] : tokens) {
      const auto& added = out_.vocabulary.added;
      const auto listed = std::find_if(
          added.begin(), added.end(),
          [&content = content](const AddedToken& other) { return other.content == content; });
      AddedToken token;
      if (listed != added.end()) token = *listed;  // described better elsewhere
      token.content = content;
      token.id = id;
      place(std::move(token), added_.where);
    }
  }

  // A token with a name is special; one that the vocabulary lacks gets the next id, in the order of
  // transformers.
  std::string special(const Json& value, const std::string& where) {
    std::string content;
    if (value.is_string()) content = value.get<std::string>();
    if (value.is_object()) content = JsonObject(value, where).required_string("content");
    if (content.empty()) fail(where + " is " + shown(value) + "; expected a token");
    const auto known = ids_.find(content);
    AddedToken token = text::special_token(
        content,
        known == ids_.end() ? static_cast<int>(out_.vocabulary.tokens.size()) : known->second);
    const auto& added = out_.vocabulary.added;
    const auto listed = std::find_if(added.begin(), added.end(), [&](const AddedToken& other) {
      return other.content == content;
    });
    if (value.is_object()) {
      read_flags(JsonObject(value, where), token);
    } else if (listed != added.end() && listed->special) {
      token = *listed;
    }
    token.special = true;
    place(std::move(token), where);
    return content;
  }

  void roles() {
    Vocabulary& v = out_.vocabulary;
    const std::string old_cls = v.cls, old_sep = v.sep, old_unk = v.unk;
    const std::pair<const char*, std::string*> kNames[] = {
        {"bos_token", nullptr}, {"eos_token", nullptr}, {"unk_token", &v.unk},
        {"sep_token", &v.sep},  {"pad_token", &v.pad},  {"cls_token", &v.cls},
        {"mask_token", &v.mask}};
    for (const auto& [name, role] : kNames) {
      for (const Optional* file : {&config_, &map_}) {
        const Json* value = file->object().find(name);
        if (value == nullptr) continue;
        const std::string token = special(*value, file->where + ": " + name);
        if (role != nullptr) *role = token;
        break;  // tokenizer_config.json decides
      }
    }
    if (!tokenizer_json_.empty()) {
      for (const auto& [name, before, now] : {std::tuple{"unk_token", &old_unk, &v.unk},
                                              {"cls_token", &old_cls, &v.cls},
                                              {"sep_token", &old_sep, &v.sep}}) {
        if (*before != *now) {
          fail(config_.where + ": " + name + " is " + shown(Json(*now)) + ", but " +
               shown(Json(*before)) + " in " + out_.where + "; make them agree");
        }
      }
    }
    for (const Optional* file : {&config_, &map_}) {
      for (const char* name : {"additional_special_tokens", "extra_special_tokens"})
        additional(*file, name);
    }
  }

  // A list of tokens, or an object of names and tokens.
  void additional(const Optional& file, const char* name) {
    const Json* value = file.object().find(name);
    if (value == nullptr) return;
    const std::string where = file.where + ": " + name;
    if (!value->is_array() && !value->is_object())
      fail(where + " is " + shown(*value) + "; expected a list of tokens");
    for (const Json& token : *value) special(token, where);
  }

  fs::path folder_;
  Optional config_, map_, added_;
  std::string tokenizer_json_;  // "" where there is none
  std::unordered_map<std::string, int> ids_;
  FolderVocabulary out_;
};

}  // namespace

std::optional<FolderVocabulary> load_vocabulary(const std::string& folder) {
  const fs::path path(folder);
  if (!is_there(path / "vocab.txt") && !is_there(path / "tokenizer.json")) return std::nullopt;
  return Builder(path).build();
}

text::Vocabulary read_vocabulary_file(const std::string& path) {
  if (path.ends_with(".json")) return text::parse_tokenizer_json(read_text(path, kMaxJson), path);
  return text::plain_vocabulary(read_vocab_txt(path));
}

}  // namespace blip::model
