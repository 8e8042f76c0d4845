// GGUF version 3, written tensor by tensor: only one tensor is in memory at a time.
#include <algorithm>
#include <limits>
#include <new>
#include <set>

#include "base/file.h"
#include "blip/error.h"
#include "io/bytes.h"
#include "io/element_type.h"
#include "io/gguf.h"
#include "io/tensor_file.h"

namespace blip::io {
namespace {

using gguf::ValueType;

class Header {
 public:
  template <typename T>
  void put(T value) {
    static_assert(std::is_arithmetic_v<T> || std::is_enum_v<T>);
    const auto bytes = std::as_bytes(std::span(&value, 1));
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  }

  void put_string(std::string_view text) {
    put<std::uint64_t>(text.size());
    bytes_.insert(bytes_.end(), as_bytes(text).begin(), as_bytes(text).end());
  }

  // Integers take the type that other programs write for them: u32, else i32, else i64.
  void put_value(std::int64_t value) {
    if (value >= 0 && value <= std::numeric_limits<std::uint32_t>::max()) {
      put(ValueType::u32);
      put(static_cast<std::uint32_t>(value));
    } else if (value < 0 && value >= std::numeric_limits<std::int32_t>::min()) {
      put(ValueType::i32);
      put(static_cast<std::int32_t>(value));
    } else {
      put(ValueType::i64);
      put(value);
    }
  }
  void put_value(const std::string& value) {
    put(ValueType::string);
    put_string(value);
  }
  // f64, so that settings such as a LayerNorm's 1e-12 come back unchanged.
  void put_value(double value) {
    put(ValueType::f64);
    put(value);
  }
  void put_value(bool value) {
    put(ValueType::boolean);
    put(static_cast<std::uint8_t>(value));
  }
  void put_value(const std::vector<std::string>& values) {
    put_array(ValueType::string, values.size());
    for (const std::string& value : values) put_string(value);
  }
  void put_value(const std::vector<double>& values) {
    put_array(ValueType::f64, values.size());
    for (const double value : values) put(value);
  }
  void put_value(const std::vector<std::int64_t>& values) {
    const bool narrow = std::all_of(values.begin(), values.end(), [](std::int64_t value) {
      return value == static_cast<std::int32_t>(value);
    });
    put_array(narrow ? ValueType::i32 : ValueType::i64, values.size());
    for (const std::int64_t value : values)
      narrow ? put(static_cast<std::int32_t>(value)) : put(value);
  }

  void pad(std::uint64_t alignment) {
    bytes_.resize((bytes_.size() + alignment - 1) / alignment * alignment);
  }
  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  void put_array(ValueType element, std::size_t count) {
    put(ValueType::array);
    put(element);
    put<std::uint64_t>(count);
  }

  std::vector<std::byte> bytes_;
};

[[noreturn]] void refuse(const std::string& path, const std::string& message) {
  throw Error(ErrorCode::kUsage, "cannot write " + path + ": " + message);
}

std::uint32_t type_number(ElementType type) {
  for (const auto& entry : gguf::kTensorTypes) {
    if (entry.type == type) return entry.number;
  }
  return 0;  // not reached: check_tensors admits only types of the table
}

std::uint64_t alignment_of(const std::map<std::string, MetadataValue>& metadata,
                           const std::string& path) {
  const auto found = metadata.find(std::string(gguf::kAlignmentKey));
  if (found == metadata.end()) return gguf::kDefaultAlignment;
  const auto* value = std::get_if<std::int64_t>(&found->second);
  if (value == nullptr || *value < 8 || *value > 65536 || (*value & (*value - 1)) != 0) {
    refuse(path, "general.alignment must be a power of two from 8 to 65536");
  }
  return static_cast<std::uint64_t>(*value);
}

void check_tensors(std::span<const GgufTensor> tensors, const std::string& path) {
  std::set<std::string_view> names;
  for (const GgufTensor& tensor : tensors) {
    const std::string where = "tensor " + quote(tensor.name) + ": ";
    const bool writable = tensor.type == ElementType::f32 || tensor.type == ElementType::f16 ||
                          tensor.type == ElementType::bf16 || tensor.type == ElementType::q8_0;
    if (!writable)
      refuse(path, where + "the type " + to_string(tensor.type) +
                       " is not written; use f32, f16, bf16 or q8_0");
    if (tensor.shape.empty() || tensor.shape.size() > 4) {
      refuse(path,
             where + "GGUF tensors have 1 to 4 dimensions, got " + describe_shape(tensor.shape));
    }
    if (!tensor_bytes(tensor.type, tensor.shape)) {
      refuse(path, where + "the shape " + describe_shape(tensor.shape) + " is impossible as " +
                       to_string(tensor.type) +
                       (tensor.type == ElementType::q8_0
                            ? " (its last dimension must be a multiple of 32)"
                            : ""));
    }
    if (!tensor.fill) refuse(path, where + "it has no fill function");
    if (!names.insert(tensor.name).second) refuse(path, where + "it appears twice");
  }
}

std::uint64_t padded(std::uint64_t bytes, std::uint64_t alignment) {
  return (bytes + alignment - 1) / alignment * alignment;
}

}  // namespace

void write_gguf(const std::string& path, const std::map<std::string, MetadataValue>& metadata,
                std::span<const GgufTensor> tensors,
                const std::function<void(std::size_t done, std::size_t total)>& progress) {
  check_tensors(tensors, path);
  const std::uint64_t alignment = alignment_of(metadata, path);
  Header header;
  for (const char c : gguf::kMagic) header.put(c);
  header.put(gguf::kVersion);
  header.put<std::uint64_t>(tensors.size());
  header.put<std::uint64_t>(metadata.size());
  for (const auto& [key, value] : metadata) {
    header.put_string(key);
    std::visit([&header](const auto& held) { header.put_value(held); }, value);
  }
  std::uint64_t offset = 0;
  for (const GgufTensor& tensor : tensors) {
    header.put_string(tensor.name);
    header.put(static_cast<std::uint32_t>(tensor.shape.size()));
    for (auto dimension = tensor.shape.rbegin(); dimension != tensor.shape.rend(); ++dimension) {
      header.put(static_cast<std::uint64_t>(*dimension));
    }
    header.put(type_number(tensor.type));
    header.put(offset);
    offset += padded(*tensor_bytes(tensor.type, tensor.shape), alignment);
  }
  header.pad(alignment);

  if (progress) progress(0, tensors.size());
  AtomicFile file(path);
  file.write(header.bytes());
  std::vector<std::byte> buffer;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const std::size_t bytes = *tensor_bytes(tensors[i].type, tensors[i].shape);
    try {
      buffer.assign(padded(bytes, alignment), std::byte{0});
    } catch (const std::exception&) {  // bad_alloc, length_error
      refuse(path, "tensor " + quote(tensors[i].name) + ": not enough memory for its " +
                       std::to_string(bytes) + " bytes");
    }
    tensors[i].fill(std::span(buffer).first(bytes));
    file.write(buffer);
    if (progress) progress(i + 1, tensors.size());
  }
  file.commit();
}

}  // namespace blip::io
