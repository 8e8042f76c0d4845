// Statements about two pictures: the official code's answers (tests/reference/nlvr.py) on the CPU
// in every number type and in double precision, and what is refused.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <fstream>

#include "golden.h"
#include "io/tensor_file.h"
#include "model/checkpoint.h"
#include "model/gguf_config.h"

namespace blip::parity {
namespace {

namespace fs = std::filesystem;

const fs::path kData = BLIP_TEST_DATA;
const std::string kModel = (kData / "nlvr/model.pth").string();

// A file of its own, gone with the object.
class ScratchFile {
 public:
  explicit ScratchFile(const char* name) {
    std::string pattern = (fs::temp_directory_path() / "blip-nlvr-XXXXXX").string();
    if (!mkdtemp(pattern.data())) throw std::runtime_error("mkdtemp failed");
    path_ = fs::path(pattern) / name;
  }
  ~ScratchFile() {
    std::error_code ignored;
    fs::remove_all(path_.parent_path(), ignored);
  }
  std::string path() const { return path_.string(); }

 private:
  fs::path path_;
};

Engine on(const std::string& device, const std::string& path, DType dtype = DType::kF32,
          int threads = 2) {
  EngineOptions options;
  options.device = device;
  options.dtype = dtype;
  options.threads = threads;
  return Engine::load(path, options);
}

Image picture(const std::string& name) {
  return Image::from_file((kData / "parity/images" / name).string());
}

const Json& cases() {
  static const Json json = [] {
    std::ifstream file(kData / "nlvr/expected.json");
    return Json::parse(file);
  }();
  return json;
}

// Probabilities of all cases in order, statements of a pair together.
std::vector<float> answers(Session& session) {
  std::vector<float> all;
  for (std::size_t i = 0; i < cases().size();) {
    const Json& images = cases()[i].at("images");
    std::vector<std::string> statements;
    for (; i < cases().size() && cases()[i].at("images") == images; ++i)
      statements.push_back(cases()[i].at("text"));
    const auto pair = session.encode(std::vector{picture(images[0]), picture(images[1])});
    const auto part = session.nlvr(pair[0], pair[1], statements);
    all.insert(all.end(), part.begin(), part.end());
  }
  return all;
}

double largest_difference(std::span<const float> got) {
  double largest = 0;
  EXPECT_EQ(got.size(), cases().size());
  for (std::size_t i = 0; i < got.size(); ++i)
    largest =
        std::max(largest, std::abs(double{got[i]} - cases()[i].at("probability").get<double>()));
  return largest;
}

TEST(Nlvr, AgreesWithTheOfficialCode) {
  ASSERT_GE(cases().size(), 28u);
  for (const int threads : {1, 2, 3}) {
    Session session(on("cpu", kModel, DType::kF32, threads));
    EXPECT_LE(largest_difference(answers(session)), 5e-5) << threads << " threads";
  }
  Session exact(on("reference", kModel));
  EXPECT_LE(largest_difference(answers(exact)), 1e-5);  // its pixels are floats
}

// The model is narrow: what 16 values lose in 8 bits, 768 do not.
TEST(Nlvr, RoundedTypesStayClose) {
  for (const auto& [dtype, allowed] : {std::pair{DType::kBf16, 0.06}, {DType::kInt8, 0.12}}) {
    Session session(on("cpu", kModel, dtype));
    const double difference = largest_difference(answers(session));
    EXPECT_LE(difference, allowed) << to_string(dtype);
    EXPECT_GT(difference, 1e-5) << "nothing was rounded";
  }
}

TEST(Nlvr, ConvertedFilesGiveTheSame) {
  Session session(on("cpu", kModel));
  const std::vector<float> wanted = answers(session);
  for (const FileType type : {FileType::kF32, FileType::kF16}) {
    const ScratchFile file("model.gguf");
    ConvertOptions options;
    options.type = type;
    convert(kModel, file.path(), options);
    const Engine engine = on("cpu", file.path());
    EXPECT_TRUE(engine.info().can_nlvr);
    EXPECT_EQ(engine.info().text_length, 64);
    Session converted(engine);
    EXPECT_EQ(answers(converted), wanted);
  }
}

// The committed model is too narrow for several of the official code's heads of 64: the same
// tensors with heads of 4 and 6, against plain loops.
TEST(Nlvr, SeveralHeads) {
  const ScratchFile file("model.gguf");
  {
    const auto checkpoint = model::Checkpoint::open(kModel);
    model::ModelConfig config = checkpoint.config();
    config.nlvr_encoder->heads = config.vision.heads = 4;
    model::Metadata metadata;
    metadata["general.architecture"] = std::string("blip");
    model::write_config(config, metadata);
    model::write_vocabulary(checkpoint.vocabulary(), config.tokens, checkpoint.info().vocab_size,
                            metadata);
    std::vector<io::GgufTensor> tensors;
    for (const std::string& name : checkpoint.names()) {
      const io::TensorView view = checkpoint.tensor(name);
      tensors.push_back({name, view.type, view.shape, [view](std::span<std::byte> out) {
                           std::copy(view.data.begin(), view.data.end(), out.begin());
                         }});
    }
    io::write_gguf(file.path(), metadata, tensors, {});
  }
  Session cpu(on("cpu", file.path())), exact(on("reference", file.path()));
  const auto got = answers(cpu), want = answers(exact);
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], want[i], 5e-5) << i;
  EXPECT_GT(largest_difference(want), 0.01) << "the heads change nothing";
}

