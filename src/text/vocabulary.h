// What a model's files say about its tokens, and the files that say it.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "blip/options.h"
#include "text/added_tokens.h"
#include "text/normalizer.h"

namespace blip::text {

inline constexpr std::size_t kMaxTokens = kMaxVocabulary;

struct Vocabulary {
  std::vector<std::string> tokens;  // tokens[i] has id i; "" = a row without a token
  std::vector<AddedToken> added;    // matched whole; each is also among the tokens
  NormalizerOptions normalizer;
  bool clean_up_spaces =
      true;  // decoded texts lose the spaces before punctuation and in contractions
  // The tokens with a role. All but [MASK] must be there. They are special and matched whole even
  // where `added` lacks them.
  std::string pad = "[PAD]", unk = "[UNK]", cls = "[CLS]", sep = "[SEP]", mask = "[MASK]";

  // The place of a token, -1 where it is none. Linear.
  int find(std::string_view token) const;
  // Makes a token special and matched whole; it goes to the end where the tokens lack it.
  void add_special(const std::string& token);

  friend bool operator==(const Vocabulary&, const Vocabulary&) = default;
};

// bert-base-uncased's settings over these tokens.
Vocabulary plain_vocabulary(std::vector<std::string> tokens);
// As salesforce/BLIP's init_tokenizer: [DEC] and [ENC], at the end where the tokens lack them.
void add_blip_tokens(Vocabulary& vocabulary);
Vocabulary official_vocabulary(std::vector<std::string> tokens);
// bert-base-uncased, compiled in: without [DEC] and [ENC]
const std::vector<std::string>& bundled_tokens();

std::vector<std::string> parse_vocab_txt(std::string_view text);  // one token a line, LF or CRLF

// A part of tokenizer.json as stated; what the file leaves out is BERT's. Throws Error(kModel)
// unless a BERT WordPiece model, naming `where`.
Vocabulary parse_tokenizer_json(std::string_view json, const std::string& where = "tokenizer.json");

// All of a vocabulary but its tokens as JSON; "" where that is official_vocabulary's. Read back by
// apply_settings, which throws Error(kModel) naming `where`.
std::string settings_json(const Vocabulary& vocabulary);
void apply_settings(Vocabulary& vocabulary, std::string_view json, const std::string& where);

}  // namespace blip::text
