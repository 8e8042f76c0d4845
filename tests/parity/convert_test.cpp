// GGUF files of each type made from each layout: f32 gives the same answers, fewer bits give close
// ones.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <ostream>
#include <stdexcept>

#include "golden.h"

namespace blip::parity {
namespace {

const std::filesystem::path kData = std::filesystem::path(BLIP_TEST_DATA) / "parity";

// A folder of its own, gone with the object.
class Scratch {
 public:
  Scratch() {
    std::string pattern = (std::filesystem::temp_directory_path() / "blip-parity-XXXXXX").string();
    if (!mkdtemp(pattern.data())) throw std::runtime_error("mkdtemp failed");
    folder_ = pattern;
  }
  ~Scratch() {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  std::string file(const char* name) const { return (folder_ / name).string(); }

 private:
  std::filesystem::path folder_;
};

void to_gguf(const std::string& source, const std::string& destination, FileType type) {
  ConvertOptions options;
  options.type = type;
  convert(source, destination, options);
}

struct Case {
  const char* model;
  FileType type;
  const char* name;
  Tolerance tolerance;
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.model << " as " << c.name; }

class Converted : public testing::TestWithParam<Case> {};

TEST_P(Converted, AgreesWithTheSource) {
  const Case& param = GetParam();
  const Golden golden(kData / param.model);
  const Scratch scratch;
  const std::string file = scratch.file("model.gguf");
  to_gguf(golden.model_path(), file, param.type);
  const Engine engine = load(file, 1);
  EXPECT_EQ(engine.info().format, "gguf");
  EXPECT_EQ(engine.info().parts.front().type, param.name);
  Session session(engine);
  Findings found;
  compare(golden, session, encode_all(golden, session), param.tolerance, found);
  for (const auto& failure : found.failures) ADD_FAILURE() << failure;
  EXPECT_GE(found.counts["hidden_tensors"], 3);
}

// The stored weights are float16 (caption, vqa) or bfloat16 (match), so those types lose nothing.
const Tolerance kExact;

Tolerance loose(double hidden, double probability, double cosine) {
  Tolerance tolerance;
  tolerance.hidden = hidden;
  tolerance.probability = probability;
  tolerance.cosine = cosine;
  tolerance.texts = false;
  return tolerance;
}
const Tolerance kBf16 = loose(0.05, 0.1, 0.05);  // 8 bits of float16's 11
const Tolerance kQ8 = loose(0.12, 0.1, 0.05);    // 8 bits and a scale for each 32

INSTANTIATE_TEST_SUITE_P(
    Parity, Converted,
    testing::Values(Case{"caption", FileType::kF32, "f32", kExact},
                    Case{"caption", FileType::kF16, "f16", kExact},
                    Case{"caption", FileType::kBf16, "bf16", kBf16},
                    Case{"caption-official", FileType::kQ8_0, "q8_0", kQ8},
                    Case{"caption-official", FileType::kF16, "f16", kExact},
                    Case{"caption-interpolated", FileType::kF32, "f32", kExact},
                    Case{"match", FileType::kF32, "f32", kExact},
                    Case{"match", FileType::kBf16, "bf16", kExact},
                    Case{"match", FileType::kQ8_0, "f16", kQ8} /* rows of 24 are no blocks of 32 */,
                    Case{"vqa", FileType::kF32, "f32", kExact},
                    Case{"vqa", FileType::kF16, "f16", kExact}),
    [](const auto& param) {
      std::string name =
          std::string(param.param.model) + "_" + std::to_string(static_cast<int>(param.param.type));
      std::replace(name.begin(), name.end(), '-', '_');
      return name;
    });

// A converted file is a source like any other.
TEST(Converted, AgainGivesTheSameFile) {
  const Golden golden(kData / "vqa");
  const Scratch scratch;
  to_gguf(golden.model_path(), scratch.file("a.gguf"), FileType::kF32);
  to_gguf(scratch.file("a.gguf"), scratch.file("b.gguf"), FileType::kF16);
  Session session(load(scratch.file("b.gguf"), 1));
  Findings found;
  compare(golden, session, encode_all(golden, session), {}, found);
  for (const auto& failure : found.failures) ADD_FAILURE() << failure;
}

}  // namespace
}  // namespace blip::parity
