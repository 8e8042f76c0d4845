// Weights that are no numbers are refused when they are loaded or converted, whichever tensor and
// type they are in.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "blip/blip.h"
#include "io/half.h"
#include "io/tensor_file.h"

namespace blip {
namespace {

namespace fs = std::filesystem;

const fs::path kParity = fs::path(BLIP_TEST_DATA) / "parity";

std::vector<std::byte> read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::vector<char> text{std::istreambuf_iterator<char>(file), {}};
  std::vector<std::byte> bytes(text.size());
  std::memcpy(bytes.data(), text.data(), text.size());
  return bytes;
}

void write(const fs::path& path, const std::vector<std::byte>& bytes) {
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
}

// Value `at` of a tensor, as its file stores it; of q8_0 the scale of its block.
void put(const io::TensorView& tensor, std::size_t at, float value) {
  auto* data = const_cast<std::byte*>(tensor.data.data());
  const auto store = [&](std::size_t offset, const auto& stored) {
    std::memcpy(data + offset, &stored, sizeof(stored));
  };
  switch (tensor.type) {
    case io::ElementType::f32:
      return store(at * 4, value);
    case io::ElementType::f16:
      return store(at * 2, io::f32_to_f16(value));
    case io::ElementType::bf16:
      return store(at * 2, io::f32_to_bf16(value));
    case io::ElementType::q8_0:
      return store(at / 32 * 34, io::f32_to_f16(value));
    default:
      FAIL() << "no number type: " << tensor.describe();
  }
}

std::string error_of(const fs::path& model, DType dtype) {
  EngineOptions options;
  options.dtype = dtype;
  options.threads = 2;
  try {
    Engine::load(model.string(), options);
  } catch (const Error& error) {
    return std::string(to_string(error.code())) + ": " + error.what();
  }
  return "loaded";
}

class Finite : public testing::Test {
 protected:
  Finite() {
    std::string pattern = (fs::temp_directory_path() / "blip-finite-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
  }
  ~Finite() override { fs::remove_all(folder_); }

  std::vector<DType> types() const {
    std::vector<DType> all;
    for (const DType dtype : {DType::kF32, DType::kBf16, DType::kInt8})
      if (error_of(kParity / "caption", dtype) == "loaded") all.push_back(dtype);
    return all;
  }

  // Every tensor of a model's file with one value that is no number, in every type. Those of the
  // file that are not read may be anything.
  void check_every_tensor(const fs::path& file,
                          const std::function<std::unique_ptr<io::TensorFile>(
                              std::span<const std::byte>, const std::string&)>& parse) {
    std::vector<std::byte> bytes = read(file);
    const auto parsed = parse(bytes, "model");
    int refused = 0;
    for (const auto& tensor : parsed->tensors()) {
      if (tensor.type == io::ElementType::i64) continue;  // positions, which nobody reads
      const std::vector<std::byte> kept(tensor.data.begin(), tensor.data.end());
      const std::size_t at = tensor.count() - 1 - tensor.count() / 3;
      const float wrong = refused % 3 == 0   ? std::numeric_limits<float>::quiet_NaN()
                          : refused % 3 == 1 ? std::numeric_limits<float>::infinity()
                                             : -std::numeric_limits<float>::infinity();
      put(tensor, at, wrong);
      write(file, bytes);
      for (const DType dtype : types()) {
        const std::string error = error_of(model_, dtype);
        EXPECT_TRUE(
            error.starts_with("model: " + model_.string() + ": tensor " + tensor.name + " ("))
            << tensor.name << ", " << to_string(dtype) << ": " << error;
        if (tensor.type != io::ElementType::q8_0) {
          EXPECT_NE(error.find(" 1 of " + std::to_string(tensor.count()) +
                               " values that are not finite, the first, "),
                    std::string::npos)
              << error;
        }
        EXPECT_NE(error.find("; the checkpoint is damaged: get it anew"), std::string::npos)
            << error;
        ++refused;
      }
      std::string converted = "converted";
      try {
        convert(model_.string(), (folder_ / "out.gguf").string(), {.type = FileType::kF32});
      } catch (const Error& error) {
        converted = error.what();
      }
      EXPECT_NE(converted.find(": tensor " + tensor.name + " ("), std::string::npos) << converted;
      EXPECT_FALSE(fs::exists(folder_ / "out.gguf"));
      std::memcpy(const_cast<std::byte*>(tensor.data.data()), kept.data(), kept.size());
    }
    EXPECT_GT(refused, 50);
    write(file, bytes);
    for (const DType dtype : types()) EXPECT_EQ(error_of(model_, dtype), "loaded");
  }

  fs::path folder_, model_;
};

TEST_F(Finite, EveryTensorOfAFolder) {
  model_ = folder_ / "m";
  fs::copy(kParity / "caption", model_);
  fs::permissions(model_ / "model.safetensors", fs::perms::owner_write, fs::perm_options::add);
  check_every_tensor(model_ / "model.safetensors", io::parse_safetensors);
}

TEST_F(Finite, EveryTensorOfAGguf) {
  model_ = folder_ / "m.gguf";
  for (const auto& [source, type] : {std::pair{"match", FileType::kQ8_0},
                                     {"vqa", FileType::kF16},
                                     {"caption", FileType::kBf16}}) {
    convert((kParity / source).string(), model_.string(), {.type = type});
    check_every_tensor(model_, io::parse_gguf);
  }
}

TEST_F(Finite, SaysHowManyAndWhere) {
  model_ = folder_ / "m";
  fs::copy(kParity / "caption", model_);
  fs::permissions(model_ / "model.safetensors", fs::perms::owner_write, fs::perm_options::add);
  std::vector<std::byte> bytes = read(model_ / "model.safetensors");
  const auto parsed = io::parse_safetensors(bytes, "model");
  const io::TensorView& patch = *parsed->find("vision_model.embeddings.patch_embedding.weight");
  const std::size_t last = static_cast<std::size_t>(patch.shape[3]),
                    row = patch.count() / static_cast<std::size_t>(patch.shape[0]);
  for (const std::size_t at : {row + 2 * last + 1, row + 2 * last + 2, 2 * row})
    put(patch, at, NAN);
  write(model_ / "model.safetensors", bytes);
  const std::string expected = "model: " + model_.string() + ": tensor " + patch.name + " (" +
                               patch.describe() + ") holds 3 of " + std::to_string(patch.count()) +
                               " values that are not finite, the first, nan, at [1, 0, 2, 1]; the "
                               "checkpoint is damaged: get it anew";
  for (const DType dtype : types()) EXPECT_EQ(error_of(model_, dtype), expected);
}

// Finite where it lies, infinite in the type that is wanted.
TEST_F(Finite, ValuesTooLargeForTheType) {
  model_ = folder_ / "m.gguf";
  convert((kParity / "caption").string(), model_.string(), {.type = FileType::kF32});
  std::vector<std::byte> bytes = read(model_);
  const auto parsed = io::parse_gguf(bytes, "model");
  const io::TensorView& fc1 = *parsed->find("caption.0.fc1.weight");
  for (const auto& [value, type, name, advice] :
       {std::tuple{1e30f, FileType::kF16, "f16", "use bf16 or f32"},
        {1e30f, FileType::kQ8_0, "q8_0", "use bf16 or f32"},
        {3.4e38f, FileType::kBf16, "bf16", "use f32"}}) {
    put(fc1, 3, value);
    write(model_, bytes);
    try {
      convert(model_.string(), (folder_ / "out.gguf").string(), {.type = type});
      ADD_FAILURE() << name << " was written";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kModel);
      EXPECT_EQ(std::string(error.what()),
                model_.string() + ": tensor " + fc1.name + " (" + fc1.describe() + ") holds 1 of " +
                    std::to_string(fc1.count()) + " values too large for " + name +
                    ", the first, " + std::to_string(value) + ", at [0, 3]; " + advice);
    }
    EXPECT_FALSE(fs::exists(folder_ / "out.gguf"));
  }
  for (const DType dtype : types())
    if (dtype != DType::kF32) {
      EXPECT_NE(error_of(model_, dtype).find("values too large for bf16"), std::string::npos);
    }
  // Weights that are numbers, results that are none: 1e30 overflows on the way.
  for (std::size_t i = 0; i < fc1.count(); ++i) put(fc1, i, i % 2 ? 3e38f : -3e38f);
  write(model_, bytes);
  EngineOptions options;
  options.dtype = DType::kF32;
  const Engine engine = Engine::load(model_.string(), options);
  Session session(engine);
  const std::vector<std::uint8_t> grey(30 * 20 * 3, 99);
  const EncodedImage image = session.encode(Image::from_rgb(grey.data(), 30, 20));
  try {
    session.caption(image);
    ADD_FAILURE() << "a caption out of numbers that are none";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kModel) << error.what();
  }
}

