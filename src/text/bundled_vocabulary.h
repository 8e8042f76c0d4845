#pragma once

#include <string_view>

namespace blip::text {

extern const std::string_view kBundledVocabulary;  // data/bert-base-uncased/vocab.txt as it is, put here by vocabulary.cmake

}  // namespace blip::text
