// Decoding that is compiled into a network: what may be asked of it, and what its ids say.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "backend/backend.h"

namespace blip::backend::sophon {

// Such a network decodes greedily to a fixed length. Options at their defaults ask for nothing; any
// other value that it cannot follow is Error(kUnsupported). `length`: its fixed number of ids;
// `what`: "caption" or "answer".
void check_fixed_options(const GenerateOptions& options, const GenerateOptions& defaults,
                         int length, const std::string& what);

// The vocabulary that such a network is used with: nothing in it says which it was compiled for.
struct CompiledVocabulary {
  std::int32_t bos, eos, pad;
  int size;
};

// Ids as the network gives them -> a text: everything after the first end token is left out. ids
// must start with `prompt` and be those of words, else Error(kModel): the network was compiled with
// another prompt, or for another vocabulary.
decode::Hypothesis fixed_text(std::span<const std::int32_t> ids,
                              std::span<const std::int32_t> prompt, const CompiledVocabulary& words,
                              const std::string& path);

}  // namespace blip::backend::sophon
