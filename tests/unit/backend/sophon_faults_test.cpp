// What goes wrong on a chip, on a fake one (tests/sophon/fake): calls that fail or never return,
// and files that are not what was compiled.
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "backend/sophon/bmodel_file.h"
#include "backend/sophon/digests.h"
#include "backend/sophon/runtime.h"
#include "backend/sophon/sophon_model.h"
#include "base/sha256.h"
#include "blip/error.h"
#include "sophon/fake/fake_folder.h"
#include "sophon/fake/fake_numbers.h"

namespace {

bool leaves_memory_behind = false;

}  // namespace

// Asked by the leak sanitizer at the end of the process. What a failed chip held, and a thread that
// waits for one, are never given back: the chip may still write there.
extern "C" __attribute__((visibility("default"))) int __lsan_is_turned_off();
extern "C" int __lsan_is_turned_off() { return leaves_memory_behind; }

namespace blip::backend::sophon {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kPixels = 3 * fake::kS * fake::kS;

std::vector<float> pictures(int count) {
  std::vector<float> pixels(static_cast<std::size_t>(count) * kPixels);
  for (std::size_t i = 0; i < pixels.size(); ++i) pixels[i] = fake::number(i);
  return pixels;
}

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

class Faults : public testing::Test {
 protected:
  Faults()
      : folder_(testing::TempDir() + "blip-faults-" + std::to_string(getpid()) + "-" + name()) {
    std::filesystem::create_directories(folder_);
    leaves_memory_behind = true;
    setenv("BLIP_SOPHON_TIMEOUT", "1", 1);
    setenv("BLIP_FAKE_FAULTS", (folder_ + "/faults").c_str(), 1);
  }
  ~Faults() override {
    faults("");  // what hangs goes on, and ends before the environment changes
    std::this_thread::sleep_for(std::chrono::milliseconds(150));
    unsetenv("BLIP_FAKE_FAULTS");
    unsetenv("BLIP_SOPHON_TIMEOUT");
    std::filesystem::remove_all(folder_);
  }
  static std::string name() {
    return testing::UnitTest::GetInstance()->current_test_info()->name();
  }

  void faults(const std::string& lines) const {
    std::ofstream(folder_ + "/faults.new") << lines;
    std::filesystem::rename(folder_ + "/faults.new", folder_ + "/faults");
  }
  std::shared_ptr<const Model> load(const std::string& device = "sophon:0",
                                    const fake::Options& options = {}) {
    fake::write(folder_, options);
    return sophon::load(read_manifest(folder_), device).model;
  }
  template <class Work>
  static std::string error_of(Work work, ErrorCode code = ErrorCode::kDevice) {
    try {
      work();
    } catch (const Error& error) {
      EXPECT_EQ(to_string(error.code()), std::string(to_string(code))) << error.what();
      return error.what();
    }
    return "no error";
  }
  static bool comes_back(const Model& model) {
    const auto start = Clock::now();
    while (!model.faults().empty() && seconds_since(start) < 20)
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    return model.faults().empty() && model.works();
  }

