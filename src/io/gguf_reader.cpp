// GGUF versions 2 and 3: magic, version, tensor count, metadata count, metadata, tensor infos,
// padding, tensor data.
#include "blip/error.h"
#include "io/bytes.h"
#include "io/element_type.h"
#include "io/gguf.h"
#include "io/parsed_tensors.h"

namespace blip::io {
namespace {

using gguf::ValueType;

// A value takes up to 32 bytes of memory for one in the file. All metadata together may have so
// many: the largest vocabularies in use have 300,000 tokens, with a score and a type for each.
constexpr std::uint64_t kMaxValues = std::uint64_t{1} << 22;
constexpr std::uint64_t kMaxTensors = 100'000;
constexpr std::size_t kMaxMetadata = std::size_t{256} << 20;
constexpr int kMaxArrayDepth = 4;
constexpr std::uint32_t kMaxDimensions = 4;  // GGML_MAX_DIMS
constexpr std::uint64_t kMaxAlignment = 1u << 20;

class GgufReader {
 public:
  GgufReader(std::span<const std::byte> data, const std::string& file)
      : data_(data), reader_(data, file) {}

  ParsedTensors read() {
    read_header();
    const std::size_t start = reader_.position();
    for (std::uint64_t i = 0; i < metadata_count_; ++i) {
      read_metadata();
      if (reader_.position() - start > kMaxMetadata)
        reader_.fail("the metadata takes more than 256 MiB");
    }
    read_alignment();
    std::vector<std::uint64_t> offsets;
    for (std::uint64_t i = 0; i < tensor_count_; ++i) offsets.push_back(read_tensor_info());
    place_tensors(offsets);
    return std::move(parsed_);
  }

 private:
  void read_header() {
    const auto magic = reader_.take(gguf::kMagic.size(), "the magic");
    if (as_text(magic) != gguf::kMagic) {
      const std::string hint = hint_for(data_);
      reader_.fail(hint.empty() ? "no GGUF file: it begins with " + quote(as_text(magic)) : hint);
    }
    const auto version = reader_.read<std::uint32_t>("the version");
    if (version != 0 && (version & 0xffffu) == 0)
      reader_.fail("big-endian GGUF files are not supported");
    if (version != 2 && version != 3) {
      reader_.fail("GGUF version " + std::to_string(version) +
                   " is not supported (2 and 3 are); convert the checkpoint again");
    }
    tensor_count_ = reader_.read<std::uint64_t>("the tensor count");
    metadata_count_ = reader_.read<std::uint64_t>("the metadata count");
    // The least that one of them takes: name length, dimension count, type, offset; key length,
    // value type, value.
    if (tensor_count_ > reader_.remaining() / 24 || metadata_count_ > reader_.remaining() / 13) {
      reader_.fail(std::to_string(tensor_count_) + " tensors and " +
                   std::to_string(metadata_count_) +
                   " metadata values cannot fit into the file; it is truncated or damaged");
    }
    if (tensor_count_ > kMaxTensors) {
      reader_.fail(std::to_string(tensor_count_) + " tensors; at most " +
                   std::to_string(kMaxTensors) + " are read");
    }
    count_values(metadata_count_);
  }

  void count_values(std::uint64_t count) {
    if (count > values_left_)
      reader_.fail("more than " + std::to_string(kMaxValues) + " metadata values");
    values_left_ -= count;
  }

  std::string read_string(const char* what) {
    const auto length = reader_.read<std::uint64_t>(what);
    return std::string(as_text(reader_.take(length, what)));
  }

  void read_metadata() {
    std::string key = read_string("a metadata key");
    if (parsed_.metadata.contains(key) || skipped_.contains(key))
      reader_.fail("the metadata key " + quote(key) + " appears twice");
    const auto type = read_value_type();
    if (type != ValueType::array) {
      parsed_.metadata.emplace(std::move(key), read_scalar(type));
      return;
    }
    if (std::optional<MetadataValue> array = read_array(1))
      parsed_.metadata.emplace(std::move(key), std::move(*array));
    else
      skipped_.emplace(std::move(key), true);
  }

