#include "api/attention.h"

#include <algorithm>
#include <numeric>

namespace blip {
namespace {

std::vector<std::string> words_in(const std::string& text) {
  std::vector<std::string> words;
  for (std::size_t start = 0; (start = text.find_first_not_of(' ', start)) != std::string::npos;) {
    const std::size_t end = std::min(text.find(' ', start), text.size());
    words.push_back(text.substr(start, end - start));
    start = end;
  }
  return words;
}

std::size_t columns(const Tensor& matrix) { return static_cast<std::size_t>(matrix.shape[1]); }

}  // namespace

// A token's word is the last one of the text up to it. Punctuation may pull words together later
// ("don", "don '", "don't"): words beyond the last are part of the last.
TokenWords split_words(const text::Tokenizer& tokenizer, std::span<const std::int32_t> ids,
                       std::size_t prompt) {
  TokenWords result{words_in(tokenizer.decode_after(ids, prompt)), {}};
  const int last = static_cast<int>(result.words.size()) - 1;
  for (std::size_t i = prompt; i < ids.size(); ++i) {
    const bool silent = tokenizer.decode(ids.subspan(i, 1)).empty();
    const int word =
        static_cast<int>(words_in(tokenizer.decode_after(ids.first(i + 1), prompt)).size()) - 1;
    result.word_of.push_back(silent ? -1 : std::min(word, last));
  }
  return result;
}

std::vector<WordAttention> word_maps(const TokenWords& words, const Tensor& weights,
                                     std::size_t first_row) {
  const std::size_t patches = columns(weights) - 1;
  std::vector<WordAttention> maps;
  for (const std::string& word : words.words) maps.push_back({word, std::vector<float>(patches)});
  for (std::size_t i = 0; i < words.word_of.size(); ++i) {
    if (words.word_of[i] < 0) continue;
    const float* row = weights.values.data() + (first_row + i) * columns(weights) + 1;
    std::vector<float>& map = maps[static_cast<std::size_t>(words.word_of[i])].weights;
    std::transform(map.begin(), map.end(), row, map.begin(), std::plus<>());
  }
  for (WordAttention& map : maps) {
    const float sum = std::accumulate(map.weights.begin(), map.weights.end(), 0.f);
    for (float& weight : map.weights)
      weight = sum > 0 ? weight / sum : 1.f / static_cast<float>(patches);
  }
  return maps;
}

Tensor product(const Tensor& left, const Tensor& right) {
  const std::size_t rows = static_cast<std::size_t>(left.shape[0]), inner = columns(left),
                    n = columns(right);
  Tensor out{{left.shape[0], right.shape[1]}, std::vector<float>(rows * n)};
  for (std::size_t i = 0; i < rows; ++i)
    for (std::size_t k = 0; k < inner; ++k)
      for (std::size_t j = 0; j < n; ++j)
        out.values[i * n + j] += left.values[i * inner + k] * right.values[k * n + j];
  return out;
}

}  // namespace blip