  std::string folder_;
};

TokenIds caption_ids(Runner& runner, const EncodedImagePtr& image) {
  const GenerateOptions greedy{.beams = 1, .max_length = 12};
  return runner.caption(std::span(&image, 1), TokenIds{3, 10}, greedy, {}).front().front().ids;
}

TEST_F(Faults, OneFailedLaunchIsOnePicturesError) {
  const auto runner_model = load();
  const auto runner = runner_model->make_runner();
  const std::vector<float> pixels = pictures(1);
  const auto image = runner->encode(pixels, 1).front();
  const TokenIds expected = caption_ids(*runner, image);
  faults("0 launch fail 1\n");
  setenv("BLIP_FAKE_FAULTS", (folder_ + "/./faults").c_str(), 1);  // counts anew
  const std::string error = error_of([&] { runner->encode(pixels, 1); });
  EXPECT_NE(error.find("sophon:0 (bm1688) failed to run network \"vision_1"), std::string::npos)
      << error;
  EXPECT_TRUE(runner_model->works());
  EXPECT_TRUE(runner_model->faults().empty());
  EXPECT_EQ(caption_ids(*runner, image), expected) << "what was encoded before is still there";
  EXPECT_EQ(caption_ids(*runner, runner->encode(pixels, 1).front()), expected);
}

TEST_F(Faults, ThreeFailuresInARowFailTheChipUntilItComputesAgain) {
  const auto model = load();
  const auto runner = model->make_runner();
  const std::vector<float> pixels = pictures(1);
  const auto image = runner->encode(pixels, 1).front();
  const TokenIds expected = caption_ids(*runner, image);
  faults("0 launch fail\n");
  for (int i = 0; i < Device::kFailuresInARow; ++i) {
    EXPECT_TRUE(model->works()) << i;
    error_of([&] { runner->encode(pixels, 1); });
  }
  EXPECT_FALSE(model->works());
  ASSERT_EQ(model->faults().size(), 1u);
  EXPECT_NE(model->faults()[0].find("3 times in a row"), std::string::npos) << model->faults()[0];
  // It can be loaded, but it does not compute.
  std::this_thread::sleep_for(std::chrono::milliseconds(1200));
  EXPECT_FALSE(model->works());
  const std::string error = error_of([&] { runner->encode(pixels, 1); });
  EXPECT_NE(error.find("no chip of this model works: sophon:0 (bm1688) failed"), std::string::npos)
      << error;
  faults("");
  ASSERT_TRUE(comes_back(*model));
  const std::string lost = error_of([&] { caption_ids(*runner, image); });
  EXPECT_EQ(lost, "the picture was on sophon:0, which has failed since; encode it again");
  EXPECT_EQ(caption_ids(*runner, runner->encode(pixels, 1).front()), expected);
  for (const ExecutableUse& use : model->executables())
    if (use.name == "vision_1" + fake::kEnding) {
      EXPECT_EQ(use.launches, 1u) << "trials count";
    }
}

// Calls of other kinds that go well meanwhile do not count.
TEST_F(Faults, ThreeFailuresOfAnyCallFailTheChipUntilItWorksAgain) {
  const std::vector<float> pixels = pictures(1);
  for (const std::string call : {"allocate", "upload", "launch", "sync", "download"}) {
    SCOPED_TRACE(call);
    faults("");
    const auto model = load();
    const auto runner = model->make_runner();
    const auto work = [&] { return runner->embed_image(*runner->encode(pixels, 1).front()); };
    const std::vector<float> expected = work();
    faults("0 " + call + " fail\n");
    for (int i = 0; i < Device::kFailuresInARow; ++i) {
      EXPECT_TRUE(model->works()) << i;
      EXPECT_NE(error_of(work), "no error");
    }
    EXPECT_FALSE(model->works());
    std::this_thread::sleep_for(std::chrono::milliseconds(1200));
    EXPECT_FALSE(model->works()) << "it is tried, and does not work yet";
    faults("");
    ASSERT_TRUE(comes_back(*model));
    EXPECT_EQ(work(), expected);
  }
}

TEST_F(Faults, AChipThatHangsAtAnyCallIsAnErrorInTime) {
  const std::vector<float> pixels = pictures(1);
  for (const std::string call : {"allocate", "upload", "launch", "sync", "download", "any"}) {
    SCOPED_TRACE(call);
    faults("");
    const auto model = load();
    const auto runner = model->make_runner();
    faults("0 " + call + " hang\n");
    auto start = Clock::now();
    const std::string error = error_of([&] { runner->encode(pixels, 1); });
    EXPECT_NE(error.find("it hangs"), std::string::npos) << error;
    EXPECT_GT(seconds_since(start), 0.9);
    EXPECT_LT(seconds_since(start), 8);
    EXPECT_FALSE(model->works());
    start = Clock::now();
    EXPECT_NE(error_of([&] { runner->encode(pixels, 1); }).find("it hangs"), std::string::npos);
    EXPECT_LT(seconds_since(start), 0.5) << "at once, the second time";
    const auto other = model->make_runner();
    EXPECT_NE(error_of([&] {
                other->embed_texts(std::vector<TokenIds>{{1, 5, 2}});
              }).find("it hangs"),
              std::string::npos);
    // Everything is given up while it hangs: nothing waits for it.
  }
}

TEST_F(Faults, AChipThatComesBackIsLoadedAgain) {
  const auto model = load();
  const auto runner = model->make_runner();
  const std::vector<float> pixels = pictures(1);
  const TokenIds expected = caption_ids(*runner, runner->encode(pixels, 1).front());
  faults("0 sync hang\n");
  error_of([&] { runner->encode(pixels, 1); });
  EXPECT_FALSE(model->works());
  faults("");
  ASSERT_TRUE(comes_back(*model));
  EXPECT_EQ(caption_ids(*runner, runner->encode(pixels, 1).front()), expected);
}

TEST_F(Faults, TheVendorsOwnTimeLimitComesFirst) {
  const auto model = load();
  const auto runner = model->make_runner();
  faults("0 late fail\n");
  const std::string error = error_of([&] { runner->encode(pictures(1), 1); });
  EXPECT_NE(error.find("did not finish its work (status 5)"), std::string::npos) << error;
  EXPECT_FALSE(model->works()) << "a chip that takes that long hangs";
}

TEST_F(Faults, OtherChipsGoOn) {
  const auto model = load("sophon:0,1");
  const auto runner = model->make_runner();
  const std::vector<float> pixels = pictures(4);
  std::vector<TokenIds> expected;
  for (const auto& image : runner->encode(pixels, 4))
    expected.push_back(caption_ids(*runner, image));
  faults("1 any hang\n");
  auto start = Clock::now();
  const auto images = runner->encode(pixels, 4);  // those of the second chip go to the first
  EXPECT_LT(seconds_since(start), 8);
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(caption_ids(*runner, images[i]), expected[i]);
  EXPECT_TRUE(model->works());
  ASSERT_EQ(model->faults().size(), 1u);
  EXPECT_EQ(model->faults()[0].rfind("sophon:1 ", 0), 0u) << model->faults()[0];
  start = Clock::now();
  EXPECT_EQ(runner->encode(pixels, 4).size(), 4u);
  EXPECT_LT(seconds_since(start), 0.9) << "it is not asked again";
  faults("");
  ASSERT_TRUE(comes_back(*model));
  std::uint64_t launches = 0;
  runner->encode(pixels, 4);
  for (const ExecutableUse& use : model->executables())
    if (use.device == "sophon:1 (bm1688)") launches += use.launches;
  EXPECT_GT(launches, 0u);
}

TEST_F(Faults, LoadingAndListing) {
  for (const std::string call : {"request", "load"}) {
    SCOPED_TRACE(call);
    faults("0 " + call + " hang\n");
    // Loading a file may take ten times as long as another call.
    if (call == "request") {
      EXPECT_NE(error_of([&] { load(); }).find("it hangs"), std::string::npos);
    }
    faults("0 " + call + " fail\n");
    EXPECT_NE(error_of([&] { load(); }, call == "load" ? ErrorCode::kModel : ErrorCode::kDevice),
              "no error");
  }
  faults("1 request hang\n");
  const auto devices = list_devices();
  ASSERT_EQ(devices.size(), 2u);
  EXPECT_NE(devices[0].description.find("FAKE"), std::string::npos);
  EXPECT_NE(devices[1].description.find("it hangs"), std::string::npos) << devices[1].description;
}

TEST_F(Faults, TimeLimits) {
  EXPECT_EQ(call_limit(false), std::chrono::seconds(1));
  setenv("BLIP_SOPHON_TIMEOUT", "0", 1);
  EXPECT_EQ(call_limit(false), kNoLimit);
  unsetenv("BLIP_SOPHON_TIMEOUT");
  EXPECT_EQ(call_limit(false), std::chrono::seconds(60));
  EXPECT_EQ(call_limit(true), kNoLimit);
  for (const char* bad : {"-1", "1s", "x", "99999999999", "86401"}) {
    setenv("BLIP_SOPHON_TIMEOUT", bad, 1);
    EXPECT_NE(error_of([] { call_limit(false); }, ErrorCode::kUsage).find("expected seconds"),
              std::string::npos)
        << bad;
  }
}

// The same length and the same numbers, but not what was compiled.
TEST_F(Faults, AGarbledFileGivesNoResult) {
  const std::string file = fake::bmodel("bm1688", fake::lines(fake::networks({}), 1));
  const auto digest = [](const std::string& text) {
    return sha256(std::as_bytes(std::span(text)));
  };
  const BmodelHead head =
      parse_bmodel_head(std::as_bytes(std::span(file)), file.size(), "model.bmodel");
  const fake::Options options{.sha256 = digest(file),
                              .head_sha256 = digest(file.substr(0, head.bytes))};
  const std::vector<float> pixels = pictures(1);
  EXPECT_EQ(load("sophon:0", options)->make_runner()->encode(pixels, 1).size(), 1u);
  for (const FileCheck& check : check_files(read_manifest(folder_)))
    EXPECT_EQ(check.good(), check.path.ends_with("model.bmodel")) << check.path;

  std::string garbled = file;
  garbled.replace(garbled.find("text_cross 1\n", head.bytes), 4, "texs");
  ASSERT_EQ(garbled.size(), file.size());
  std::ofstream(folder_ + "/model.bmodel", std::ios::binary) << garbled;
  const auto model = sophon::load(read_manifest(folder_), "sophon:0").model;
  for (int i = 0; i < 2; ++i) {
    const std::string error =
        error_of([&] { model->make_runner()->encode(pixels, 1); }, ErrorCode::kModel);
    EXPECT_NE(error.find("/model.bmodel is not what was compiled"), std::string::npos) << error;
    EXPECT_NE(error.find(digest(garbled) + ", expected " + digest(file)), std::string::npos);
  }
  std::vector<FileCheck> checks = check_files(read_manifest(folder_));
  EXPECT_EQ(checks[0].got, digest(garbled));
  EXPECT_FALSE(checks[0].good());

  // What the loader trusts is checked before it sees the file.
  garbled = file;
  garbled[head.bytes - 1] = '9';
  std::ofstream(folder_ + "/model.bmodel", std::ios::binary) << garbled;
  const std::string error =
      error_of([&] { sophon::load(read_manifest(folder_), "sophon:0"); }, ErrorCode::kModel);
  EXPECT_NE(error.find("the SHA-256 of its description"), std::string::npos) << error;
  std::filesystem::remove(folder_ + "/model.bmodel");
  EXPECT_FALSE(check_files(read_manifest(folder_))[0].problem.empty());
}

TEST_F(Faults, LabelsOfChips) {
  for (const char* label : {"BM1688", "CV186X", "BM1686", "cv186x"})
    EXPECT_TRUE(label_fits(label, "bm1688")) << label;
  for (const char* label : {"BM1684X", "BM1684", "BM1690", ""})
    EXPECT_FALSE(label_fits(label, "bm1688")) << label;
  EXPECT_TRUE(label_fits("BM1686", "bm1684x"));
  EXPECT_FALSE(label_fits("CV186X", "bm1684x"));
  EXPECT_FALSE(label_fits("BM1686", "bm1684"));
  EXPECT_FALSE(is_known_label("BM1684X2"));
  EXPECT_FALSE(is_known_label("BM1690"));
  EXPECT_EQ(load("sophon:0", {.chip = "cv186x"})->make_runner()->encode(pictures(1), 1).size(), 1u);
  const std::string error =
      error_of([&] { load("sophon:0", {.chip = "bm1684x"}); }, ErrorCode::kModel);
  EXPECT_NE(error.find("compiled for bm1684x, but sophon:0 (bm1688) is another chip"),
            std::string::npos)
      << error;
}

}  // namespace
}  // namespace blip::backend::sophon
