// From attention weights by token to heat maps by word.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "blip/blip.h"
#include "text/tokenizer.h"

namespace blip {

// The words of a text and which of them each token belongs to; -1: to none ([SEP] and its like).
struct TokenWords {
  std::vector<std::string> words;
  std::vector<int> word_of;
};
TokenWords split_words(const text::Tokenizer& tokenizer, std::span<const std::int32_t> ids);

// weights: [T, N], a row for a token, the class token before the patches. Token i of `words` has row first_row + i.
std::vector<WordAttention> word_maps(const TokenWords& words, const Tensor& weights, std::size_t first_row);

// [T, K] x [K, N].
Tensor product(const Tensor& left, const Tensor& right);

}  // namespace blip
