// A file of named tensors, whatever its format: safetensors (one file or sharded), torch archive,
// GGUF.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace blip::io {

// Element types as stored. q8_0 is GGUF's: blocks of 32 values along the last dimension, f16 scale
// + 32 int8.
enum class ElementType { f64, f32, f16, bf16, i64, i32, i16, i8, u8, boolean, q8_0 };
const char* to_string(ElementType type);
// Bytes that `count` elements take (q8_0: count must be a multiple of 32).
std::size_t byte_size(ElementType type, std::size_t count);

// One tensor: a view into the file that holds it. Shape is row-major, outermost dimension first (as
// torch prints it).
struct TensorView {
  std::string name;
  ElementType type = ElementType::f32;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> data;  // contiguous, shape's product elements; not necessarily aligned

  std::size_t count() const;                // product of shape
  std::string describe() const;             // "f32 [768, 3072]"
  void to_f32(std::span<float> out) const;  // converts any type; out.size() == count()
  // `count` of the outermost dimension's rows from `first` on, as a tensor of its own.
  TensorView rows(std::int64_t first, std::int64_t count) const;
};

// GGUF-style metadata values; safetensors' __metadata__ gives strings.
using MetadataValue =
    std::variant<std::string, std::int64_t, double, bool, std::vector<std::string>,
                 std::vector<double>, std::vector<std::int64_t>>;

// Immutable; views stay valid as long as the TensorFile lives. Thread-safe.
class TensorFile {
 public:
  virtual ~TensorFile() = default;
  const std::vector<TensorView>& tensors() const { return tensors_; }
  const TensorView* find(std::string_view name) const;  // nullptr when absent
  const std::map<std::string, MetadataValue>& metadata() const { return metadata_; }
  // The process may give the memory of these bytes of the file back; they are read again when they
  // are needed again.
  virtual void release(std::span<const std::byte>) const {}
  // Throws Error(kIo) where the file was truncated or written since it was opened; what was read of
  // it is then not to be trusted.
  virtual void check_unchanged() const {}

 protected:
  // builds the index; a duplicate name is Error(kModel)
  void set_tensors(std::vector<TensorView> tensors);
  std::vector<TensorView> tensors_;
  std::map<std::string, MetadataValue> metadata_;
  std::map<std::string, std::size_t, std::less<>> index_;
};

// All throw Error(kIo) where the file cannot be read and Error(kModel) where its content is wrong,
// naming file and place.
std::unique_ptr<TensorFile> open_safetensors(const std::string& path);  // memory-mapped
std::unique_ptr<TensorFile> open_safetensors_index(
    const std::string& path);  // model.safetensors.index.json -> its shards
std::unique_ptr<TensorFile> open_torch_index(
    const std::string& path);  // pytorch_model.bin.index.json -> its shards
std::unique_ptr<TensorFile> open_torch(
    const std::string& path);  // .pth / .bin zip archive; restricted unpickler
std::unique_ptr<TensorFile> open_gguf(const std::string& path);  // memory-mapped

// The same readers over bytes in memory (fuzzing, tests). `name` appears in error messages; data
// must outlive the result.
std::unique_ptr<TensorFile> parse_safetensors(std::span<const std::byte> data,
                                              const std::string& name);
std::unique_ptr<TensorFile> parse_torch(std::span<const std::byte> data, const std::string& name);
std::unique_ptr<TensorFile> parse_gguf(std::span<const std::byte> data, const std::string& name);

// What a GGUF file is to contain. `fill` is called once per tensor, in order, and must fill the
// encoded bytes.
struct GgufTensor {
  std::string name;
  ElementType type = ElementType::f32;  // f32, f16, bf16 or q8_0
  std::vector<std::int64_t> shape;
  std::function<void(std::span<std::byte> out)> fill;
};
// Writes beside `path` and renames; on any failure (full disk included) nothing is left behind and
// Error(kIo) is thrown.
void write_gguf(const std::string& path, const std::map<std::string, MetadataValue>& metadata,
                std::span<const GgufTensor> tensors,
                const std::function<void(std::size_t done, std::size_t total)>& progress = {});

// f32 values to a stored type (round to nearest even; q8_0 as ggml's reference quantisation).
void encode(std::span<const float> values, ElementType type, std::span<std::byte> out);

// A float32 array in NumPy's .npy format, version 1.0, little endian, C order.
std::vector<std::byte> npy_bytes(std::span<const std::int64_t> shape,
                                 std::span<const float> values);

}  // namespace blip::io
