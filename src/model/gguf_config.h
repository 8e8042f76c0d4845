// The model's configuration as GGUF metadata. One list of keys serves the reader and the writer.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "io/tensor_file.h"
#include "model/config.h"
#include "text/vocabulary.h"

namespace blip::model {

using Metadata = std::map<std::string, io::MetadataValue>;

// Keys blip.*: see the list in gguf_config.cpp.
void write_config(const ModelConfig& config, Metadata& metadata);
// Throws Error(kModel) naming `where` and the key that is missing, of the wrong type or out of
// range.
ModelConfig read_config(const Metadata& metadata, const std::string& where);

// The LoRA adapters that were merged into a converted model, by name. Nothing is written where
// there are none.
void write_merged_adapters(const std::vector<std::string>& names, Metadata& metadata);
// Throws Error(kModel) naming `where` for a key of another type.
std::vector<std::string> merged_before(const Metadata& metadata, const std::string& where);

// tokenizer.ggml.*: the WordPiece vocabulary and its special ids, and blip.tokenizer where it is
// not bert-base-uncased's kind. A token for each of `rows` of the embeddings, "" where there is
// none.
void write_vocabulary(const text::Vocabulary& vocabulary, const TokenIds& tokens, int rows,
                      Metadata& metadata);
// nullopt where the file holds none. The ids that decoding needs go to `tokens`, -1 where the file
// does not say. Throws Error(kModel) naming `where` and the key for ids without a token.
std::optional<text::Vocabulary> read_vocabulary(const Metadata& metadata, const std::string& where,
                                                TokenIds& tokens);

}  // namespace blip::model
