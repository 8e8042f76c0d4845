// The decoding options as a table: their ranges, defaults and meaning, for programs that read them from people. libblip refuses
// what lies outside (Error(kUsage)); the program's options and the server's fields are made from the same rows.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

#include "blip/options.h"

namespace blip {

struct DecodingOption {
  std::string_view name;          // of the field in GenerateOptions (or AskOptions)
  double low, high;               // both allowed
  bool whole;                     // whole numbers only
  bool sampling;                  // works only where GenerateOptions::sample is set
  double caption, answer;         // defaults of captions and of answers
  std::string_view help;          // a line without a full stop
};

namespace detail {
inline constexpr GenerateOptions kDefaults{};
// Room for every model; what one model can write is checked against its positions.
inline constexpr double kAnyLength = 1'000'000;
inline constexpr double kAnySeed = 18446744073709551615.0;  // rounded up to 2^64; a seed is any 64-bit number
}  // namespace detail

inline constexpr std::array kDecodingOptions = {
    DecodingOption{"beams", 1, 64, true, false, detail::kDefaults.beams, detail::kDefaults.beams,
                   "Beam search keeps this many texts; 1 = greedy"},
    DecodingOption{"min_length", 0, detail::kAnyLength, true, false, kCaptionMinLength, kAnswerMinLength,
                   "Shortest text in tokens, prompt included"},
    DecodingOption{"max_length", 1, detail::kAnyLength, true, false, detail::kDefaults.max_length, kAnswerMaxLength,
                   "Longest text in tokens, prompt included"},
    DecodingOption{"repetition_penalty", 0.01, 100, false, false, detail::kDefaults.repetition_penalty,
                   detail::kDefaults.repetition_penalty, "Above 1 discourages words already there; 1 = off"},
    DecodingOption{"length_penalty", -10, 10, false, false, detail::kDefaults.length_penalty, detail::kDefaults.length_penalty,
                   "Beam scores are divided by length^N"},
    DecodingOption{"num_return", 1, 256, true, false, detail::kDefaults.num_return, detail::kDefaults.num_return,
                   "Texts per input, best first"},
    DecodingOption{"top_p", 0, 1, false, true, detail::kDefaults.top_p, detail::kDefaults.top_p,
                   "Sample from the likeliest words that hold this probability; 1 = off"},
    DecodingOption{"top_k", 0, 1'000'000, true, true, detail::kDefaults.top_k, detail::kDefaults.top_k,
                   "Sample from the N likeliest words; 0 = off"},
    DecodingOption{"temperature", 0.001, 100, false, true, detail::kDefaults.temperature, detail::kDefaults.temperature,
                   "Above 1 flatter, below 1 sharper"},
    DecodingOption{"seed", 0, detail::kAnySeed, true, true, 0, 0, "Same seed, same texts"},
    DecodingOption{"rank_candidates", 1, 1'000'000, true, false, kRankCandidates, kRankCandidates,
                   "Answers that the first token lets through to the ranking"},
};

// The row of that name; a name that is none does not compile.
consteval const DecodingOption& decoding_option(std::string_view name) {
  for (const DecodingOption& option : kDecodingOptions)
    if (option.name == name) return option;
  throw "no decoding option of that name";
}

}  // namespace blip
