// blip::convert: any checkpoint to one GGUF file under canonical names.
#include <algorithm>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "api/impl.h"
#include "blip/blip.h"
#include "blip/hub.h"
#include "io/finite.h"
#include "io/tensor_file.h"
#include "model/gguf_config.h"

namespace blip {
namespace {

using io::ElementType;

constexpr std::int64_t kQ8Block = 32;  // values of one q8_0 block

ElementType element_type(FileType type) {
  switch (type) {
    case FileType::kF32:
      return ElementType::f32;
    case FileType::kF16:
      return ElementType::f16;
    case FileType::kBf16:
      return ElementType::bf16;
    case FileType::kQ8_0:
      return ElementType::q8_0;
  }
  throw Error(ErrorCode::kUsage, "convert: unknown file type");
}

// general.file_type as ggml numbers it.
std::int64_t file_type_number(FileType type) {
  switch (type) {
    case FileType::kF32:
      return 0;
    case FileType::kF16:
      return 1;
    case FileType::kQ8_0:
      return 7;
    case FileType::kBf16:
      return 32;
  }
  return 0;
}

// Matrices take the type asked for. Rows that q8_0's blocks do not divide (the patch convolution,
// odd widths) fall back to f16.
ElementType stored_type(const model::Checkpoint& checkpoint, const std::string& name,
                        ElementType wanted) {
  if (!checkpoint.is_matrix(name)) return ElementType::f32;
  const bool whole_blocks = checkpoint.tensor(name).shape.back() % kQ8Block == 0;
  return wanted == ElementType::q8_0 && !whole_blocks ? ElementType::f16 : wanted;
}

// Position tables are written as they are, not interpolated: the image size is a setting of the
// file.
void fill(const std::string& source, const io::TensorView& view, ElementType type,
          std::span<std::byte> out) {
  std::vector<float> values(view.count());
  view.to_f32(values);
  // A value the type cannot hold would turn into infinity without a word.
  if (!io::fits(values, type)) io::refuse_values(source, view, type);
  if (view.type == type) {
    std::copy(view.data.begin(), view.data.end(), out.begin());
  } else {
    io::encode(values, type, out);
  }
}

model::Metadata metadata_of(const model::Checkpoint& checkpoint, const std::string& name,
                            FileType type) {
  model::Metadata metadata;
  metadata["general.architecture"] = std::string("blip");
  metadata["general.name"] = name;
  metadata["general.file_type"] = file_type_number(type);
  if (type == FileType::kQ8_0) metadata["general.quantization_version"] = std::int64_t{2};
  model::write_config(checkpoint.config(), metadata);
  model::write_merged_adapters(checkpoint.info().adapters, metadata);
  model::write_vocabulary(checkpoint.vocabulary(), checkpoint.config().tokens,
                          checkpoint.info().vocab_size, metadata);
  return metadata;
}

// Whether writing the destination would replace a file that the source is read from: the same file
// through any path or link, a shard, or settings and vocabulary beside the weights.
bool is_source(const std::string& source, const std::string& format,
               const std::string& destination) {
  namespace fs = std::filesystem;
  std::error_code error;
  if (!fs::exists(destination, error)) return false;
  if (fs::equivalent(source, destination, error)) return true;
  const bool folder = fs::is_directory(source, error),
             shards = folder || source.ends_with(".index.json");
  fs::path where = folder ? fs::path(source) : fs::path(source).parent_path();
  if (where.empty()) where = ".";
  for (fs::directory_iterator it(where, error), end; !error && it != end; it.increment(error)) {
    const std::string ending = it->path().extension().string();
    const bool settings = ending == ".json" || ending == ".txt";
    const bool weights = ending == ".gguf"
                             ? folder && format == "gguf"
                             : shards && (ending == ".safetensors" || ending == ".bin" ||
                                          ending == ".pth" || ending == ".pt" || ending == ".ckpt");
    std::error_code other;
    if ((settings || weights) && fs::equivalent(it->path(), destination, other)) return true;
  }
  return false;
}

}  // namespace

void convert(const std::string& given, const std::string& destination,
             const ConvertOptions& options) {
  const ElementType wanted = element_type(options.type);
  const std::string source = require_model(given);
  const model::Checkpoint checkpoint = model::Checkpoint::open(source, options.adapters);
  const model::Location& location = checkpoint.location();
  const auto is_of = [&](const std::string& adapter) {
    return is_source(adapter, "safetensors", destination);
  };
  if (is_source(location.model, checkpoint.info().format, destination) ||
      std::any_of(location.adapters.begin(), location.adapters.end(), is_of))
    throw Error(ErrorCode::kUsage, "source and destination are the same file: " + destination +
                                       " is read from " + source + "; write another file");
  if (options.warning) {
    for (const std::string& warning : checkpoint.info().warnings) options.warning(warning);
  }
  std::vector<io::GgufTensor> tensors;
  for (const std::string& name : checkpoint.names()) {
    const io::TensorView& view = checkpoint.tensor(name);
    const ElementType type = stored_type(checkpoint, name, wanted);
    tensors.push_back({name, type, view.shape, [&, type, name](std::span<std::byte> out) {
                         fill(source, checkpoint.tensor(name), type, out);
                         checkpoint.check_unchanged();
                       }});
  }
  std::function<void(std::size_t, std::size_t)> progress;
  if (options.progress)
    progress = [&](std::size_t done, std::size_t total) {
      options.progress("convert", done, total);
    };
  io::write_gguf(destination,
                 metadata_of(checkpoint, info_of(checkpoint, source).name, options.type), tensors,
                 progress);
}

}  // namespace blip
