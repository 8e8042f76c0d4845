#include "backend/sophon/fixed_decoding.h"

#include <algorithm>
#include <array>
#include <limits>
#include <string>
#include <type_traits>
#include <variant>

#include "blip/error.h"
#include "blip/limits.h"

namespace blip::backend::sophon {

void check_fixed_options(const GenerateOptions& options, const GenerateOptions& defaults,
                         int length, const std::string& what) {
  const auto refuse = [&](const std::string& asked) {
    throw Error(ErrorCode::kUnsupported,
                asked + " is not possible: this bmodel has its decoding compiled in: greedy, one " +
                    what + " of up to " + std::to_string(length) +
                    " tokens; leave the option at its default, or use a checkpoint on the CPU");
  };
  if (options.sample) refuse("sampling");
  if (options.num_return != 1) refuse(std::to_string(options.num_return) + " texts per input");
  if (options.beams != 1 && options.beams != defaults.beams)
    refuse("beam search with " + std::to_string(options.beams) + " beams");
  if (options.max_length != length && options.max_length != defaults.max_length)
    refuse("a maximal length of " + std::to_string(options.max_length));
  if (options.min_length) refuse("a minimal length of " + std::to_string(*options.min_length));
  if (options.repetition_penalty != defaults.repetition_penalty) refuse("a repetition penalty");
  // Whatever else has an effect without sampling.
  constexpr std::array kChecked{"beams", "min_length", "max_length", "num_return"};
  for (const Option& row : kOptions) {
    const auto differs = [&](auto field) {
      if constexpr (std::is_same_v<decltype(field), std::monostate>)
        return false;
      else
        return options.*field != defaults.*field;
    };
    const bool checked = std::find(kChecked.begin(), kChecked.end(), row.name) != kChecked.end();
    if (!checked && row.use != OptionUse::kSampling && std::visit(differs, row.field))
      refuse(std::string(row.name));
  }
}

decode::Hypothesis fixed_text(std::span<const std::int32_t> ids,
                              std::span<const std::int32_t> prompt, const CompiledVocabulary& words,
                              const std::string& path) {
  if (ids.size() < prompt.size() || !std::equal(prompt.begin(), prompt.end(), ids.begin())) {
    std::string got;
    for (const std::int32_t id : ids.first(std::min(ids.size(), prompt.size())))
      got += (got.empty() ? "" : ", ") + std::to_string(id);
    throw Error(ErrorCode::kModel, path + ": its text starts with the ids " + got +
                                       ", not with the prompt's: it is compiled with another "
                                       "prompt or for another vocabulary");
  }
  const auto end =
      std::find(ids.begin() + static_cast<std::ptrdiff_t>(prompt.size()), ids.end(), words.eos);
  for (auto id = ids.begin(); id != end; ++id)
    if (*id < 0 || *id >= words.size)
      throw Error(ErrorCode::kModel, path + ": its text has the id " + std::to_string(*id) +
                                         ", and the vocabulary ends at " +
                                         std::to_string(words.size - 1) +
                                         ": it is compiled for another vocabulary; name that with "
                                         "--tokenizer-path");
  // The network keeps its logits to itself: no score.
  return {{ids.begin(), end == ids.end() ? end : end + 1}, std::numeric_limits<float>::quiet_NaN()};
}

}  // namespace blip::backend::sophon
