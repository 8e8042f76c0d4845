// Characters of BERT's tokenizer: the uncased normaliser, what counts as punctuation.
#pragma once

#include <string>
#include <string_view>

namespace blip::text {

// The switches of BertNormalizer. Its cleaning of the text is always on.
struct NormalizerOptions {
  bool lowercase = true;      // each character by itself (no final sigma rule)
  bool strip_accents = true;  // canonical decomposition without nonspacing marks
  bool split_chinese = true;  // each Chinese character is a word

  friend bool operator==(const NormalizerOptions&, const NormalizerOptions&) = default;
};

// BertNormalizer: control characters dropped, white space to ' ', then what the options say.
std::u32string normalize(std::u32string_view text, const NormalizerOptions& options = {});

// Splits words in BertPreTokenizer. White space other than ' ' does not survive normalize().
bool is_punctuation(char32_t c);

// \w and \s of the regular expressions by which the `tokenizers` package finds the ends of added
// tokens.
bool is_word_character(char32_t c);
bool is_white_space(char32_t c);

}  // namespace blip::text
