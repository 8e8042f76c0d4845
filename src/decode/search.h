// The three ways to search, behind generate(). Internal to src/decode. Options are valid when they
// get here.
#pragma once

#include <span>
#include <vector>

#include "blip/error.h"
#include "core/zone.h"
#include "decode/generate.h"

namespace blip::decode {

struct Request {
  std::span<const std::int32_t> prompt;
  const Options& options;
  Tokens tokens;
  const Hooks& hooks;
};

std::vector<std::vector<Hypothesis>> beam_search(Decoder& decoder, const Request& request);
// Beam search for texts that have options.words.forced.
std::vector<std::vector<Hypothesis>> forced_search(Decoder& decoder, const Request& request);
// Greedy, or options.sample.
std::vector<std::vector<Hypothesis>> one_by_one(Decoder& decoder, const Request& request);

// The decoder's two calls, as stages of the task.
inline std::span<const float> prefill(Decoder& decoder, std::span<const std::int32_t> prompt) {
  const StageZone zone("prefill", static_cast<std::size_t>(decoder.sequences()));
  return decoder.prefill(prompt);
}
inline std::span<const float> step(Decoder& decoder, std::span<const Decoder::Next> next) {
  const StageZone zone("token", next.size());
  return decoder.step(next);
}

inline void poll(const Hooks& hooks) {
  if (hooks.cancel && hooks.cancel())
    throw Error(ErrorCode::kCancelled, "cancelled while generating text");
}

}  // namespace blip::decode
