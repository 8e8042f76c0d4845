// The vocabulary of BERT base uncased, compiled into the library: what a model reads that brings
// none. A constant, so any thread may read it.
#pragma once

#include <string_view>

namespace blip::text {

// data/bert-base-uncased/vocab.txt as it is, put here by vocabulary.cmake
extern const std::string_view kBundledVocabulary;

}  // namespace blip::text
