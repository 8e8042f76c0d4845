// Files written by torch.save, safetensors, the gguf package and NumPy (tests/reference/io.py),
// value by value. BLIP_IO_DATA names another folder to read; BLIP_IO_OUTPUT one in which to keep
// the GGUF files written.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/file.h"
#include "io/tensor_file.h"
#include "support.h"

namespace blip::io {
namespace {

namespace fs = std::filesystem;

fs::path data_folder() {
  const char* const other = std::getenv("BLIP_IO_DATA");
  return other != nullptr ? other : BLIP_TEST_DATA "/io";
}

std::unique_ptr<TensorFile> open(const fs::path& path) {
  const std::string extension = path.extension().string();
  if (extension == ".pth") return open_torch(path.string());
  if (extension == ".gguf") return open_gguf(path.string());
  if (extension == ".json") return open_safetensors_index(path.string());
  return open_safetensors(path.string());
}

// Every X with an X.f32 beside it.
std::vector<fs::path> described_files() {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(data_folder())) {
    fs::path file = entry.path();
    if (file.extension() != ".f32") continue;
    file.replace_extension();
    if (fs::exists(file)) files.push_back(file);
  }
  std::sort(files.begin(), files.end());
  return files;
}

template <typename T>
std::vector<T> values_of(const fs::path& path) {
  const Bytes bytes = file_bytes(path);
  std::vector<T> values(bytes.size() / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), bytes.data(), values.size() * sizeof(T));
  return values;
}

nlohmann::json to_json(const MetadataValue& value) {
  return std::visit([](const auto& held) { return nlohmann::json(held); }, value);
}

TEST(Golden, FilesReadEqual) {
  const auto files = described_files();
  ASSERT_GE(files.size(), 20u);
  std::set<std::string> types;
  for (const fs::path& path : files) {
    SCOPED_TRACE(path.string());
    const nlohmann::json expected = nlohmann::json::parse(read_text(path.string() + ".json"));
    const std::vector<float> values = values_of<float>(path.string() + ".f32");
    const auto file = open(path);
    ASSERT_EQ(file->tensors().size(), expected["tensors"].size());
    std::size_t position = 0;
    for (const auto& entry : expected["tensors"]) {
      const TensorView* tensor = file->find(entry[0].get<std::string>());
      ASSERT_NE(tensor, nullptr) << entry[0];
      EXPECT_EQ(to_string(tensor->type), entry[1].get<std::string>()) << tensor->name;
      ASSERT_EQ(tensor->shape, entry[2].get<std::vector<std::int64_t>>()) << tensor->name;
      const std::vector<float> got = to_floats(*tensor);
      ASSERT_LE(position + got.size(), values.size());
      EXPECT_TRUE(got.empty() ||
                  std::memcmp(got.data(), &values[position], got.size() * sizeof(float)) == 0)
          << tensor->name;
      position += got.size();
      types.insert(to_string(tensor->type));
    }
    EXPECT_EQ(position, values.size());
    for (const auto& [key, value] : expected["metadata"].items()) {
      ASSERT_TRUE(file->metadata().contains(key)) << key;
      EXPECT_EQ(to_json(file->metadata().at(key)), value) << key;
    }
  }
  EXPECT_EQ(types.size(), 11u) << "the files hold every element type";
}

