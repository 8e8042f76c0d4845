#include "decode/generate.h"

#include <algorithm>
#include <string>
#include <type_traits>

#include "decode/search.h"

namespace blip::decode {
namespace {

template <typename T>
std::string number(T value) {
  std::string text = std::to_string(value);
  if (text.find('.') != std::string::npos) {
    text.erase(text.find_last_not_of('0') + 1);
    if (text.back() == '.') text.pop_back();
  }
  return text;
}

[[noreturn]] void refuse(const std::string& option, const std::string& value,
                         const std::string& allowed) {
  throw Error(ErrorCode::kUsage, option + " is " + value + ", but must be " + allowed);
}

// Written so that NaN fails too.
template <typename T>
void check_range(const Option& option, T value) {
  // A float that was written as the bound may lie a hair below the double.
  const double low =
      std::is_floating_point_v<T> ? static_cast<double>(static_cast<T>(option.low)) : option.low;
  if (static_cast<double>(value) >= low && static_cast<double>(value) <= option.high) return;
  std::string allowed = "between ";
  allowed.append(number(option.low))
      .append(" and ")
      .append(number(option.high))
      .append(option.note);
  refuse(std::string(option.name), number(value), allowed);
}

void check_field(const Option&, const GenerateOptions&, std::monostate) {}
void check_field(const Option&, const GenerateOptions&, bool GenerateOptions::*) {}
void check_field(const Option&, const GenerateOptions&, std::uint64_t GenerateOptions::*) {
}  // any will do
void check_field(const Option& option, const GenerateOptions& options,
                 std::optional<int> GenerateOptions::*field) {
  if (options.*field) check_range(option, *(options.*field));
}
void check_field(const Option& option, const GenerateOptions& options,
                 std::vector<std::string> GenerateOptions::*field) {
  const std::size_t count = (options.*field).size();
  if (static_cast<double>(count) > option.high)
    refuse(std::string(option.name), number(count) + " texts", "at most " + number(option.high));
}
template <class T>
void check_field(const Option& option, const GenerateOptions& options, T GenerateOptions::*field) {
  check_range(option, options.*field);
}

// An option that would have no effect, though texts are promised to obey it.
void check_effect(const GenerateOptions& options, bool forced) {
  const Option& row = option_named("force_words");
  if (!forced || row.has_effect(options)) return;
  throw Error(ErrorCode::kUsage,
              "force_words needs beam search: set beams above 1, and do not sample");
}

void check_tokens(std::span<const std::int32_t> ids, const char* what, int vocab) {
  for (const std::int32_t id : ids) {
    if (id < 0 || id >= vocab) {
      refuse(std::string(what) + " token", number(id),
             "between 0 and " + number(vocab - 1) + ", the model's vocabulary");
    }
  }
}

void check_words(const Options& options, std::size_t prompt, int vocab) {
  for (const auto& run : options.words.forbidden) {
    if (run.empty()) refuse("a forbidden word", "empty", "at least one token");
    check_tokens(run, "a forbidden", vocab);
  }
  std::size_t needed = 0;
  for (const auto& alternatives : options.words.forced) {
    std::size_t longest = 0;
    for (const auto& run : alternatives) {
      if (run.empty()) refuse("a forced word", "empty", "at least one token");
      check_tokens(run, "a forced", vocab);
      longest = std::max(longest, run.size());
    }
    needed += longest;
  }
  const std::size_t left = static_cast<std::size_t>(options.max_length) - prompt;
  if (needed > left) {
    throw Error(ErrorCode::kUsage, "force_words need up to " + number(needed) +
                                       " tokens, and max_length (" + number(options.max_length) +
                                       ") leaves " + number(left) + " after the prompt's " +
                                       number(prompt) +
                                       ": force fewer words or allow longer texts");
  }
}

}  // namespace

void check_option(const Option& option, int value) { check_range(option, value); }

void validate(const GenerateOptions& options, int max_positions) {
  // The model's positions are a narrower limit than the table's.
  if (options.max_length < option_named("max_length").low || options.max_length > max_positions) {
    refuse("max_length", number(options.max_length),
           "between 1 and " + number(max_positions) + ", the positions of this model");
  }
  for (const Option& option : kOptions)
    std::visit([&](auto field) { check_field(option, options, field); }, option.field);
  check_effect(options, !options.force_words.empty());
  if (!options.sample && options.num_return > options.beams) {
    refuse("num_return", number(options.num_return),
           options.beams == 1
               ? "1 with greedy search: set more beams, or sample"
               : "between 1 and beams (" + number(options.beams) + ") unless sampling");
  }
}

Options with_min_length(Options options, int task_default) {
  if (!options.min_length)
    options.min_length = std::max(0, std::min(task_default, options.max_length));
  return options;
}

std::vector<std::vector<Hypothesis>> generate(Decoder& decoder,
                                              std::span<const std::int32_t> prompt,
                                              const Options& options, Tokens tokens,
                                              const Hooks& hooks) {
  validate(options, decoder.max_positions());
  check_effect(options, !options.words.forced.empty());
  if (prompt.empty()) refuse("the prompt", "empty", "at least the token that begins a text");
  if (prompt.size() >= static_cast<std::size_t>(options.max_length)) {
    refuse("max_length", number(options.max_length),
           "more than the prompt's " + number(prompt.size()) + " tokens, which it counts");
  }
  check_tokens(prompt, "a prompt", decoder.vocab_size());
  check_tokens({&tokens.eos, 1}, "the end", decoder.vocab_size());
  check_words(options, prompt.size(), decoder.vocab_size());
  const Request request{prompt, options, tokens, hooks};
  if (options.sample || options.beams == 1) return one_by_one(decoder, request);
  // With fewer tokens not even the first step could fill the beams.
  if (decoder.vocab_size() <= 2 * options.beams) {
    refuse("beams", number(options.beams),
           "below half the vocabulary size, which is " + number(decoder.vocab_size()));
  }
  return options.words.forced.empty() ? beam_search(decoder, request)
                                      : forced_search(decoder, request);
}

}  // namespace blip::decode
