// BERT's uncased WordPiece, equal to the `tokenizers` package, with BLIP's two extra tokens.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace blip::text {

// Ids of the special tokens, looked up in the vocabulary.
struct SpecialTokens {
  std::int32_t pad = 0, unk = 100, cls = 101, sep = 102, mask = 103;  // mask: -1 where the vocabulary lacks it
  std::int32_t dec = 30522, enc = 30523;  // beginning of sequence, image-grounded encoder
};

// One text as the text tower takes it.
struct Encoding {
  std::vector<std::int32_t> ids;   // [CLS] ... [SEP], no padding
  bool truncated = false;
};

// Immutable and thread-safe.
class Tokenizer {
 public:
  // vocabulary[i] is the token with id i. [DEC] and [ENC] are added at the end where the list lacks them.
  // Throws Error(kModel) if [UNK], [CLS], [SEP] or [PAD] is missing or a token occurs twice.
  explicit Tokenizer(std::vector<std::string> vocabulary, bool lowercase = true);

  static std::vector<std::string> parse_vocab_txt(std::string_view text);  // one token a line, LF or CRLF
  // Error(kModel) unless a BERT WordPiece model. *lowercase is set to the file's, true where it does not say.
  static std::vector<std::string> parse_tokenizer_json(std::string_view json, bool* lowercase = nullptr);
  static const std::vector<std::string>& bundled_vocabulary();  // bert-base-uncased, compiled in

  // Never fails: invalid UTF-8 becomes U+FFFD. max_length counts [CLS] and [SEP], which always stay (1 is taken as 2);
  // 0 = no limit.
  Encoding encode(std::string_view utf8, int max_length = 0) const;

  // Joins word pieces, leaves special tokens out, cleans up spaces before punctuation and in contractions as
  // transformers' decode(skip_special_tokens=True, clean_up_tokenization_spaces=True) does. Ids outside the vocabulary are left out, as there.
  std::string decode(std::span<const std::int32_t> ids) const;

  int size() const { return static_cast<int>(vocabulary_.size()); }  // [DEC] and [ENC] included
  const std::vector<std::string>& vocabulary() const { return vocabulary_; }
  const SpecialTokens& special() const { return special_; }

 private:
  bool is_special(std::int32_t id) const;
  // Place and id of the first special token written in the text; id -1 if none.
  std::pair<std::size_t, std::int32_t> find_special(std::string_view utf8) const;
  void append_word(std::u32string_view word, std::vector<std::int32_t>& ids) const;

  std::vector<std::string> vocabulary_;
  std::unordered_map<std::string, std::int32_t> ids_;
  SpecialTokens special_;
  bool lowercase_ = true;
};

}  // namespace blip::text
