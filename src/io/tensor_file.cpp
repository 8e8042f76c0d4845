#include "io/tensor_file.h"

#include <utility>

#include "blip/error.h"
#include "io/bytes.h"
#include "io/element_type.h"
#include "io/half.h"
#include "io/parsed_tensors.h"

namespace blip::io {
namespace {

// Every element as f32; `convert` takes the stored value.
template <typename Stored, typename Convert>
void convert_elements(std::span<const std::byte> data, std::span<float> out, Convert convert) {
  const std::byte* from = data.data();
  for (std::size_t i = 0; i < out.size(); ++i)
    out[i] = convert(load<Stored>(from + i * sizeof(Stored)));
}

template <typename Stored>
void cast_elements(std::span<const std::byte> data, std::span<float> out) {
  convert_elements<Stored>(data, out, [](Stored value) { return static_cast<float>(value); });
}

void dequantise_q8_0(std::span<const std::byte> data, std::span<float> out) {
  const std::byte* block = data.data();
  for (std::size_t first = 0; first < out.size(); first += kQ8BlockValues, block += kQ8BlockBytes) {
    const float scale = f16_to_f32(load<std::uint16_t>(block));
    for (std::size_t i = 0; i < kQ8BlockValues; ++i) {
      out[first + i] =
          scale * static_cast<float>(load<std::int8_t>(block + sizeof(std::uint16_t) + i));
    }
  }
}

class ParsedTensorFile : public TensorFile {
 public:
  explicit ParsedTensorFile(ParsedTensors parsed)
      : buffers_(std::move(parsed.buffers)), mappings_(std::move(parsed.mappings)) {
    metadata_ = std::move(parsed.metadata);
    set_tensors(std::move(parsed.tensors));
  }

  void release(std::span<const std::byte> bytes) const override {
    for (const auto& mapping : mappings_) mapping->release(bytes);
  }
  void check_unchanged() const override {
    for (const auto& mapping : mappings_) mapping->check_unchanged();
  }

 private:
  std::deque<std::vector<std::byte>> buffers_;
  std::vector<std::unique_ptr<MappedFile>> mappings_;
};

}  // namespace

std::size_t TensorView::count() const {
  const std::optional<std::size_t> count = element_count(shape);
  if (!count)
    throw Error(ErrorCode::kModel, "tensor " + quote(name) + ": the shape " +
                                       describe_shape(shape) + " is impossible");
  return *count;
}

TensorView TensorView::rows(std::int64_t first, std::int64_t count) const {
  TensorView part = *this;
  const auto width = this->count() / static_cast<std::size_t>(shape.at(0));
  part.shape[0] = count;
  part.data = data.subspan(byte_size(type, static_cast<std::size_t>(first) * width),
                           byte_size(type, static_cast<std::size_t>(count) * width));
  return part;
}

std::string TensorView::describe() const {
  return std::string(to_string(type)) + " " + describe_shape(shape);
}

void TensorView::to_f32(std::span<float> out) const {
  const std::size_t expected = count();
  if (out.size() != expected || data.size() != byte_size(type, expected)) {
    throw Error(ErrorCode::kUsage,
                "tensor " + quote(name) + " (" + describe() + ", " + std::to_string(data.size()) +
                    " bytes) cannot be converted into " + std::to_string(out.size()) + " values");
  }
  if (expected == 0) return;
  switch (type) {
    case ElementType::f64:
      return cast_elements<double>(data, out);
    case ElementType::f32:
      std::memcpy(out.data(), data.data(), data.size());
      return;
    case ElementType::f16:
      return f16_row_to_f32(data.data(), out.size(), out.data());
    case ElementType::bf16:
      return convert_elements<std::uint16_t>(data, out, bf16_to_f32);
    case ElementType::i64:
      return cast_elements<std::int64_t>(data, out);
    case ElementType::i32:
      return cast_elements<std::int32_t>(data, out);
    case ElementType::i16:
      return cast_elements<std::int16_t>(data, out);
    case ElementType::i8:
      return cast_elements<std::int8_t>(data, out);
    case ElementType::u8:
      return cast_elements<std::uint8_t>(data, out);
    case ElementType::boolean:
      return convert_elements<std::uint8_t>(
          data, out, [](std::uint8_t value) { return value != 0 ? 1.0f : 0.0f; });
    case ElementType::q8_0:
      return dequantise_q8_0(data, out);
  }
}

const TensorView* TensorFile::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

void TensorFile::set_tensors(std::vector<TensorView> tensors) {
  tensors_ = std::move(tensors);
  index_.clear();
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    if (!index_.emplace(tensors_[i].name, i).second) {
      throw Error(ErrorCode::kModel, "the tensor " + quote(tensors_[i].name) + " appears twice");
    }
  }
}

std::unique_ptr<TensorFile> make_tensor_file(ParsedTensors parsed, const std::string& file) {
  try {
    return std::make_unique<ParsedTensorFile>(std::move(parsed));
  } catch (const Error& error) {
    throw Error(error.code(), file + ": " + error.what());
  }
}

ParsedTensors read_mapped(const std::string& path,
                          ParsedTensors (*read)(std::span<const std::byte>, const std::string&)) {
  auto mapping = std::make_unique<MappedFile>(path);
  try {
    ParsedTensors parsed = read(mapping->bytes(), path);
    mapping->check_unchanged();
    parsed.mappings.push_back(std::move(mapping));
    return parsed;
  } catch (const Error&) {
    mapping->check_unchanged();  // a file that was truncated meanwhile is not a damaged one
    throw;
  }
}

std::unique_ptr<TensorFile> open_safetensors(const std::string& path) {
  return make_tensor_file(read_mapped(path, read_safetensors), path);
}
std::unique_ptr<TensorFile> open_torch(const std::string& path) {
  return make_tensor_file(read_mapped(path, read_torch), path);
}
std::unique_ptr<TensorFile> open_gguf(const std::string& path) {
  return make_tensor_file(read_mapped(path, read_gguf), path);
}

std::unique_ptr<TensorFile> parse_safetensors(std::span<const std::byte> data,
                                              const std::string& name) {
  return make_tensor_file(read_safetensors(data, name), name);
}
std::unique_ptr<TensorFile> parse_torch(std::span<const std::byte> data, const std::string& name) {
  return make_tensor_file(read_torch(data, name), name);
}
std::unique_ptr<TensorFile> parse_gguf(std::span<const std::byte> data, const std::string& name) {
  return make_tensor_file(read_gguf(data, name), name);
}

}  // namespace blip::io
