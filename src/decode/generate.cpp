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

[[noreturn]] void refuse(const std::string& option, const std::string& value, const std::string& allowed) {
  throw Error(ErrorCode::kUsage, option + " is " + value + ", but must be " + allowed);
}

// Written so that NaN fails too.
template <typename T>
void check_range(const Option& option, T value) {
  // A float that was written as the bound may lie a hair below the double.
  const double low = std::is_floating_point_v<T> ? static_cast<double>(static_cast<T>(option.low)) : option.low;
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
template <class T>
void check_field(const Option& option, const GenerateOptions& options, T GenerateOptions::*field) {
  check_range(option, options.*field);
}

void check_tokens(std::span<const std::int32_t> ids, const char* what, int vocab) {
  for (const std::int32_t id : ids) {
    if (id < 0 || id >= vocab) {
      refuse(std::string(what) + " token", number(id), "between 0 and " + number(vocab - 1) + ", the model's vocabulary");
    }
  }
}

}  // namespace

void check_option(const Option& option, int value) { check_range(option, value); }

void validate(const GenerateOptions& options, int max_positions) {
  // The model's positions are a narrower limit than the table's.
  if (options.max_length < option_named("max_length").low || options.max_length > max_positions) {
    refuse("max_length", number(options.max_length), "between 1 and " + number(max_positions) + ", the positions of this model");
  }
  for (const Option& option : kOptions)
    std::visit([&](auto field) { check_field(option, options, field); }, option.field);
  if (!options.sample && options.num_return > options.beams) {
    refuse("num_return", number(options.num_return),
           options.beams == 1 ? "1 with greedy search: set more beams, or sample"
                              : "between 1 and beams (" + number(options.beams) + ") unless sampling");
  }
}

GenerateOptions with_min_length(GenerateOptions options, int task_default) {
  if (!options.min_length) options.min_length = std::max(0, std::min(task_default, options.max_length));
  return options;
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