std::string error_of(ErrorCode code, const std::function<void()>& act) {
  try {
    act();
  } catch (const Error& error) {
    EXPECT_EQ(to_string(error.code()), std::string(to_string(code)));
    return error.what();
  }
  return "no error";
}

TEST(Nlvr, SaysWhatItCannotDo) {
  std::vector<std::string> warnings;
  SessionOptions options;
  options.warning = [&](const std::string& warning) { warnings.push_back(warning); };
  Session session(on("cpu", kModel), options);
  const EncodedImage image = session.encode(picture("0-61x47.png"));
  const std::vector<std::string> one{"a dog"}, none, empty{"a dog", " "};
  EXPECT_TRUE(session.nlvr(image, image, none).empty());
  EXPECT_EQ(error_of(ErrorCode::kUsage, [&] { session.nlvr(image, image, empty); }),
            "empty statement: give at least one word");
  EXPECT_EQ(error_of(ErrorCode::kUnsupported, [&] { session.caption(image); }),
            kModel + " cannot caption; it can: nlvr");
  EXPECT_EQ(error_of(ErrorCode::kUnsupported, [&] { session.match(image, {"a dog"}); }),
            kModel + " cannot match; it can: nlvr");
  EXPECT_NE(error_of(ErrorCode::kUsage, [&] { session.nlvr(image, image, one, {65}); })
                .find("reads texts of 3 to 64 tokens"),
            std::string::npos);
  // Read whole, but for what the model has no positions for.
  std::string longest = "a";
  for (int i = 1; i < 62; ++i) longest += " dog";
  const std::vector<std::string> both{longest, longest + " cat"};
  const auto same = session.nlvr(image, image, both);
  EXPECT_EQ(same[0], same[1]);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_NE(warnings[0].find("statement truncated to 64 tokens: \"a dog"), std::string::npos);

  Session captions(on("cpu", (kData / "parity/caption").string()));
  const EncodedImage other = captions.encode(picture("0-61x47.png"));
  EXPECT_NE(error_of(ErrorCode::kUnsupported, [&] { captions.nlvr(other, other, one); })
                .find("cannot judge statements about two pictures; it can: caption"),
            std::string::npos);
  EXPECT_NE(
      error_of(ErrorCode::kUsage, [&] { session.nlvr(image, other, one); }).find("another engine"),
      std::string::npos);
}

// What picture is first counts, and one picture may be both.
TEST(Nlvr, PicturesHavePlaces) {
  Session session(on("cpu", kModel));
  const auto images = session.encode(std::vector{picture("0-61x47.png"), picture("1-90x133.jpg")});
  const std::vector<std::string> text{"the left picture is a red bus"};
  const float forwards = session.nlvr(images[0], images[1], text)[0],
              backwards = session.nlvr(images[1], images[0], text)[0];
  EXPECT_GT(std::abs(forwards - backwards), 0.05);
  EXPECT_EQ(session.nlvr(images[0], images[1], text)[0], forwards);
  EXPECT_GT(images[0].bytes(), 2 * 8 * 2 * 10 * 16 * sizeof(float));  // as the first and the second
}

}  // namespace
}  // namespace blip::parity
