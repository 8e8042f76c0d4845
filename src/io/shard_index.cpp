// NAME.index.json: {"metadata": {...}, "weight_map": {tensor: shard}}, which names the file of each
// tensor.
#include <set>

#include "base/json.h"
#include "blip/error.h"
#include "io/bytes.h"
#include "io/json_object.h"
#include "io/parsed_tensors.h"

namespace blip::io {
namespace {

constexpr std::size_t kMaxIndex = std::size_t{16} << 20;
constexpr std::size_t kMaxShards = 512;  // each stays open while the checkpoint is

[[noreturn]] void fail(const std::string& file, const std::string& message) {
  throw Error(ErrorCode::kModel, file + ": " + message);
}

// Scalars of a JSON object; anything else in it has no meaning to us.
void read_metadata(const Json& object, std::map<std::string, MetadataValue>& metadata) {
  for (const auto& [key, value] : object.items()) {
    if (value.is_string())
      metadata[key] = value.get<std::string>();
    else if (value.is_boolean())
      metadata[key] = value.get<bool>();
    else if (value.is_number_unsigned() && value.get<std::uint64_t>() <= INT64_MAX)
      metadata[key] = value.get<std::int64_t>();
    else if (value.is_number())
      metadata[key] = value.get<double>();
  }
}

// A shard is a plain file name beside the index: an index must not make us open any other file.
void check_shard_name(const std::string& shard, const std::string& file) {
  if (shard.empty() || shard == "." || shard == ".." ||
      shard.find_first_of(std::string_view("/\\\0", 3)) != std::string::npos) {
    fail(file, "the shard " + quote(shard) +
                   " is not a plain file name; shards must lie beside the index");
  }
}

using NamesByShard = std::map<std::string, std::set<std::string>>;

NamesByShard names_by_shard(const Json& index, const std::string& path) {
  const auto map = index.is_object() ? index.find("weight_map") : index.end();
  if (map == index.end() || !map->is_object()) {
    fail(path,
         "not a shard index: expected an object \"weight_map\" that names each tensor's shard");
  }
  NamesByShard result;
  for (const auto& [name, shard] : map->items()) {
    if (!shard.is_string()) fail(path, "tensor " + quote(name) + ": its shard is not a file name");
    check_shard_name(shard.get_ref<const std::string&>(), path);
    result[shard.get_ref<const std::string&>()].insert(name);
  }
  if (result.empty()) fail(path, "it names no shards");
  if (result.size() > kMaxShards) {
    fail(path, std::to_string(result.size()) + " shards; at most " + std::to_string(kMaxShards) +
                   " are read");
  }
  return result;
}

// The tensors that the index names, each out of its shard.
std::unique_ptr<TensorFile> open_index(const std::string& path,
                                       ParsedTensors (*read)(std::span<const std::byte>,
                                                             const std::string&)) {
  const Json index = parse_json(read_text(path, kMaxIndex), path);
  NamesByShard shards = names_by_shard(index, path);
  ParsedTensors all;
  if (const auto metadata = index.find("metadata");
      metadata != index.end() && metadata->is_object()) {
    read_metadata(*metadata, all.metadata);
  }
  const std::string folder = path.substr(0, path.rfind('/') + 1);  // npos + 1 = 0: no folder
  for (auto& [shard, names] : shards) {
    ParsedTensors part = read_mapped(folder + shard, read);
    for (TensorView& tensor : part.tensors) {
      if (names.erase(tensor.name) != 0) all.tensors.push_back(std::move(tensor));
    }
    if (!names.empty())
      fail(path, "the tensor " + quote(*names.begin()) + " is not in its shard " + shard);
    all.metadata.merge(part.metadata);
    for (auto& mapping : part.mappings) all.mappings.push_back(std::move(mapping));
    // its bytes stay where they are
    for (auto& buffer : part.buffers) all.buffers.push_back(std::move(buffer));
  }
  return make_tensor_file(std::move(all), path);
}

}  // namespace

std::unique_ptr<TensorFile> open_safetensors_index(const std::string& path) {
  return open_index(path, read_safetensors);
}
std::unique_ptr<TensorFile> open_torch_index(const std::string& path) {
  return open_index(path, read_torch);
}

}  // namespace blip::io
