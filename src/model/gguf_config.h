// The model's configuration as GGUF metadata. One list of keys serves the reader and the writer.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "io/tensor_file.h"
#include "model/config.h"

namespace blip::model {

using Metadata = std::map<std::string, io::MetadataValue>;

// Keys blip.*: see the list in gguf_config.cpp.
void write_config(const ModelConfig& config, Metadata& metadata);
// Throws Error(kModel) naming `where` and the key that is missing, of the wrong type or out of range.
ModelConfig read_config(const Metadata& metadata, const std::string& where);

// tokenizer.ggml.*: the WordPiece vocabulary and its special ids.
void write_vocabulary(const std::vector<std::string>& vocabulary, Metadata& metadata);
// Empty where the file holds none.
std::vector<std::string> read_vocabulary(const Metadata& metadata, const std::string& where);

}  // namespace blip::model