// Every file's tensors written as GGUF in each type and read back; tests/reference/io.py reads them
// with the gguf package.
TEST(Golden, RewrittenAsGguf) {
  const TempFolder temporary;
  const char* const kept = std::getenv("BLIP_IO_OUTPUT");
  const fs::path folder = kept != nullptr ? fs::path(kept) : temporary.path();
  const std::map<std::string, MetadataValue> metadata = {
      {"general.architecture", std::string("test")},
      {"test.integer", std::int64_t{-7}},
      {"test.real", 1e-12},
      {"test.flag", true},
      {"test.texts", std::vector<std::string>{"", "b", "\u4e2d"}},
      {"test.integers", std::vector<std::int64_t>{1, -2, std::int64_t{1} << 40}},
      {"test.reals", std::vector<double>{0.1, -2}},
      {"test.large", std::int64_t{4'000'000'000}}};
  std::size_t written = 0;
  for (const fs::path& path : described_files()) {
    const auto source = open(path);
    for (const ElementType type :
         {ElementType::f32, ElementType::f16, ElementType::bf16, ElementType::q8_0}) {
      std::vector<GgufTensor> tensors;
      for (const TensorView& tensor : source->tensors()) {
        if (tensor.shape.empty() || tensor.shape.size() > 4 || tensor.count() == 0) continue;
        const bool blocks = type != ElementType::q8_0 || tensor.shape.back() % 32 == 0;
        const ElementType stored = blocks ? type : ElementType::f32;
        const auto fill = [&tensor, stored](std::span<std::byte> out) {
          encode(to_floats(tensor), stored, out);
        };
        tensors.push_back({tensor.name, stored, tensor.shape, fill});
      }
      const std::string target =
          (folder / (path.filename().string() + "." + to_string(type) + ".gguf")).string();
      std::size_t last = 0;
      write_gguf(target, metadata, tensors,
                 [&last](std::size_t done, std::size_t) { last = done; });
      EXPECT_EQ(last, tensors.size());
      const auto copy = open_gguf(target);
      EXPECT_EQ(copy->metadata(), metadata);
      ASSERT_EQ(copy->tensors().size(), tensors.size());
      for (const GgufTensor& tensor : tensors) {
        const TensorView* read = copy->find(tensor.name);
        ASSERT_NE(read, nullptr) << tensor.name;
        EXPECT_EQ(read->shape, tensor.shape);
        EXPECT_EQ(read->type, tensor.type);
        Bytes encoded(read->data.size());
        tensor.fill(encoded);
        EXPECT_TRUE(
            std::equal(encoded.begin(), encoded.end(), read->data.begin(), read->data.end()))
            << tensor.name;
      }
      ++written;
    }
  }
  EXPECT_GE(written, 80u);
}

void expect_encoded(const std::string& values, ElementType type, const std::string& expected) {
  const std::vector<float> input = values_of<float>(data_folder() / values);
  const Bytes bytes = file_bytes(data_folder() / expected);
  ASSERT_GT(input.size(), 100u);
  Bytes got(byte_size(type, input.size()));
  encode(input, type, got);
  ASSERT_EQ(got.size(), bytes.size());
  const auto difference = std::mismatch(got.begin(), got.end(), bytes.begin()).first - got.begin();
  EXPECT_EQ(static_cast<std::size_t>(difference), got.size())
      << "the first difference is in byte " << difference;
}

TEST(GoldenEncoding, F16AsNumpy) { expect_encoded("half.f32", ElementType::f16, "half.f16"); }
TEST(GoldenEncoding, Bf16AsMlDtypes) { expect_encoded("half.f32", ElementType::bf16, "half.bf16"); }
TEST(GoldenEncoding, Q8AsGguf) { expect_encoded("blocks.f32", ElementType::q8_0, "blocks.q8_0"); }

TEST(GoldenEncoding, Q8DecodesAsGguf) {
  const Bytes blocks = file_bytes(data_folder() / "blocks.q8_0");
  const std::vector<float> expected = values_of<float>(data_folder() / "blocks.decoded");
  const TensorView tensor{
      "blocks", ElementType::q8_0, {static_cast<std::int64_t>(expected.size())}, blocks};
  EXPECT_EQ(to_floats(tensor), expected);
}

TEST(GoldenNpy, BytesAsNumpy) {
  const std::vector<std::pair<std::string, std::vector<std::int64_t>>> cases = {
      {"scalar", {}},
      {"vector", {3}},
      {"matrix", {2, 3}},
      {"empty", {0, 4}},
      {"five", {1, 2, 1, 2, 3}}};
  for (const auto& [name, shape] : cases) {
    std::size_t count = 1;
    for (const std::int64_t dimension : shape) count *= static_cast<std::size_t>(dimension);
    std::vector<float> values(count);
    for (std::size_t i = 0; i < count; ++i) values[i] = static_cast<float>(i) - 1.5f;
    EXPECT_EQ(npy_bytes(shape, values), file_bytes(data_folder() / (name + ".npy"))) << name;
  }
}

TEST(GoldenLegacy, SaysHowToSaveAgain) {
  expect_error(ErrorCode::kModel, {"legacy.bin", "before version 1.6", "torch.save(torch.load("},
               [] { open_torch((data_folder() / "legacy.bin").string()); });
}

}  // namespace
}  // namespace blip::io
