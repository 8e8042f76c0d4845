// From attention weights by token to heat maps by word.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "blip/blip.h"
#include "text/tokenizer.h"

namespace blip {

// The words of a text behind its first `prompt` tokens, and which of them each token there belongs
// to; -1: to none ([SEP] and its like).
struct TokenWords {
  std::vector<std::string> words;
  std::vector<int> word_of;
};
TokenWords split_words(const text::Tokenizer& tokenizer, std::span<const std::int32_t> ids,
                       std::size_t prompt);

// weights: [T, N], a row for a token, the class token before the patches. Token i of `words` has
// row first_row + i.
std::vector<WordAttention> word_maps(const TokenWords& words, const Tensor& weights,
                                     std::size_t first_row);

// [T, K] x [K, N].
Tensor product(const Tensor& left, const Tensor& right);

}  // namespace blip
