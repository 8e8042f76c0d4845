// One row of logits: its normaliser, its best tokens, and what the options do to it. Internal to
// src/decode.
//
// Greedy and beam search ask two things of a row: normalise() and best_tokens(). Both start from
// the row's partials, which the backend may have made while it projected to the vocabulary; of the
// logits themselves they then read the few parts that hold the best.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <span>
#include <vector>

#include "blip/options.h"
#include "decode/generate.h"

namespace blip::decode {

struct LogitRow {
  std::span<const float> values;               // empty: the device has them
  std::span<const PartialLogSumExp> partials;  // of every kPartialColumns values; empty: not made

  template <std::convertible_to<std::span<const float>> Values>
  LogitRow(const Values& v, std::span<const PartialLogSumExp> d = {}) : values(v), partials(d) {}
  LogitRow(DeviceLogits& device, int row) : device_(&device), row_(row) {}

  float at(std::int32_t token) const {
    return device_ ? device_->at(row_, token) : values[static_cast<std::size_t>(token)];
  }
  std::span<const float> whole() const { return device_ ? device_->whole(row_) : values; }
  DeviceLogits* device() const { return device_; }
  int row() const { return row_; }  // of the device's
  std::span<const float> part(std::size_t i) const {
    const std::size_t first = i * kPartialColumns;
    return values.subspan(first, std::min<std::size_t>(kPartialColumns, values.size() - first));
  }
  std::size_t parts() const {
    return static_cast<std::size_t>(partials_of(static_cast<int>(values.size())));
  }

 private:
  DeviceLogits* device_ = nullptr;
  int row_ = 0;
};

// log_softmax(x)[i] = (x[i] - max) - log_sum; the order of the two subtractions is torch's, and
// decides the last bit.
struct Normaliser {
  float max = 0;
  float log_sum = 0;
  float log_prob(float logit) const { return (logit - max) - log_sum; }
};

// Throws Error(kModel) if the row holds NaN or +infinity, or nothing above -infinity.
Normaliser normalise(const LogitRow& row);

// Of all logits.
double sum_of(std::span<const float> row);

// The k largest values, descending; of equal ones the lower token first. The row must hold no NaN
// (normalise() checks).
void top_candidates(const LogitRow& row, int k, std::vector<Candidate>& out);

// What transformers' logits processors change: single tokens of a row. Those of the text so far are
// penalised; the end token before the shortest length, the last token of a forbidden run and that
// of a repeated one are banned.
struct Edits {
  std::vector<std::int32_t> tokens;  // ascending, distinct: all that change
  std::vector<std::int32_t> banned;  // ascending, distinct
  float repetition_penalty = 1;

  // Throws Error(kUsage) if fewer than `needed` of `vocab` tokens are left beside the end token.
  Edits(std::span<const std::int32_t> text, const Options& options, std::int32_t eos, int vocab,
        int needed);
  bool contains(std::int32_t token) const;
  bool bans(std::int32_t token) const;
  float apply(std::int32_t token, float score) const;  // token must be one of tokens
  // Of any token.
  float edited(std::int32_t token, float score) const {
    return contains(token) ? apply(token, score) : score;
  }
};

// The k best tokens after the edits, scored norm.log_prob(logit) and edited then, as beam search
// wants it. With Normaliser{} the scores are the logits themselves, as greedy search wants it.
void best_tokens(const LogitRow& row, int k, const Normaliser& norm, const Edits& edits,
                 std::vector<Candidate>& out);

// The distribution that sampling draws from: temperature, then top-k (every token that ties with
// the k-th stays), then top-p (of tokens that tie at the cut the lower ids stay), then min-p, in
// transformers' order and with its cuts. `scores` are edited logits. Fills out with the tokens that
// remain, score = probability, summing to 1.
void warp(std::span<const float> scores, const GenerateOptions& options,
          std::vector<Candidate>& out);

// The token at u (0 <= u < 1) of the cumulated distribution.
std::int32_t draw(std::span<const Candidate> distribution, double u);

// Row r of a call's logits, [rows, vocab], or of those on the device.
inline LogitRow row_of(const Decoder& decoder, std::span<const float> logits, int row) {
  if (DeviceLogits* device = decoder.device_logits()) return {*device, row};
  const auto of = [row](auto all, int width) {
    return all.subspan(static_cast<std::size_t>(row) * static_cast<std::size_t>(width),
                       static_cast<std::size_t>(width));
  };
  const std::span<const PartialLogSumExp> partials = decoder.partials();
  return {of(logits, decoder.vocab_size()),
          partials.empty() ? partials : of(partials, partials_of(decoder.vocab_size()))};
}

}  // namespace blip::decode
