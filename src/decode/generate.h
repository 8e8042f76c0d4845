// Decoding: greedy, beam search, sampling, ranking. Knows logits, not models.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "blip/limits.h"

namespace blip::decode {

// What a search must know of kDigestColumns consecutive logits before it reads them: the
// largest, and the sum of exp(logit - largest). That sum is NaN where a logit is NaN or the largest
// is infinity, and 0 where all are -infinity.
inline constexpr int kDigestColumns = 512;
struct Digest {
  float max;
  double sum;
};
Digest digest(std::span<const float> logits);
inline int digests_of(int vocab) { return (vocab + kDigestColumns - 1) / kDigestColumns; }

struct Candidate {
  float score;
  std::int32_t token;
};

// The last call's logits of a decoder whose device keeps them: the device answers what a search
// asks of a row, so that a vocabulary of floats comes to the host only where all of it is wanted:
// to sample, to rank, or where many tokens are banned. Rows are those of the call.
class DeviceLogits {
 public:
  virtual ~DeviceLogits() = default;
  virtual Digest digest(int row) = 0;  // of the whole row
  // The k largest, descending; of equal ones the lower token first. The row holds no NaN.
  virtual void best(int row, int k, std::vector<Candidate>& out) = 0;
  virtual float at(int row, std::int32_t token) = 0;
  virtual std::span<const float> whole(int row) = 0;  // [vocab_size], valid until the next call
};

// A text decoder in flight: its KV cache and its rows. Implemented by each backend.
class Decoder {
 public:
  // A row of the next step: continues row `parent` of the previous call with `token`.
  struct Next {
    std::int32_t parent;
    std::int32_t token;
  };

  virtual ~Decoder() = default;
  virtual int vocab_size() const = 0;
  virtual int max_positions() const = 0;  // longest sequence, prompt included
  virtual int sequences()
      const = 0;  // inputs (images or questions) in this batch = rows of prefill

  // Feeds the prompt (the same for every sequence) in one pass. Returns the logits of its last
  // position, [sequences, vocab_size], valid until the next call. Called once.
  virtual std::span<const float> prefill(std::span<const std::int32_t> prompt) = 0;

  // One token for each row; rows may be repeated, reordered or dropped. Returns [next.size(),
  // vocab_size].
  virtual std::span<const float> step(std::span<const Next> next) = 0;

  // Digests of the last call's logits, [rows, digests_of(vocab_size())], where the projection to
  // the vocabulary made them on the way; else empty, and the search makes them.
  virtual std::span<const Digest> digests() const { return {}; }

  // Not null: prefill and step return nothing, and this tells of their logits instead. The
  // decoder's own, the same for its lifetime.
  virtual DeviceLogits* device_logits() const { return nullptr; }
};

// A finished text.
struct Hypothesis {
  std::vector<std::int32_t> ids;  // prompt included; ends with eos if it was generated; no padding
  float score = 0;  // beam search: transformers' sequences_scores; else the summed log-probability
                    // of the generated tokens
};

struct Tokens {
  std::int32_t eos, pad;
};

struct Hooks {
  std::function<bool()> cancel;  // polled before every step; true -> Error(kCancelled)
  std::function<void(int sequence, std::int32_t id)> on_token;  // greedy and sampling only
};

// The words of GenerateOptions as tokens.
struct Words {
  std::vector<std::vector<std::int32_t>> forbidden;            // runs of tokens
  std::vector<std::vector<std::vector<std::int32_t>>> forced;  // of each one alternative
};

// How a text is generated, in what decoding knows: tokens. forbid_words and force_words themselves
// are not looked at.
struct Options : GenerateOptions {
  Options(const GenerateOptions& options = {}, Words w = {})
      : GenerateOptions(options), words(std::move(w)) {}
  Words words;
};

// Token for token what transformers' generate gives (greedy; beam search with early_stopping=False;
// sampling has its own generator). Result: one list per sequence of the decoder, each with
// options.num_return hypotheses, best first; with forced words fewer where no more have them all.
// Those are constrained beam search as transformers 4 has it (forced_search.cpp). Throws
// Error(kUsage) for options that make no sense (validate below).
std::vector<std::vector<Hypothesis>> generate(Decoder& decoder,
                                              std::span<const std::int32_t> prompt,
                                              const Options& options, Tokens tokens,
                                              const Hooks& hooks = {});

// Checks the ranges of blip/limits.h and the lengths; Error(kUsage) names the option, the value and
// the allowed range.
void validate(const GenerateOptions& options, int max_positions);
// The same of an option that is no field of GenerateOptions.
void check_option(const Option& option, int value);
// The options with the task's shortest text where none was given, lowered to the longest. Without
// that an unset one is 0.
Options with_min_length(Options options, int task_default);

// salesforce/BLIP's rank_answer: the `keep` most likely by first token, then the smallest summed
// label-smoothed loss.
inline constexpr float kLabelSmoothing = 0.1f;  // of the official ranking loss
struct Ranked {
  int candidate;  // index into candidates
  float loss;
};
// candidates: answer token ids, each [BOS] a b c [EOS] with BOS == prompt token. decoder must hold
// one sequence. Result: the kept candidates, best (smallest loss) first.
std::vector<Ranked> rank(Decoder& decoder, std::span<const std::vector<std::int32_t>> candidates,
                         int keep, float label_smoothing = kLabelSmoothing,
                         const Hooks& hooks = {});

}  // namespace blip::decode
