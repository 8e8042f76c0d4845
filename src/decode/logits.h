// One row of logits: its normaliser, its best tokens, and what the options do to it. Internal to src/decode.
//
// The search code asks two things of a row: normalise() and best_tokens(). Nothing else of it reads the whole vocabulary, so
// that a later kernel may compute both while it projects to the vocabulary and never store the row.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "blip/options.h"

namespace blip::decode {

// log_softmax(x)[i] = (x[i] - max) - log_sum; the order of the two subtractions is torch's, and decides the last bit.
struct Normaliser {
  float max = 0;
  float log_sum = 0;
  float log_prob(float logit) const { return (logit - max) - log_sum; }
};

// Throws Error(kModel) if the row holds NaN or +infinity, or nothing above -infinity.
Normaliser normalise(std::span<const float> row);

// Of all logits.
double sum_of(std::span<const float> row);

struct Candidate {
  float score;
  std::int32_t token;
};

// The k largest values, descending; of equal ones the lower token first. The row must hold no NaN (normalise() checks).
void top_candidates(std::span<const float> row, int k, std::vector<Candidate>& out);

// What transformers' logits processors change: single tokens of a row (those of the text so far, and the end token).
struct Edits {
  std::vector<std::int32_t> tokens;  // ascending, distinct
  float repetition_penalty = 1;
  bool forbid_eos = false;
  std::int32_t eos = 0;

  Edits(std::span<const std::int32_t> text, const GenerateOptions& options, std::int32_t eos_token);
  bool contains(std::int32_t token) const;
  float apply(std::int32_t token, float score) const;  // token must be one of tokens
};

// The k best tokens after the edits, scored norm.log_prob(logit) and edited then, as beam search wants it.
// With Normaliser{} the scores are the logits themselves, as greedy search wants it.
void best_tokens(std::span<const float> row, int k, const Normaliser& norm, const Edits& edits, std::vector<Candidate>& out);

// The distribution that sampling draws from: temperature, then top-k (every token that ties with the k-th stays), then
// top-p (of tokens that tie at the cut the lower ids stay), in transformers' order and with its cuts. `scores` are edited
// logits. Fills out with the tokens that remain, score = probability, summing to 1.
void warp(std::span<const float> scores, const GenerateOptions& options, std::vector<Candidate>& out);

// The token at u (0 <= u < 1) of the cumulated distribution.
std::int32_t draw(std::span<const Candidate> distribution, double u);

// Row r of [rows, vocab].
inline std::span<const float> row_of(std::span<const float> logits, int row, int vocab) {
  return logits.subspan(static_cast<std::size_t>(row) * static_cast<std::size_t>(vocab), static_cast<std::size_t>(vocab));
}

}  // namespace blip::decode
