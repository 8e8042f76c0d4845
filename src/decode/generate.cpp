#include "decode/generate.h"

#include <cmath>
#include <string>

#include "decode/search.h"

namespace blip::decode {
namespace {

constexpr int kMaxBeams = 64;
constexpr int kMaxSamples = 256;

template <typename T>
std::string number(T value) {
  std::string text = std::to_string(value);
  if (text.find('.') != std::string::npos) {
    text.erase(text.find_last_not_of('0') + 1);
    if (text.back() == '.') text.pop_back();
  }
  return text;
}

[[noreturn]] void refuse(const std::string& option, const std::string& value, const std::string& allowed) {
  throw Error(ErrorCode::kUsage, option + " is " + value + ", but must be " + allowed);
}

void check_range(const char* option, int value, int low, int high) {
  if (value < low || value > high) refuse(option, number(value), "between " + number(low) + " and " + number(high));
}

void check_tokens(std::span<const std::int32_t> ids, const char* what, int vocab) {
  for (const std::int32_t id : ids) {
    if (id < 0 || id >= vocab) {
      refuse(std::string(what) + " token", number(id), "between 0 and " + number(vocab - 1) + ", the model's vocabulary");
    }
  }
}

}  // namespace

void validate(const GenerateOptions& options, int max_positions) {
  check_range("beams", options.beams, 1, kMaxBeams);
  if (options.min_length < 0) refuse("min_length", number(options.min_length), "0 or more");
  if (options.max_length < 1 || options.max_length > max_positions) {
    refuse("max_length", number(options.max_length), "between 1 and " + number(max_positions) + ", the positions of this model");
  }
  // Written so that NaN fails too.
  if (!(std::abs(options.length_penalty) <= 10.0f)) {
    refuse("length_penalty", number(options.length_penalty), "between -10 and 10");
  }
  if (!(options.repetition_penalty > 0.0f) || !std::isfinite(options.repetition_penalty)) {
    refuse("repetition_penalty", number(options.repetition_penalty), "above 0 and finite (1 = off)");
  }
  if (!(options.top_p >= 0.0f && options.top_p <= 1.0f)) refuse("top_p", number(options.top_p), "between 0 and 1 (1 = off)");
  if (options.top_k < 0) refuse("top_k", number(options.top_k), "0 or more (0 = off)");
  if (!(options.temperature > 0.0f) || !std::isfinite(options.temperature)) {
    refuse("temperature", number(options.temperature), "above 0 and finite; for the most likely text use greedy search instead");
  }
  if (options.sample) {
    check_range("num_return", options.num_return, 1, kMaxSamples);
  } else if (options.num_return < 1 || options.num_return > options.beams) {
    refuse("num_return", number(options.num_return),
           options.beams == 1 ? "1 with greedy search: set more beams, or sample"
                              : "between 1 and beams (" + number(options.beams) + ") unless sampling");
  }
}

std::vector<std::vector<Hypothesis>> generate(Decoder& decoder, std::span<const std::int32_t> prompt,
                                              const GenerateOptions& options, Tokens tokens, const Hooks& hooks) {
  validate(options, decoder.max_positions());
  if (prompt.empty()) refuse("the prompt", "empty", "at least the token that begins a text");
  if (prompt.size() >= static_cast<std::size_t>(options.max_length)) {
    refuse("max_length", number(options.max_length),
           "more than the prompt's " + number(prompt.size()) + " tokens, which it counts");
  }
  check_tokens(prompt, "a prompt", decoder.vocab_size());
  check_tokens({&tokens.eos, 1}, "the end", decoder.vocab_size());
  const Request request{prompt, options, tokens, hooks};
  if (options.sample || options.beams == 1) return one_by_one(decoder, request);
  // With fewer tokens not even the first step could fill the beams.
  if (decoder.vocab_size() <= 2 * options.beams) {
    refuse("beams", number(options.beams), "below half the vocabulary size, which is " + number(decoder.vocab_size()));
  }
  return beam_search(decoder, request);
}

}  // namespace blip::decode
