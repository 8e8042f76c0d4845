// safetensors: u64 header length, a JSON header {"name": {"dtype", "shape", "data_offsets"},
// "__metadata__": {...}}, the data.
#include <algorithm>

#include "base/json.h"
#include "blip/error.h"
#include "io/bytes.h"
#include "io/element_type.h"
#include "io/parsed_tensors.h"

namespace blip::io {
namespace {

using Json = nlohmann::json;

// Headers in use are under 1 MB (a BLIP's has 700 tensors, 6,000 values). The reference
// implementation's own limit is 100 MB.
constexpr std::size_t kMaxHeader = std::size_t{16} << 20;
constexpr std::size_t kMaxValues = 1'000'000;  // about 100,000 tensors
constexpr std::size_t kMaxDimensions = 64;

[[noreturn]] void fail(const std::string& file, const std::string& message) {
  throw Error(ErrorCode::kModel, file + ": " + message);
}

// An object, nested at most `max_depth` deep; a key that appears twice is refused.
Json parse_header(std::string_view text, const std::string& file, std::size_t max_depth) {
  try {
    Json json = read_json<Json>(
        text, {.max_bytes = kMaxHeader, .max_depth = max_depth, .max_values = kMaxValues});
    if (!json.is_object()) fail(file, "the JSON header is not an object");
    return json;
  } catch (const JsonError& error) {
    fail(file, std::string("the JSON header is damaged: ") + error.what());
  }
}

std::optional<ElementType> element_type(std::string_view dtype) {
  constexpr std::pair<std::string_view, ElementType> kTypes[] = {
      {"F64", ElementType::f64},     {"F32", ElementType::f32}, {"F16", ElementType::f16},
      {"BF16", ElementType::bf16},   {"I64", ElementType::i64}, {"I32", ElementType::i32},
      {"I16", ElementType::i16},     {"I8", ElementType::i8},   {"U8", ElementType::u8},
      {"BOOL", ElementType::boolean}};
  for (const auto& [name, type] : kTypes) {
    if (dtype == name) return type;
  }
  return std::nullopt;
}

// A JSON integer from 0 to 2^63 - 1; never a rounded float.
std::optional<std::int64_t> whole_number(const Json& value) {
  if (!value.is_number_unsigned() || value.get<std::uint64_t>() > INT64_MAX) return std::nullopt;
  return static_cast<std::int64_t>(value.get<std::uint64_t>());
}

TensorView parse_tensor(const std::string& name, const Json& entry, std::span<const std::byte> data,
                        const std::string& file) {
  const std::string where = "tensor " + quote(name) + ": ";
  if (!entry.is_object() || !entry.contains("dtype") || !entry.contains("shape") ||
      !entry.contains("data_offsets")) {
    fail(file, where + "expected an object with dtype, shape and data_offsets");
  }
  TensorView tensor;
  tensor.name = name;
  const Json& dtype = entry["dtype"];
  if (!dtype.is_string()) fail(file, where + "dtype is not a string");
  const auto type = element_type(dtype.get_ref<const std::string&>());
  if (!type) {
    fail(file, where + "dtype " + quote(dtype.get_ref<const std::string&>()) +
                   " is not supported; store it as F32, F16, BF16 or a signed integer type");
  }
  tensor.type = *type;
  const Json& shape = entry["shape"];
  if (!shape.is_array() || shape.size() > kMaxDimensions)
    fail(file, where + "shape is not a list of at most 64 numbers");
  for (const Json& dimension : shape) {
    const auto value = whole_number(dimension);
    if (!value) fail(file, where + "the shape holds something else than whole numbers");
    tensor.shape.push_back(*value);
  }
  const Json& offsets = entry["data_offsets"];
  const bool pair = offsets.is_array() && offsets.size() == 2;
  const auto begin = pair ? whole_number(offsets[0]) : std::nullopt;
  const auto end = pair ? whole_number(offsets[1]) : std::nullopt;
  if (!begin || !end || *begin > *end) fail(file, where + "data_offsets is not [begin, end]");
  if (static_cast<std::uint64_t>(*end) > data.size()) {
    fail(file, where + "its data ends at byte " + std::to_string(*end) +
                   " of the data, which has " + std::to_string(data.size()) +
                   " bytes; the file is truncated or damaged");
  }
  const auto bytes = tensor_bytes(tensor.type, tensor.shape);
  if (!bytes || *bytes != static_cast<std::uint64_t>(*end - *begin)) {
    fail(file, where + tensor.describe() + " takes " +
                   (bytes ? std::to_string(*bytes) : "impossibly many") +
                   " bytes, its offsets span " + std::to_string(*end - *begin));
  }
  tensor.data = data.subspan(static_cast<std::size_t>(*begin), *bytes);
  return tensor;
}

// The format allows neither overlaps nor holes: together the tensors are the data, which also shows
// a wrong header length.
void check_coverage(const std::vector<TensorView>& tensors, std::span<const std::byte> data,
                    const std::string& file) {
  std::vector<const TensorView*> order;
  for (const TensorView& tensor : tensors) order.push_back(&tensor);
  std::sort(order.begin(), order.end(), [](const TensorView* a, const TensorView* b) {
    return std::pair(a->data.data(), a->data.size()) < std::pair(b->data.data(), b->data.size());
  });
  const std::byte* expected = data.data();
  for (const TensorView* tensor : order) {
    if (tensor->data.data() != expected) {
      fail(file, "tensor " + quote(tensor->name) + ": its data begins at byte " +
                     std::to_string(tensor->data.data() - data.data()) + " of the data, expected " +
                     std::to_string(expected - data.data()) + " (tensors must follow one another)");
    }
    expected += tensor->data.size();
  }
  if (expected != data.data() + data.size()) {
    fail(file, std::to_string(data.data() + data.size() - expected) +
                   " bytes after the last tensor belong to none");
  }
}

}  // namespace

ParsedTensors read_safetensors(std::span<const std::byte> data, const std::string& file) {
  if (const std::string hint = hint_for(data); !hint.empty()) fail(file, hint);
  ByteReader reader(data, file);
  const auto header_length = reader.read<std::uint64_t>("the header length");
  if (header_length > kMaxHeader || header_length > reader.remaining()) {
    fail(file, "no safetensors file, or a damaged one: the header would take " +
                   std::to_string(header_length) + " bytes, " + std::to_string(reader.remaining()) +
                   " follow (at most " + std::to_string(kMaxHeader) + " are allowed)");
  }
  const Json header = parse_header(as_text(reader.take(header_length, "the header")), file, 3);
  const std::span<const std::byte> tensor_data = data.subspan(reader.position());
  ParsedTensors parsed;
  for (const auto& [name, entry] : header.items()) {
    if (name != "__metadata__") {
      parsed.tensors.push_back(parse_tensor(name, entry, tensor_data, file));
      continue;
    }
    const auto is_string = [](const Json& value) { return value.is_string(); };
    if (!entry.is_object() || !std::all_of(entry.begin(), entry.end(), is_string))
      fail(file, "__metadata__ must map strings to strings");
    for (const auto& [key, value] : entry.items()) parsed.metadata[key] = value.get<std::string>();
  }
  check_coverage(parsed.tensors, tensor_data, file);
  return parsed;
}

}  // namespace blip::io
