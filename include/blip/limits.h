// The options of libblip as one table: their ranges, defaults and meaning. libblip refuses what
// lies outside of a range (Error(kUsage)). The command line, its completions and manual pages, the
// server's fields, its OpenAPI document and the defaults of the C interface are made from the same
// rows, and so can programs of your own be.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

#include "blip/options.h"

namespace blip {

// kTexts: a list of texts.
enum class OptionType { kFlag, kWhole, kNumber, kTexts };

// When an option of GenerateOptions has an effect.
enum class OptionUse { kAlways, kSampling, kWithoutSampling, kSeveralBeams };

// The field of GenerateOptions that an option is; monostate: it is a field of other options.
using GenerateField =
    std::variant<std::monostate, bool GenerateOptions::*, int GenerateOptions::*,
                 std::optional<int> GenerateOptions::*, float GenerateOptions::*,
                 std::uint64_t GenerateOptions::*, std::vector<std::string> GenerateOptions::*>;

struct Option {
  // Of the field in C++, C and JSON.
  std::string_view name;
  OptionType type = OptionType::kWhole;
  // The range of a number, or of how many texts there may be; both bounds are allowed.
  double low = 0, high = 0;
  // The default of captions and of answers; other tasks have the first. One outside of the range
  // stands for what is not given, which help explains.
  double caption = 0, answer = 0;
  // One line without a full stop.
  std::string_view help;
  // What a refusal says beside the range.
  std::string_view note = {};
  OptionUse use = OptionUse::kAlways;
  GenerateField field = {};

