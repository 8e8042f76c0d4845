// What a format's reader hands over: the tensors and the memory that their views point into.
#pragma once

#include <cstddef>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "io/tensor_file.h"

namespace blip::io {

struct ParsedTensors {
  std::vector<TensorView> tensors;
  std::map<std::string, MetadataValue> metadata;
  std::deque<std::vector<std::byte>> buffers;         // tensors that could not be viewed in place
  std::vector<std::unique_ptr<MappedFile>> mappings;  // empty where the caller owns the bytes
};

// Error(kModel) naming `file` where two tensors share a name.
std::unique_ptr<TensorFile> make_tensor_file(ParsedTensors parsed, const std::string& file);

// The format's parser over bytes in memory, the views pointing into them (or into buffers).
ParsedTensors read_safetensors(std::span<const std::byte> data, const std::string& file);
ParsedTensors read_torch(std::span<const std::byte> data, const std::string& file);
ParsedTensors read_gguf(std::span<const std::byte> data, const std::string& file);

// Maps the file, parses it and keeps the mapping with the result.
ParsedTensors read_mapped(const std::string& path,
                          ParsedTensors (*read)(std::span<const std::byte>, const std::string&));

}  // namespace blip::io
