// Characters of BERT's tokenizer: UTF-8, the uncased normaliser, what counts as punctuation.
#pragma once

#include <string>
#include <string_view>

namespace blip::text {

// Each maximal invalid part becomes one U+FFFD, as Python's bytes.decode(errors="replace") does.
std::u32string decode_utf8(std::string_view utf8);
void append_utf8(std::string& out, char32_t c);
bool is_valid_utf8(std::string_view text);

// BertNormalizer: control characters dropped, white space to ' ', ' ' around each Chinese character; with `lowercase` also
// canonical decomposition without nonspacing marks, then lower case of each character by itself (no final sigma rule).
std::u32string normalize(std::u32string_view text, bool lowercase);

// Splits words in BertPreTokenizer. White space other than ' ' does not survive normalize().
bool is_punctuation(char32_t c);

}  // namespace blip::text
