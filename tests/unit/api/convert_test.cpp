// blip::convert: every source layout to every type, read back by the library.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/file.h"
#include "blip/blip.h"
#include "model/checkpoint.h"

namespace blip {
namespace {

namespace fs = std::filesystem;
using model::Checkpoint;

std::string source_path(const std::string& name) {
  return std::string(BLIP_TEST_DATA) + "/model/" + name;
}

class Convert : public testing::Test {
 protected:
  Convert() {
    std::string pattern = (fs::temp_directory_path() / "blip-convert-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
  }
  ~Convert() override {
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
  }
  std::string file(const std::string& name) const { return folder_ + "/" + name; }
  std::vector<std::string> files() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_))
      names.push_back(entry.path().filename().string());
    return names;
  }

  std::string folder_;
};

// The largest error of one value that a type allows, given the largest magnitude near it.
double tolerance(io::ElementType type, double largest) {
  switch (type) {
    case io::ElementType::f16:
      return largest / 2048 + 1e-7;
    case io::ElementType::bf16:
      return largest / 256;
    // Half a step, and the f16 rounding of the scale times the 127 steps it is multiplied by.
    case io::ElementType::q8_0:
      return largest / 127 * (0.5 + 127.0 / 2048);
    default:
      return 0;
  }
}

void expect_same_model(const Checkpoint& a, const Checkpoint& b) {
  ASSERT_EQ(a.names(), b.names());
  EXPECT_EQ(a.vocabulary().tokens, b.vocabulary().tokens);
  EXPECT_EQ(text::settings_json(a.vocabulary()), text::settings_json(b.vocabulary()));
  EXPECT_EQ(a.info().bos_token, b.info().bos_token);
  EXPECT_EQ(a.info().eos_token, b.info().eos_token);
  EXPECT_EQ(a.info().question_token, b.info().question_token);
  EXPECT_EQ(a.info().name, b.info().name);
  EXPECT_EQ(a.info().parameters, b.info().parameters);
  EXPECT_EQ(a.info().can_caption, b.info().can_caption);
  EXPECT_EQ(a.info().can_match_itm, b.info().can_match_itm);
  EXPECT_EQ(a.info().can_ask, b.info().can_ask);
  EXPECT_EQ(a.info().embed_dim, b.info().embed_dim);
  EXPECT_EQ(a.config().prompt, b.config().prompt);
  EXPECT_EQ(a.config().max_text, b.config().max_text);
  EXPECT_EQ(a.config().vision.image_size, b.config().vision.image_size);
  EXPECT_EQ(a.config().vision.eps, b.config().vision.eps);
  EXPECT_EQ(a.config().vision.heads, b.config().vision.heads);
  for (const std::string& name : a.names()) {
    const std::vector<float> x = a.values(name), y = b.values(name);
    ASSERT_EQ(x.size(), y.size()) << name;
    double largest = 0, error = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      largest = std::max(largest, std::abs(static_cast<double>(x[i])));
      error = std::max(error, std::abs(static_cast<double>(x[i]) - static_cast<double>(y[i])));
    }
    EXPECT_LE(error, tolerance(b.tensor(name).type, largest))
        << name << " as " << io::to_string(b.tensor(name).type);
  }
}

struct Case {
  const char* source;
  FileType type;
  const char* stored;  // PartInfo::type of every part
};

class ConvertCases : public Convert, public testing::WithParamInterface<Case> {};

