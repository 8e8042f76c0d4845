// BERT's WordPiece, equal to the `tokenizers` package.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "text/added_tokens.h"
#include "text/vocabulary.h"

namespace blip::text {

// Ids of the tokens with a role; -1 where the vocabulary lacks one, which pad, unk, cls and sep
// never do.
struct SpecialTokens {
  std::int32_t pad = 0, unk = 100, cls = 101, sep = 102, mask = 103;
  // "[DEC]": beginning of sequence, "[ENC]": image-grounded encoder
  std::int32_t dec = -1, enc = -1;
};

// One text as the text tower takes it.
struct Encoding {
  std::vector<std::int32_t> ids;  // [CLS] ... [SEP], no padding
  bool truncated = false;
  // Without a token of its own: an empty text, or one of spaces and control characters.
  bool empty() const { return ids.size() <= 2 && !truncated; }
};

// Immutable and thread-safe.
class Tokenizer {
 public:
  // Throws Error(kModel) if a token with a role is missing, a token occurs twice or is not UTF-8.
  explicit Tokenizer(Vocabulary vocabulary);

  // Never fails: invalid UTF-8 becomes U+FFFD. max_length counts [CLS] and [SEP], which always stay
  // (1 is taken as 2); 0 = no limit.
  Encoding encode(std::string_view utf8, int max_length = 0) const;

  // Joins word pieces, leaves special tokens out, cleans up spaces before punctuation and in
  // contractions as transformers' decode(skip_special_tokens=True,
  // clean_up_tokenization_spaces=True) does. Ids outside the vocabulary are left out, as there.
  std::string decode(std::span<const std::int32_t> ids) const;
  // What follows the first `prompt` ids in the text of all of them, without the space between: a
  // text may go on inside the prompt's last word.
  std::string decode_after(std::span<const std::int32_t> ids, std::size_t prompt) const;

  int size() const { return static_cast<int>(vocabulary_.tokens.size()); }
  const Vocabulary& vocabulary() const { return vocabulary_; }
  const SpecialTokens& special() const { return special_; }

 private:
  std::vector<AddedToken> added_and_roles();
  void index_tokens();
  bool is_special(std::int32_t id) const { return special_ids_.contains(id); }
  bool append_text(std::string_view utf8, std::size_t room, std::vector<std::int32_t>& ids) const;
  void append_word(std::u32string_view word, std::vector<std::int32_t>& ids) const;

  Vocabulary vocabulary_;
  std::unordered_map<std::string, std::int32_t> ids_;  // of the word pieces
  std::unordered_set<std::int32_t> special_ids_;
  SpecialTokens special_;
  AddedTokenMatcher raw_, normalized_;  // tokens found before and after normalisation
};

}  // namespace blip::text
