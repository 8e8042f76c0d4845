// The vocabulary of a model folder, out of the up to five files that transformers spreads it over.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "text/vocabulary.h"

namespace blip::model {

struct FolderVocabulary {
  text::Vocabulary vocabulary;
  std::string where;                  // the file its tokens are from
  std::vector<std::string> warnings;  // what the files say and is not followed
};

// tokenizer.json or vocab.txt, with what tokenizer_config.json, special_tokens_map.json and
// added_tokens.json say besides, as transformers' BertTokenizerFast reads them; nullopt where the
// folder has neither of the first two. Where tokenizer.json and tokenizer_config.json state
// different things, versions of transformers differ: Error(kModel) naming both.
std::optional<FolderVocabulary> load_vocabulary(const std::string& folder);

// Of one file: a tokenizer.json by its ending, else a vocab.txt. Throws Error(kIo | kModel).
text::Vocabulary read_vocabulary_file(const std::string& path);

}  // namespace blip::model