  constexpr bool generates() const { return !std::holds_alternative<std::monostate>(field); }
  // The bounds of a whole number. A double cannot hold the largest of 64 bits.
  constexpr std::uint64_t whole_low() const { return static_cast<std::uint64_t>(low); }
  constexpr std::uint64_t whole_high() const {
    constexpr auto kMost = std::numeric_limits<std::uint64_t>::max();
    return high < static_cast<double>(kMost) ? static_cast<std::uint64_t>(high) : kMost;
  }
  // Has it an effect on a text that is generated with these?
  constexpr bool has_effect(const GenerateOptions& options) const {
    switch (use) {
      case OptionUse::kAlways:
        return true;
      case OptionUse::kSampling:
        return options.sample;
      case OptionUse::kWithoutSampling:
        return !options.sample;
      case OptionUse::kSeveralBeams:
        return !options.sample && options.beams > 1;
    }
    return true;
  }
  // The same with a default that depends on the task.
  constexpr Option with_defaults(double of_captions, double of_answers) const {
    Option row = *this;
    row.caption = of_captions;
    row.answer = of_answers;
    return row;
  }
};

namespace detail {
inline constexpr GenerateOptions kDefaults{};
// More than any model has positions or words; what one model can do is checked against the model.
inline constexpr double kAnyLength = 1'000'000;
inline constexpr double kAnySize = static_cast<double>(std::numeric_limits<std::uint64_t>::max());

// A row of GenerateOptions, with its type and its default.
template <class T>
consteval Option generating(std::string_view name, T GenerateOptions::*field, double low,
                            double high, std::string_view help, OptionUse use = OptionUse::kAlways,
                            std::string_view note = {}) {
  Option row{.name = name,
             .low = low,
             .high = high,
             .help = help,
             .note = note,
             .use = use,
             .field = field};
  row.type = std::is_same_v<T, bool>                       ? OptionType::kFlag
             : std::is_same_v<T, float>                    ? OptionType::kNumber
             : std::is_same_v<T, std::vector<std::string>> ? OptionType::kTexts
                                                           : OptionType::kWhole;
  if constexpr (std::is_arithmetic_v<T>)
    row.caption = row.answer = static_cast<double>(kDefaults.*field);
  return row;
}

// A row of other options: a whole number.
consteval Option whole(std::string_view name, double low, double high, double otherwise,
                       std::string_view help) {
  return {.name = name,
          .low = low,
          .high = high,
          .caption = otherwise,
          .answer = otherwise,
          .help = help};
}
}  // namespace detail

// In the order in which help and documents show them.
inline constexpr std::array kOptions = {
    // GenerateOptions
    detail::generating("beams", &GenerateOptions::beams, 1, 64,
                       "Beam search keeps this many texts; 1 = greedy",
                       OptionUse::kWithoutSampling),
    detail::generating("min_length", &GenerateOptions::min_length, 0, detail::kAnyLength,
                       "Shortest text in tokens, prompt included")
        .with_defaults(kCaptionMinLength, kAnswerMinLength),
    detail::generating("max_length", &GenerateOptions::max_length, 1, detail::kAnyLength,
                       "Longest text in tokens, prompt included")
        .with_defaults(kCaptionMaxLength, kAnswerMaxLength),
    detail::generating("repetition_penalty", &GenerateOptions::repetition_penalty, 0.01, 100,
                       "Above 1 discourages words already there; 1 = off", OptionUse::kAlways,
                       " (1 = off)"),
    detail::generating("length_penalty", &GenerateOptions::length_penalty, -10, 10,
                       "Beam scores are divided by the length to this power",
                       OptionUse::kSeveralBeams),
    detail::generating("num_return", &GenerateOptions::num_return, 1, 256,
                       "Texts per input, best first"),
    detail::generating("sample", &GenerateOptions::sample, 0, 1,
                       "Draw from the distribution instead of taking the best"),
    detail::generating("top_p", &GenerateOptions::top_p, 0, 1,
                       "Sample from the likeliest words that hold this probability; 1 = off",
                       OptionUse::kSampling, " (1 = off)"),
    detail::generating("top_k", &GenerateOptions::top_k, 0, kMaxVocabulary,
                       "Sample from so many of the likeliest words; 0 = off", OptionUse::kSampling,
                       " (0 = off)"),
    detail::generating("min_p", &GenerateOptions::min_p, 0, 1,
                       "Sample from words with at least this share of the likeliest one's "
                       "probability; 0 = off",
                       OptionUse::kSampling, " (0 = off)"),
    detail::generating("temperature", &GenerateOptions::temperature, 0.001, 100,
                       "Above 1 flatter, below 1 sharper", OptionUse::kSampling,
                       "; for the most likely text use greedy search instead"),
    detail::generating("seed", &GenerateOptions::seed, 0, detail::kAnySize, "Same seed, same texts",
                       OptionUse::kSampling),
    detail::generating("forbid_words", &GenerateOptions::forbid_words, 0, 1000,
                       "Words that are not written, separated by |"),
    detail::generating("force_words", &GenerateOptions::force_words, 0, 32,
                       "A word that must be written; of several separated by |, one",
                       OptionUse::kSeveralBeams),
    detail::generating("no_repeat_ngram", &GenerateOptions::no_repeat_ngram, 0, detail::kAnyLength,
                       "Write no run of so many tokens twice; 0 = off", OptionUse::kAlways,
                       " (0 = off)"),
    // AskOptions
    detail::whole("rank_candidates", 1, 1'000'000, kRankCandidates,
                  "Answers that the first token lets through to the ranking"),
    // MatchOptions, EmbedOptions, AskOptions, AttentionOptions
    detail::whole(
        "max_text_length", kShortestText, detail::kAnyLength, 0,
        "Texts and questions are truncated to so many tokens; not given: as the model says"),
    // AttentionOptions
    detail::whole("layers", 0, kMaxLayers, 0,
                  "The last so many layers of each tower; 0 = the later half"),
    // EngineOptions, SessionOptions
    detail::whole("threads", 1, kMaxThreads, 0, "Threads to use; not given: every core"),
    // Of the program. Pictures that have nothing in common differ in about 32 bits, and a picture
    // is
    // within 16 bits of some forty such among a million.
    detail::whole("near_distance", 0, 16, 4,
                  "Pictures are near duplicates where their perceptual hashes differ in so many of "
                  "64 bits"),
    // ImageLimits
    detail::whole("max_pixels", 0, detail::kAnySize, static_cast<double>(ImageLimits().max_pixels),
                  "Refuse larger pictures before decoding them; 0 = no limit"),
    detail::whole("max_memory", 0, detail::kAnySize, static_cast<double>(ImageLimits().max_memory),
                  "Refuse pictures that would take more bytes to decode; 0 = no limit"),
    detail::whole("max_bytes", 0, detail::kAnySize, static_cast<double>(ImageLimits().max_bytes),
                  "Refuse larger files; 0 = no limit"),
};

// A kind of text that is generated: its noun and the column of its defaults.
struct GeneratedText {
  std::string_view noun;
  double Option::*defaults;
};
inline constexpr GeneratedText kCaptionText{"caption", &Option::caption},
    kAnswerText{"answer", &Option::answer};

// What people call the option: num_return is num_captions or num_answers to them.
inline std::string name_for(const Option& option, const GeneratedText& text) {
  return option.name == "num_return" ? "num_" + std::string(text.noun) + "s"
                                     : std::string(option.name);
}

// The row of that name; a name that is none does not compile.
consteval const Option& option_named(std::string_view name) {
  for (const Option& option : kOptions)
    if (option.name == name) return option;
  throw "no option of that name";
}

}  // namespace blip
