// Results: what C reads of them.
#include <cmath>
#include <limits>

#include "capi/handles.h"

using namespace blip::capi;

namespace {
constexpr float kMissing = std::numeric_limits<float>::quiet_NaN();
}

blip_generations::blip_generations(std::vector<blip::Generation> made) : values(std::move(made)) {
  for (const auto& generation : values) {
    auto& texts = records.emplace_back();
    for (const auto& text : generation.all) {
      blip_text record{};
      record.struct_size = sizeof record;
      record.score = text.score;
      record.text = text.text.c_str();
      record.text_bytes = text.text.size();
      record.token_ids = text.token_ids.data();
      record.token_count = text.token_ids.size();
      texts.push_back(record);
    }
  }
}

blip_matches::blip_matches(const std::vector<blip::Match>& made) {
  for (const auto& match : made) {
    probabilities.push_back(match.match_probability.value_or(kMissing));
    cosines.push_back(match.cosine.value_or(kMissing));
    logits.push_back(match.match_logit.value_or(kMissing));
  }
}

blip_attention::Words::Words(std::vector<blip::WordAttention> made) {
  for (auto& word : made) {
    words.push_back(std::move(word.word));
    weights.insert(weights.end(), word.weights.begin(), word.weights.end());
  }
}

blip_attention::blip_attention(blip::Attention made)
    : side(made.side), text(std::move(made.words)), question(std::move(made.question)) {}

extern "C" {

double blip_encoded_preprocess_ms(const blip_encoded* encoded) {
  return valid(encoded) ? encoded->image.preprocess_ms() : std::nan("");
}
double blip_encoded_encode_ms(const blip_encoded* encoded) {
  return valid(encoded) ? encoded->image.encode_ms() : std::nan("");
}
uint64_t blip_encoded_bytes(const blip_encoded* encoded) {
  return valid(encoded) ? encoded->image.bytes() : 0;
}
void blip_encoded_free(blip_encoded* encoded) { release(encoded); }

size_t blip_generations_count(const blip_generations* generations) {
  return valid(generations) ? generations->records.size() : 0;
}
size_t blip_generations_texts(const blip_generations* generations, size_t input) {
  return input < blip_generations_count(generations) ? generations->records[input].size() : 0;
}
const blip_text* blip_generations_at(const blip_generations* generations, size_t input,
                                     size_t rank) {
  return rank < blip_generations_texts(generations, input) ? &generations->records[input][rank]
                                                           : nullptr;
}
double blip_generations_decode_ms(const blip_generations* generations, size_t input) {
  return input < blip_generations_count(generations) ? generations->values[input].decode_ms
                                                     : std::nan("");
}
void blip_generations_free(blip_generations* generations) { release(generations); }

size_t blip_matches_count(const blip_matches* matches) {
  return valid(matches) ? matches->probabilities.size() : 0;
}
const float* blip_matches_probabilities(const blip_matches* matches) {
  return valid(matches) ? matches->probabilities.data() : nullptr;
}
const float* blip_matches_cosines(const blip_matches* matches) {
  return valid(matches) ? matches->cosines.data() : nullptr;
}
const float* blip_matches_logits(const blip_matches* matches) {
  return valid(matches) ? matches->logits.data() : nullptr;
}
void blip_matches_free(blip_matches* matches) { release(matches); }

size_t blip_tensor_rank(const blip_tensor* tensor) {
  return valid(tensor) ? tensor->value.shape.size() : 0;
}
const int64_t* blip_tensor_shape(const blip_tensor* tensor) {
  return valid(tensor) ? tensor->value.shape.data() : nullptr;
}
const float* blip_tensor_data(const blip_tensor* tensor) {
  return valid(tensor) ? tensor->value.values.data() : nullptr;
}
void blip_tensor_free(blip_tensor* tensor) { release(tensor); }

size_t blip_attention_words(const blip_attention* attention, int32_t question) {
  return valid(attention) ? attention->of(question).words.size() : 0;
}
const char* blip_attention_word(const blip_attention* attention, int32_t question, size_t index) {
  return index < blip_attention_words(attention, question)
             ? attention->of(question).words[index].c_str()
             : nullptr;
}
const float* blip_attention_weights(const blip_attention* attention, int32_t question) {
  return blip_attention_words(attention, question) > 0 ? attention->of(question).weights.data()
                                                       : nullptr;
}
int32_t blip_attention_side(const blip_attention* attention) {
  return valid(attention) ? attention->side : 0;
}
void blip_attention_free(blip_attention* attention) { release(attention); }

}  // extern "C"