// Weights that are finite, and a task whose result overflows.
TEST_F(Finite, ResultsThatAreNoNumbersAreErrors) {
  model_ = folder_ / "m.gguf";
  convert((kParity / "match").string(), model_.string(), {.type = FileType::kF32});
  const std::vector<std::uint8_t> grey(30 * 20 * 3, 99);
  const auto error = [&](const std::string& tensor, const auto& task) -> std::string {
    std::vector<std::byte> bytes = read(model_);
    const auto parsed = io::parse_gguf(bytes, "model");
    const io::TensorView& view = *parsed->find(tensor);
    const fs::path broken = folder_ / "broken.gguf";
    for (std::size_t i = 0; i < view.count(); ++i) put(view, i, 3e38f);
    write(broken, bytes);
    EngineOptions options;
    options.dtype = DType::kF32;
    const Engine engine = Engine::load(broken.string(), options);
    Session session(engine);
    try {
      task(session, Image::from_rgb(grey.data(), 30, 20));
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kModel);
      return e.what();
    }
    return "a result";
  };
  const auto match = [](Session& s, const Image& i) { s.match(s.encode(i), {"a cat on a table"}); };
  EXPECT_NE(error("itm.weight", match).find("a match probability that is not finite"),
            std::string::npos);
  EXPECT_NE(error("itc.text.weight", match).find("a cosine that is not finite"), std::string::npos);
  EXPECT_NE(error("itc.text.weight",
                  [](Session& s, const Image&) { s.embed(std::vector<std::string>{"a cat"}); })
                .find("a text's vector that is not finite"),
            std::string::npos);
  EXPECT_NE(error("itc.vision.weight", [](Session& s, const Image& i) { s.embed(s.encode(i)); })
                .find("a picture's vector that is not finite"),
            std::string::npos);
  EXPECT_NE(
      error("vision.norm.weight", [](Session& s, const Image& i) { s.dump(Stage::kVision, i); })
          .find("a tensor that is not finite"),
      std::string::npos);
}

}  // namespace
}  // namespace blip