  ValueType read_value_type() {
    const auto number = reader_.read<std::uint32_t>("a metadata type");
    if (number > static_cast<std::uint32_t>(ValueType::f64))
      reader_.fail("metadata type " + std::to_string(number) + " is unknown");
    return static_cast<ValueType>(number);
  }

  std::int64_t read_integer(ValueType type) {
    switch (type) {
      case ValueType::u8:
        return reader_.read<std::uint8_t>("a u8");
      case ValueType::i8:
        return reader_.read<std::int8_t>("an i8");
      case ValueType::u16:
        return reader_.read<std::uint16_t>("a u16");
      case ValueType::i16:
        return reader_.read<std::int16_t>("an i16");
      case ValueType::u32:
        return reader_.read<std::uint32_t>("a u32");
      case ValueType::i32:
        return reader_.read<std::int32_t>("an i32");
      case ValueType::i64:
        return reader_.read<std::int64_t>("an i64");
      case ValueType::boolean:
        return read_boolean();
      default:
        break;
    }
    const auto value = reader_.read<std::uint64_t>("a u64");
    if (value > INT64_MAX)
      reader_.fail("the metadata value " + std::to_string(value) +
                   " is over 2^63 - 1, the largest supported");
    return static_cast<std::int64_t>(value);
  }

  bool read_boolean() {
    const auto value = reader_.read<std::uint8_t>("a bool");
    if (value > 1) reader_.fail("a bool is 0 or 1, got " + std::to_string(value));
    return value == 1;
  }

  double read_real(ValueType type) {
    return type == ValueType::f32 ? static_cast<double>(reader_.read<float>("an f32"))
                                  : reader_.read<double>("an f64");
  }

  MetadataValue read_scalar(ValueType type) {
    switch (type) {
      case ValueType::string:
        return read_string("a string");
      case ValueType::f32:
      case ValueType::f64:
        return read_real(type);
      case ValueType::boolean:
        return read_boolean();
      default:
        return read_integer(type);
    }
  }

  // Arrays of arrays have no MetadataValue and no use here: read past (so that a damaged one is
  // noticed), nullopt.
  std::optional<MetadataValue> read_array(int depth) {
    if (depth > kMaxArrayDepth)
      reader_.fail("arrays are nested deeper than " + std::to_string(kMaxArrayDepth) + " levels");
    const auto type = read_value_type();
    const auto count = reader_.read<std::uint64_t>("an array length");
    const std::uint64_t smallest = type == ValueType::array    ? 12
                                   : type == ValueType::string ? 8
                                                               : 1;
    if (count > reader_.remaining() / smallest) {
      reader_.fail("an array of " + std::to_string(count) + " values does not fit into the file");
    }
    count_values(count);
    if (type == ValueType::array) {
      for (std::uint64_t i = 0; i < count; ++i) read_array(depth + 1);
      return std::nullopt;
    }
    if (type == ValueType::string) {
      return fill<std::string>(count, [this] { return read_string("a string"); });
    }
    if (type == ValueType::f32 || type == ValueType::f64) {
      return fill<double>(count, [this, type] { return read_real(type); });
    }
    return fill<std::int64_t>(count, [this, type] { return read_integer(type); });
  }

  template <typename Element, typename Read>
  static MetadataValue fill(std::uint64_t count, Read read) {
    std::vector<Element> values;
    for (std::uint64_t i = 0; i < count; ++i) values.push_back(read());
    return values;
  }

  void read_alignment() {
    const auto found = parsed_.metadata.find(std::string(gguf::kAlignmentKey));
    if (found == parsed_.metadata.end()) return;
    const auto* value = std::get_if<std::int64_t>(&found->second);
    if (value == nullptr || *value <= 0 || static_cast<std::uint64_t>(*value) > kMaxAlignment ||
        (*value & (*value - 1)) != 0) {
      reader_.fail("general.alignment must be a power of two up to " +
                   std::to_string(kMaxAlignment));
    }
    alignment_ = static_cast<std::uint64_t>(*value);
  }