TEST_P(ConvertCases, KeepsModelVocabularyAndSettings) {
  const Checkpoint before = Checkpoint::open(source_path(GetParam().source));
  std::vector<std::size_t> steps;
  ConvertOptions options;
  options.type = GetParam().type;
  options.progress = [&](const char* stage, std::size_t done, std::size_t total) {
    EXPECT_STREQ(stage, "convert");
    EXPECT_EQ(total, before.names().size());
    steps.push_back(done);
  };
  convert(source_path(GetParam().source), file("model.gguf"), options);
  EXPECT_EQ(files(), std::vector<std::string>{"model.gguf"});
  EXPECT_TRUE(std::is_sorted(steps.begin(), steps.end()));
  ASSERT_FALSE(steps.empty());
  EXPECT_EQ(steps.front(), 0u);
  EXPECT_EQ(steps.back(), before.names().size());

  const Checkpoint after = Checkpoint::open(file("model.gguf"));
  EXPECT_EQ(after.info().format, "gguf");
  for (const PartInfo& part : after.info().parts)
    EXPECT_EQ(part.type, GetParam().stored) << part.name;
  expect_same_model(before, after);
  // Vectors and position tables keep every bit.
  for (const std::string& name : after.names()) {
    if (!after.is_matrix(name)) {
      EXPECT_EQ(after.tensor(name).type, io::ElementType::f32) << name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, ConvertCases,
                         testing::Values(Case{"caption", FileType::kF32, "f32"},
                                         Case{"caption", FileType::kF16, "f16"},
                                         Case{"caption", FileType::kBf16, "bf16"},
                                         Case{"retrieval", FileType::kF32, "f32"},
                                         Case{"retrieval", FileType::kBf16, "bf16"},
                                         Case{"vqa", FileType::kF16, "f16"},
                                         Case{"pretrained", FileType::kF32, "f32"},
                                         Case{"combined", FileType::kF16, "f16"},
                                         Case{"combined", FileType::kF32, "f32"}));

// Rows of 40, 48 and 56 values are not whole blocks of 32 and fall back to f16; rows of 32 and 64
// become q8_0.
TEST_F(Convert, RowsThatQ8BlocksDoNotDivideFallBackToF16) {
  ConvertOptions options;
  options.type = FileType::kQ8_0;
  convert(source_path("caption"), file("m.gguf"), options);
  const Checkpoint after = Checkpoint::open(file("m.gguf"));
  EXPECT_EQ(after.tensor("caption.word").type, io::ElementType::q8_0);
  EXPECT_EQ(after.tensor("caption.0.self.q.weight").type, io::ElementType::q8_0);
  EXPECT_EQ(after.tensor("caption.0.fc2.weight").type, io::ElementType::f16);      // [32, 56]
  EXPECT_EQ(after.tensor("caption.0.cross.k.weight").type, io::ElementType::f16);  // [32, 48]
  EXPECT_EQ(after.tensor("vision.patch.weight").type, io::ElementType::f16);       // [48, 3, 8, 8]
  EXPECT_EQ(after.tensor("caption.position").type, io::ElementType::f32);
  EXPECT_EQ(after.info().parts.front().type, "f16");
  EXPECT_EQ(after.info().parts.back().type, "mixed");
  expect_same_model(Checkpoint::open(source_path("caption")), after);
}

TEST_F(Convert, GgufToGguf) {
  ConvertOptions options;
  options.type = FileType::kF32;
  convert(source_path("combined"), file("a.gguf"), options);
  convert(file("a.gguf"), file("b.gguf"), options);
  EXPECT_EQ(read_text(file("a.gguf")), read_text(file("b.gguf")));
  options.type = FileType::kQ8_0;
  convert(file("a.gguf"), file("c.gguf"), options);
  convert(file("c.gguf"), file("d.gguf"), options);  // already quantised blocks are copied
  EXPECT_EQ(read_text(file("c.gguf")), read_text(file("d.gguf")));
  expect_same_model(Checkpoint::open(file("a.gguf")), Checkpoint::open(file("c.gguf")));
  const std::string before = read_text(file("a.gguf"));
  EXPECT_THROW(convert(file("a.gguf"), file("a.gguf"), options),
               Error);  // a source is never replaced
  EXPECT_EQ(read_text(file("a.gguf")), before);
}

// The position table is kept as trained: caption has a 4 x 4 table and asks for 5 x 5 patches.
TEST_F(Convert, PositionTableIsNotResampledOnDisk) {
  convert(source_path("caption"), file("m.gguf"), {});
  const Checkpoint after = Checkpoint::open(file("m.gguf"));
  EXPECT_EQ(after.tensor("vision.position").shape, (std::vector<std::int64_t>{17, 48}));
  EXPECT_EQ(after.config().vision.image_size, 40);
  EXPECT_EQ(after.values("vision.position"),
            Checkpoint::open(source_path("caption")).values("vision.position"));
}

TEST_F(Convert, FailuresLeaveNothingBehind) {
  EXPECT_THROW(convert(file("none"), file("m.gguf"), {}), Error);
  EXPECT_THROW(convert(source_path("caption"), folder_ + "/no-such-folder/m.gguf", {}), Error);
  EXPECT_TRUE(files().empty());
}

TEST_F(Convert, AGgufWithATensorCutOffIsRefused) {
  convert(source_path("caption"), file("m.gguf"), {});
  const auto size = fs::file_size(file("m.gguf"));
  fs::resize_file(file("m.gguf"), size - 64);
  try {
    Checkpoint::open(file("m.gguf"));
    FAIL() << "a truncated file was opened";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kModel);
  }
}

}  // namespace
}  // namespace blip
