#pragma once

#include <string_view>

namespace blip::text {

// data/bert-base-uncased/vocab.txt as it is, put here by vocabulary.cmake
extern const std::string_view kBundledVocabulary;

}  // namespace blip::text
