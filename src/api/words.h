// Words of GenerateOptions as tokens.
#pragma once

#include "blip/options.h"
#include "decode/generate.h"
#include "text/tokenizer.h"

namespace blip {

// The options with their words as runs of tokens; blip/options.h says what a word means. Throws
// Error(kUsage) naming the word. Warns of forbidden words that are never written anyway.
decode::Options with_words(const GenerateOptions& options, const text::Tokenizer& tokenizer,
                           const WarningCallback& warning);

}  // namespace blip
