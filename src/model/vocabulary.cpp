#include "model/vocabulary.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "blip/error.h"
#include "model/gguf_config.h"
#include "model/tokenizer_files.h"
#include "text/tokenizer.h"

namespace blip::model {
namespace {

[[noreturn]] void fail(const std::string& message) { throw Error(ErrorCode::kModel, message); }

// The towers that look up words.
std::vector<std::pair<const TextConfig*, Part>> towers_of(const ModelConfig& config) {
  std::vector<std::pair<const TextConfig*, Part>> towers;
  for (const auto& [tower, part] : {std::pair{&config.text_encoder, Part::kText},
                                    {&config.caption_decoder, Part::kCaption},
                                    {&config.question_encoder, Part::kQuestion},
                                    {&config.answer_decoder, Part::kAnswer},
                                    {&config.nlvr_encoder, Part::kNlvr}}) {
    if (*tower) towers.emplace_back(&**tower, part);
  }
  return towers;
}

struct Found {
  text::Vocabulary vocabulary;
  std::string where;
};

Found find_vocabulary(const Source& source, ModelConfig& config,
                      std::vector<std::string>& warnings) {
  if (source.format == "gguf") {
    if (auto vocabulary =
            read_vocabulary(source.files.front()->metadata(), source.path, config.tokens))
      return {std::move(*vocabulary), source.path};
  } else if (auto folder = load_vocabulary(source.folder)) {
    warnings.insert(warnings.end(), folder->warnings.begin(), folder->warnings.end());
    return {std::move(folder->vocabulary), folder->where};
  }
  return {text::plain_vocabulary(text::bundled_tokens()),
          "the bundled bert-base-uncased vocabulary"};
}

// Every row must have a token; rows that pad the table behind BLIP's two are allowed where the
// configuration shows that nothing moved: it says which row [DEC] is, and the vocabulary ends
// there.
void check_rows(std::size_t tokens, std::size_t counted, bool pads, const std::string& where,
                const ModelConfig& config) {
  for (const auto& [tower, part] : towers_of(config)) {
    const auto rows = static_cast<std::size_t>(tower->vocab);
    if (tokens == rows || (pads && tokens < rows)) continue;
    fail(where + " has " + std::to_string(counted) + " tokens" +
         (tokens > counted ? " and " + std::to_string(tokens - counted) + " are added" : "") +
         ", but the word embeddings of the " + part_name(part) + " have " + std::to_string(rows) +
         " rows; put the model's own vocabulary beside it");
  }
}

// Tables are padded to a multiple of this for the sake of some processors.
constexpr int kPadding = 8, kMostPadding = 128;

bool padded(std::size_t tokens, int rows) {
  return rows % kPadding == 0 && static_cast<std::size_t>(rows) > tokens &&
         static_cast<std::size_t>(rows) - tokens < kMostPadding;
}

void check_id(int id, const char* what, const std::string& where, const ModelConfig& config) {
  for (const auto& [tower, part] : towers_of(config)) {
    if (id >= 0 && id < tower->vocab) continue;
    fail(where + ": " + what + " is " + std::to_string(id) + ", but the word embeddings of the " +
         part_name(part) + " have " + std::to_string(tower->vocab) + " rows");
  }
}

}  // namespace

text::Vocabulary settle_vocabulary(const Source& source, Layout layout, ModelConfig& config,
                                   std::vector<std::string>& warnings) {
  Found found = find_vocabulary(source, config, warnings);
  text::Vocabulary& v = found.vocabulary;
  const std::size_t counted = v.tokens.size();
  const auto towers = towers_of(config);
  const int rows = towers.empty() ? 0 : towers.front().first->vocab;
  TokenIds& ids = config.tokens;
  bool pads = false;
  if (layout == Layout::kHuggingFace) {
    // transformers leaves [DEC] and [ENC] out of the vocabulary; the configuration says where they
    // are.
    if (static_cast<std::size_t>(ids.bos) == counted && ids.bos < rows) {
      pads = true;
      v.add_special("[DEC]");
      if (ids.bos + 1 < rows) v.add_special("[ENC]");
    } else {
      // rows before [DEC] have no token
      const bool missing = ids.bos > static_cast<int>(counted) && ids.bos < rows;
      pads = !missing && padded(counted, rows);
    }
  } else if (source.format != "gguf" || ids.bos < 0) {
    text::add_blip_tokens(v);
  }
  // Where the files list BLIP's tokens without saying that they are special.
  for (const char* token : {"[DEC]", "[ENC]"}) {
    if (v.find(token) >= 0) v.add_special(token);
  }
  check_rows(v.tokens.size(), counted, pads, found.where, config);
  std::optional<text::Tokenizer> tokenizer;
  try {
    tokenizer.emplace(v);
  } catch (const Error& error) {
    fail(found.where + ": " + error.what());
  }
  // rows of a GGUF file that only pad
  while (!v.tokens.empty() && v.tokens.back().empty()) v.tokens.pop_back();
  const text::SpecialTokens& special = tokenizer->special();
  if (ids.bos < 0) ids.bos = special.dec;
  if (ids.eos < 0) ids.eos = special.sep;
  if (ids.pad < 0) ids.pad = special.pad;
  if (ids.question < 0) ids.question = special.enc >= 0 ? special.enc : special.cls;
  const std::string where =
      layout == Layout::kHuggingFace ? source.folder + "/config.json" : source.path;
  const std::string prefix = layout == Layout::kHuggingFace ? "text_config." : "";
  if (config.caption_decoder || config.answer_decoder) {
    check_id(ids.bos, (prefix + "bos_token_id").c_str(), where, config);
    check_id(ids.eos, (prefix + (prefix.empty() ? "eos_token_id" : "sep_token_id")).c_str(), where,
             config);
    check_id(ids.pad, (prefix + "pad_token_id").c_str(), where, config);
  }
  return std::move(found.vocabulary);
}

void describe_tokens(const ModelConfig& config, ModelInfo& info) {
  info.prompt = config.prompt;
  info.bos_token = config.tokens.bos;
  info.eos_token = config.tokens.eos;
  info.pad_token = config.tokens.pad;
  info.question_token = config.tokens.question;
}

void describe_texts(const ModelConfig& config, ModelInfo& info) {
  info.text_length = config.max_positions() > 0 ? config.max_text : 0;
  info.max_text_length = config.max_positions();
  for (const auto* tower : {&config.caption_decoder, &config.answer_decoder}) {
    if (*tower && (info.max_length == 0 || (*tower)->max_positions < info.max_length))
      info.max_length = (*tower)->max_positions;
  }
}

}  // namespace blip::model