  // Adds the tensor without its data and returns where in the data section that begins.
  std::uint64_t read_tensor_info() {
    TensorView tensor;
    tensor.name = read_string("a tensor name");
    const std::string where = "tensor " + quote(tensor.name) + ": ";
    const auto dimensions = reader_.read<std::uint32_t>("a dimension count");
    if (dimensions > kMaxDimensions)
      reader_.fail(where + std::to_string(dimensions) + " dimensions; at most 4 are supported");
    tensor.shape.resize(dimensions);
    for (std::uint32_t i = 0; i < dimensions; ++i) {
      const auto dimension = reader_.read<std::uint64_t>("a dimension");
      if (dimension > INT64_MAX)
        reader_.fail(where + "the dimension " + std::to_string(dimension) + " is impossible");
      // stored innermost first
      tensor.shape[dimensions - 1 - i] = static_cast<std::int64_t>(dimension);
    }
    const auto number = reader_.read<std::uint32_t>("a tensor type");
    bool known = false;
    for (const auto& entry : gguf::kTensorTypes) {
      if (entry.number != number) continue;
      tensor.type = entry.type;
      known = true;
    }
    if (!known) {
      reader_.fail(where + "the type number " + std::to_string(number) +
                   " is not supported; store it as f32, f16, bf16 or q8_0");
    }
    if (!tensor_bytes(tensor.type, tensor.shape))
      reader_.fail(where + tensor.describe() + " is impossible");
    parsed_.tensors.push_back(std::move(tensor));
    return reader_.read<std::uint64_t>("a tensor offset");
  }

  // As ggml has it: the data of the tensors follow one another in their order, each padded to the
  // alignment. So none overlap, and there is nothing between them.
  void place_tensors(const std::vector<std::uint64_t>& offsets) {
    const std::uint64_t start = (reader_.position() + alignment_ - 1) / alignment_ * alignment_;
    std::uint64_t expected = 0;
    for (std::size_t i = 0; i < offsets.size(); ++i) {
      TensorView& tensor = parsed_.tensors[i];
      const std::uint64_t bytes = *tensor_bytes(tensor.type, tensor.shape);
      std::uint64_t begin = 0, end = 0;
      const std::string where = "tensor " + quote(tensor.name) + ": ";
      if (offsets[i] % alignment_ != 0) {
        reader_.fail(where + "its offset " + std::to_string(offsets[i]) +
                     " is no multiple of the alignment " + std::to_string(alignment_));
      }
      if (!add(start, offsets[i], &begin) || !add(begin, bytes, &end) || end > data_.size()) {
        reader_.fail(where + std::to_string(bytes) + " bytes at offset " +
                     std::to_string(offsets[i]) + " of the data reach past the file's " +
                     std::to_string(data_.size()) + " bytes; it is truncated or damaged");
      }
      if (offsets[i] != expected) {
        reader_.fail(where + "its data begins at offset " + std::to_string(offsets[i]) +
                     ", expected " + std::to_string(expected) +
                     " (tensors must follow one another); the file is damaged");
      }
      // fits: all of it lies in the file, but for the padding
      expected += (bytes + alignment_ - 1) / alignment_ * alignment_;
      tensor.data = data_.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(bytes));
    }
  }

  std::span<const std::byte> data_;
  ByteReader reader_;
  std::uint64_t values_left_ = kMaxValues;
  std::uint64_t tensor_count_ = 0, metadata_count_ = 0, alignment_ = gguf::kDefaultAlignment;
  ParsedTensors parsed_;
  std::map<std::string, bool> skipped_;  // keys of nested arrays
};

}  // namespace

ParsedTensors read_gguf(std::span<const std::byte> data, const std::string& file) {
  return GgufReader(data, file).read();
}

}  // namespace blip::io
