// Compiled folders on a fake chip (tests/sophon/fake): every task against the same arithmetic on
// the host, on one chip and on two, with both cores, and with files that do not belong together.
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <mutex>
#include <thread>

#include "backend/sophon/runtime.h"
#include "backend/sophon/sophon_model.h"
#include "blip/error.h"
#include "blip/profile.h"
#include "sophon/fake/fake_folder.h"
#include "sophon/fake/fake_numbers.h"

namespace blip::backend::sophon {
namespace {

constexpr std::size_t kPixels = 3 * fake::kS * fake::kS;

// Two chips of two cores each, for every test of this program.
const bool kFakeChips = [] {
  setenv("BLIP_BMRT_DIR", BLIP_FAKE_SOPHON, 1);
  setenv("BLIP_FAKE_CHIPS", "2", 1);
  setenv("BLIP_FAKE_CHIP", "0x1686a200", 1);
  return true;
}();

class FakeFolder : public testing::Test {
 protected:
  FakeFolder() : folder_(testing::TempDir() + "blip-fake-" + std::to_string(getpid())) {
    std::filesystem::create_directories(folder_);
  }
  ~FakeFolder() override { std::filesystem::remove_all(folder_); }

  std::shared_ptr<const Model> load(const std::string& device = "sophon:0",
                                    const fake::Options& options = {}) {
    fake::write(folder_, options);
    return sophon::load(read_manifest(folder_), device).model;
  }

  std::string load_error(const std::string& device = "sophon:0") {
    try {
      sophon::load(read_manifest(folder_), device);
    } catch (const Error& error) {
      return error.what();
    }
    return "loaded";
  }

  std::string folder_;
};

std::vector<float> pictures(int count) {
  std::vector<float> pixels(static_cast<std::size_t>(count) * kPixels);
  for (std::size_t i = 0; i < pixels.size(); ++i) pixels[i] = fake::number(i);
  return pixels;
}

std::vector<float> filled(std::size_t count, std::uint64_t hash) {
  std::vector<float> values;
  for (std::size_t i = 0; i < count; ++i) values.push_back(fake::number(fake::mix(hash, i)));
  return values;
}

// The networks' arithmetic on the host.
struct Host {
  std::uint64_t tokens, vector;
  explicit Host(std::span<const float> pixels) {
    const std::uint64_t hash = fake::digest(pixels);
    tokens = fake::digest(filled(fake::kN * fake::kDv, fake::mix(hash, 'v')));
    vector = fake::mix(hash, 'v' + 1);
  }
  std::uint64_t cross(char reader) const {
    return fake::digest(filled(fake::kK * fake::kN * fake::kh,
                               fake::mix(tokens, static_cast<std::uint64_t>(reader))));
  }
  static std::uint64_t text(const TokenIds& ids) {
    std::uint64_t hash = fake::kSeed;
    for (const std::int32_t id : ids) hash = fake::mix(hash, static_cast<std::uint64_t>(id));
    return hash;
  }
  std::uint64_t question(const TokenIds& ids) const { return fake::mix(text(ids), cross('q')); }
  std::uint64_t answer(const TokenIds& ids) const {
    std::vector<float> mask(fake::kT, -10000.f);
    std::fill_n(mask.begin(), ids.size(), 0.f);
    return fake::mix(
        fake::digest(filled(fake::kK * fake::kT * fake::kh, fake::mix(question(ids), 1))),
        fake::digest(mask));
  }
};

class HostDecoder final : public decode::Decoder {
 public:
  explicit HostDecoder(std::vector<std::uint64_t> attended) : attended_(std::move(attended)) {}
  int vocab_size() const override { return fake::kV; }
  int max_positions() const override { return fake::kC; }
  int sequences() const override { return static_cast<int>(attended_.size()); }
  std::span<const float> prefill(std::span<const std::int32_t> prompt) override {
    for (const std::uint64_t attended : attended_)
      rows_.push_back({attended, {prompt.begin(), prompt.end()}});
    return say();
  }
  std::span<const float> step(std::span<const Next> next) override {
    std::vector<Row> rows;
    for (const Next& n : next) {
      rows.push_back(rows_[static_cast<std::size_t>(n.parent)]);
      rows.back().history.push_back(n.token);
    }
    rows_ = std::move(rows);
    return say();
  }

 private:
  struct Row {
    std::uint64_t attended;
    TokenIds history;
  };
  std::span<const float> say() {
    logits_.clear();
    for (const Row& row : rows_)
      for (const float value : fake::logits(row.history, row.attended, fake::kV))
        logits_.push_back(value);
    return logits_;
  }
  std::vector<std::uint64_t> attended_;
  std::vector<Row> rows_;
  std::vector<float> logits_;
};

using Texts = std::vector<std::vector<decode::Hypothesis>>;

void expect_same(const Texts& got, const Texts& expected) {
  ASSERT_EQ(got.size(), expected.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    ASSERT_EQ(got[i].size(), expected[i].size());
    for (std::size_t j = 0; j < got[i].size(); ++j) {
      EXPECT_EQ(got[i][j].ids, expected[i][j].ids) << i << ", " << j;
      EXPECT_EQ(got[i][j].score, expected[i][j].score);
    }
  }
}

const std::vector<GenerateOptions> kWays = {
    {.beams = 1, .max_length = 12},
    {.beams = 3, .max_length = 12, .num_return = 3},
    {.beams = 5, .max_length = 11, .num_return = 2},
    {.beams = 9, .min_length = 1, .max_length = 12},
    {.min_length = 1, .max_length = 12, .sample = true, .seed = 7, .num_return = 4}};

// What the fake chips log while work runs.
std::vector<std::string> events_of(const std::string& folder, const std::string& name,
                                   const std::function<void()>& work) {
  const std::string log = folder + "/" + name + ".log";
  setenv("BLIP_FAKE_LOG", log.c_str(), 1);
  work();
  unsetenv("BLIP_FAKE_LOG");
  std::vector<std::string> events;
  std::ifstream file(log);
  for (std::string line; std::getline(file, line);) events.push_back(line);
  return events;
}

// Their first launch waits for a second one at the same time.
std::vector<std::string> events_of_meeting(const std::string& folder, const std::string& name,
                                           const std::function<void()>& work) {
  setenv("BLIP_FAKE_MEET", ("2," + name).c_str(), 1);
  auto events = events_of(folder, name, work);
  unsetenv("BLIP_FAKE_MEET");
  return events;
}

TEST_F(FakeFolder, CaptionsOfEveryWayOfDecoding) {
  for (const fake::Options& options :
       {fake::Options{}, fake::Options{.reorders = false}, fake::Options{.step_rows = {1}},
        fake::Options{.step_rows = {2, 4}, .prompt = 0},
        fake::Options{.step_rows = {2, 4}, .reorders = false, .prompt = 0},
        fake::Options{.step_rows = {1, 3, 9}}, fake::Options{.step_rows = {5}, .prompt = 2}}) {
    const auto model = load("sophon:0", options);
    const auto runner = model->make_runner();
    const std::vector<float> pixels = pictures(3);
    const auto images = runner->encode(pixels, 3);
    std::vector<std::uint64_t> attended;
    for (std::size_t i = 0; i < 3; ++i)
      attended.push_back(Host(std::span(pixels).subspan(i * kPixels, kPixels)).cross('c'));
    for (const TokenIds& prompt :
         {TokenIds{3, 10, 11}, TokenIds{3}, TokenIds{3, 10, 11, 12, 13, 14}})
      for (const GenerateOptions& way : kWays) {
        HostDecoder host(attended);
        expect_same(runner->caption(images, prompt, way, {}),
                    decode::generate(host, prompt, way, {fake::kSep, fake::kPad}));
      }
  }
}

// Beams that fit one launch change places in the network, without copies of their caches.
TEST_F(FakeFolder, NetworksThatReorderNeedNoCopies) {
  const std::vector<float> pixels = pictures(1);
  HostDecoder host({Host(pixels).cross('c')});
  const Texts expected =
      decode::generate(host, TokenIds{3, 10}, kWays[1], {fake::kSep, fake::kPad});
  for (const bool reorders : {true, false}) {
    const auto runner = load("sophon:0", {.reorders = reorders})->make_runner();
    const auto images = runner->encode(pixels, 1);
    const auto events = events_of(folder_, reorders ? "reorders" : "copies", [&] {
      expect_same(runner->caption(images, TokenIds{3, 10}, kWays[1], {}), expected);
    });
    EXPECT_EQ(std::count(events.begin(), events.end(), "copy 0") == 0, reorders);
  }
}

TEST_F(FakeFolder, AnswersAndRanking) {
  for (const bool reorders : {true, false}) {
    const auto model = load("sophon:0", {.reorders = reorders});
    const auto runner = model->make_runner();
    const std::vector<float> pixels = pictures(1);
    const auto image = runner->encode(pixels, 1).front();
    const Host host(pixels);
    const std::vector<TokenIds> questions = {{4, 20, 2}, {4, 21, 22, 23, 24, 2}};
    for (const GenerateOptions& way : kWays) {
      HostDecoder decoder({host.answer(questions[0]), host.answer(questions[1])});
      expect_same(runner->ask(*image, questions, way, {}),
                  decode::generate(decoder, TokenIds{3}, way, {fake::kSep, fake::kPad}));
    }
    std::vector<TokenIds> candidates;
    for (std::int32_t i = 5; i < 35; ++i) candidates.push_back({3, i, 5 + i % 4, 7, 2});
    HostDecoder decoder({host.answer(questions[1])});
    const auto expected = decode::rank(decoder, candidates, 20);
    const auto got = runner->rank(*image, questions[1], candidates, 20, {});
    ASSERT_EQ(got.size(), expected.size());
    for (std::size_t i = 0; i < got.size(); ++i) {
      EXPECT_EQ(got[i].candidate, expected[i].candidate);
      EXPECT_EQ(got[i].loss, expected[i].loss);
    }
  }
}

TEST_F(FakeFolder, MatchesEmbeddingsAndStates) {
  const auto model = load();
  const auto runner = model->make_runner();
  const std::vector<float> pixels = pictures(1);
  const auto image = runner->encode(pixels, 1).front();
  const Host host(pixels);
  std::vector<TokenIds> texts;
  for (std::int32_t i = 0; i < 70; ++i)
    texts.push_back(i % 2 ? TokenIds{1, 5 + i % 30, 2} : TokenIds{1, 5 + i % 30, 6, 7, 2});
  const auto scores = runner->match(*image, texts, {}, {});
  const auto vectors = runner->embed_texts(texts);
  const std::vector<float> image_vector = runner->embed_image(*image);
  ASSERT_EQ(scores.size(), texts.size());
  float squares = 0;
  for (const float x : image_vector) squares += x * x;
  EXPECT_NEAR(squares, 1.f, 1e-6f);
  const std::vector<float> raw = filled(fake::kE, host.vector);
  EXPECT_NEAR(image_vector[1] / image_vector[0], raw[1] / raw[0], 1e-5f);
  for (std::size_t t = 0; t < texts.size(); ++t) {
    const std::uint64_t hash = fake::mix(Host::text(texts[t]), host.cross('t'));
    const std::vector<float> logits = filled(2, fake::mix(hash, 0));
    EXPECT_FLOAT_EQ(*scores[t].itm, 1.f / (1.f + std::exp(logits[0] - logits[1]))) << t;
    float cosine = 0;
    for (std::size_t i = 0; i < image_vector.size(); ++i) cosine += image_vector[i] * vectors[t][i];
    EXPECT_NEAR(*scores[t].itc, cosine, 1e-6f);
    const std::vector<float> vector = filled(fake::kE, fake::mix(Host::text(texts[t]), 0));
    EXPECT_NEAR(vectors[t][2] / vectors[t][0], vector[2] / vector[0], 1e-4f) << t;
  }
  const Tensor states = runner->dump_text(*image, texts[1], false);
  EXPECT_EQ(states.shape, (std::vector<std::int64_t>{1, 3, fake::kD}));
  EXPECT_EQ(states.values,
            filled(3 * fake::kD, fake::mix(fake::mix(Host::text(texts[1]), host.cross('t')), 1)));
  const TokenIds question{4, 9, 2};
  EXPECT_EQ(runner->dump_text(*image, question, true).values,
            filled(3 * fake::kD, fake::mix(host.question(question), 0)));
  const Tensor tokens = runner->dump_vision(*image);
  EXPECT_EQ(tokens.shape, (std::vector<std::int64_t>{1, fake::kN, fake::kDv}));
  EXPECT_EQ(fake::digest(tokens.values), host.tokens);
}

TEST_F(FakeFolder, TwoChipsShareTheWorkAndGiveTheSame) {
  const auto one = load("sophon:0"), both = load("sophon:0,1"), all = load("sophon:all");
  EXPECT_EQ(one->threads(), 2) << "two cores";
  EXPECT_EQ(both->threads(), 4);
  EXPECT_EQ(all->threads(), 4);
  const auto alone = one->make_runner(), spread = both->make_runner();
  const std::vector<float> pixels = pictures(5);
  const auto images = alone->encode(pixels, 5), spread_images = spread->encode(pixels, 5);
  const TokenIds prompt{3, 10};
  for (const GenerateOptions& way : kWays)
    expect_same(spread->caption(spread_images, prompt, way, {}),
                alone->caption(images, prompt, way, {}));
  const std::vector<TokenIds> texts = {{1, 8, 2}, {1, 9, 10, 2}}, questions = {{4, 20, 2}};
  for (std::size_t i = 0; i < images.size(); ++i) {
    const auto expected = alone->match(*images[i], texts, {}, {}),
               got = spread->match(*spread_images[i], texts, {}, {});
    for (std::size_t t = 0; t < texts.size(); ++t) EXPECT_EQ(got[t].itm, expected[t].itm);
    expect_same(spread->ask(*spread_images[i], questions, kWays[1], {}),
                alone->ask(*images[i], questions, kWays[1], {}));
    EXPECT_EQ(spread->embed_image(*spread_images[i]), alone->embed_image(*images[i]));
    EXPECT_EQ(spread->dump_vision(*spread_images[i]).values, alone->dump_vision(*images[i]).values);
  }
  std::uint64_t encoded[2] = {};
  for (const ExecutableUse& use : both->executables())
    if (use.name == "vision_1" + fake::kEnding)
      encoded[use.device == "sophon:1 (bm1688)"] += use.launches;
  EXPECT_EQ(encoded[0], 3u);
  EXPECT_EQ(encoded[1], 2u);
}

// Launches are zones by their networks' names, from each chip's thread, and the only measure of
// them.
TEST_F(FakeFolder, LaunchesAreZones) {
  const auto model = load("sophon:0,1");
  const auto runner = model->make_runner();
  std::mutex mutex;
  std::map<std::string, std::pair<std::uint64_t, double>> told;
  {
    const Profile profile(ZoneDetail::kStages, [&](const Zone& zone) {
      const std::lock_guard lock(mutex);
      auto& [count, ms] = told[std::string(zone.name)];
      ++count;
      ms += zone.microseconds / 1000;
    });
    const auto images = runner->encode(pictures(3), 3);
    runner->caption(images, TokenIds{3, 10}, kWays[0], {});
  }
  std::map<std::string, std::pair<std::uint64_t, double>> used;
  for (const ExecutableUse& use : model->executables()) {
    used[use.name].first += use.launches;
    used[use.name].second += use.milliseconds;
  }
  int compared = 0;
  for (const auto& [name, use] : used) {
    if (use.first == 0) continue;
    EXPECT_EQ(told[name].first, use.first) << name;
    EXPECT_NEAR(told[name].second, use.second, 0.01) << name;
    ++compared;
  }
  EXPECT_GE(compared, 3);
  EXPECT_GT(told["token"].first, 0u);
}

TEST_F(FakeFolder, PicturesGoWhereTheFewestAre) {
  const auto model = load("sophon:0,1");
  const auto runner = model->make_runner(), other = model->make_runner();
  const std::vector<float> pixels = pictures(3);
  const auto launches = [&] {
    std::vector<std::uint64_t> counts;
    for (const ExecutableUse& use : model->executables())
      if (use.name == "vision_1" + fake::kEnding) counts.push_back(use.launches);
    return counts;
  };
  const auto kept = runner->encode(std::span(pixels).first(kPixels), 1);  // on the first chip
  for (int i = 0; i < 3; ++i) other->encode(std::span(pixels).first(kPixels), 1);
  EXPECT_EQ(launches(), (std::vector<std::uint64_t>{1, 3}))
      << "one picture stays on the first chip, so single ones go to the second";
}

TEST_F(FakeFolder, TokensAndErrorsOfTwoChips) {
  const auto runner = load("sophon:0,1")->make_runner();
  const std::vector<float> pixels = pictures(4);
  const auto images = runner->encode(pixels, 4);
  std::vector<TokenIds> told(4);
  decode::Hooks hooks;
  hooks.on_token = [&](int sequence, std::int32_t id) {
    told.at(static_cast<std::size_t>(sequence)).push_back(id);
  };
  const auto captions = runner->caption(images, TokenIds{3, 10}, kWays[0], hooks);
  for (std::size_t i = 0; i < 4; ++i)
    EXPECT_EQ(told[i], TokenIds(captions[i][0].ids.begin() + 2, captions[i][0].ids.end()));
  std::atomic<int> asked = 0;
  const decode::Hooks cancel{[&] { return ++asked > 3; }, {}};
  EXPECT_THROW(runner->caption(images, TokenIds{3, 10}, kWays[0], cancel), Error);
  EXPECT_EQ(runner->caption(images, TokenIds{3, 10}, kWays[0], {})[2][0].ids, captions[2][0].ids)
      << "usable after an error";
  try {
    runner->caption(images, TokenIds{3, 10}, GenerateOptions{.max_length = fake::kC + 1}, {});
    ADD_FAILURE() << "too long";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("between 1 and 12"), std::string::npos)
        << error.what();
  }
}

TEST_F(FakeFolder, ChipsWorkAtTheSameTime) {
  const auto runner = load("sophon:0,1")->make_runner();
  const std::vector<float> pixels = pictures(2);
  std::vector<EncodedImagePtr> images;
  const auto encode =
      events_of_meeting(folder_, "encode", [&] { images = runner->encode(pixels, 2); });
  ASSERT_GE(encode.size(), 3u);
  EXPECT_EQ(encode[2], "met");
  EXPECT_NE(encode[0], encode[1]) << "one launch on each chip";
  const auto caption = events_of_meeting(
      folder_, "caption", [&] { runner->caption(images, TokenIds{3}, kWays[0], {}); });
  EXPECT_EQ(caption.at(2), "met");
}

TEST_F(FakeFolder, OneCoreNetworksOfTwoThreadsTakeACoreEach) {
  const auto model = load();
  EXPECT_EQ(Device::open(0)->cores(), 2);
  const std::vector<float> pixels = pictures(1);
  const auto caption = [&] {
    const auto runner = model->make_runner();
    return runner->caption(runner->encode(pixels, 1), TokenIds{3}, kWays[1], {});
  };
  const Texts expected = caption();
  std::vector<Texts> got(4);
  const auto events = events_of_meeting(folder_, "cores", [&] {
    std::vector<std::thread> threads;
    for (Texts& texts : got) threads.emplace_back([&] { texts = caption(); });
    for (std::thread& thread : threads) thread.join();
  });
  for (const Texts& texts : got) expect_same(texts, expected);
  const std::vector<std::string> first(events.begin(), events.begin() + 2);
  EXPECT_NE(std::find(first.begin(), first.end(), "launch 0 0 vision_1" + fake::kEnding),
            first.end());
  EXPECT_NE(std::find(first.begin(), first.end(), "launch 0 1 vision_1" + fake::kEnding),
            first.end());
  EXPECT_EQ(events.at(2), "met");
}

TEST_F(FakeFolder, OneCoreNetworksShareABatchBetweenTheCores) {
  const auto model = load();
  const auto runner = model->make_runner(), alone = model->make_runner();
  const std::vector<float> pixels = pictures(5);
  std::vector<EncodedImagePtr> images, expected;
  for (std::size_t i = 0; i < 5; ++i)
    expected.push_back(alone->encode(std::span(pixels).subspan(i * kPixels, kPixels), 1).front());
  const auto encode =
      events_of_meeting(folder_, "encode", [&] { images = runner->encode(pixels, 5); });
  EXPECT_EQ(encode.at(2), "met");
  std::map<std::string, int> launches;
  for (const std::string& event : encode)
    if (event.starts_with("launch ")) ++launches[event.substr(0, 10)];
  EXPECT_EQ(launches.size(), 2u) << "one core alone";
  EXPECT_EQ(launches["launch 0 0"] + launches["launch 0 1"], 5);
  for (std::size_t i = 0; i < 5; ++i)
    EXPECT_EQ(runner->dump_vision(*images[i]).values, alone->dump_vision(*expected[i]).values);

  std::map<int, TokenIds> told;
  decode::Hooks hooks;
  hooks.on_token = [&](int sequence, std::int32_t id) { told[sequence].push_back(id); };
  Texts captions;
  const auto caption = events_of_meeting(folder_, "caption", [&] {
    captions = runner->caption(images, TokenIds{3}, kWays[0], hooks);
  });
  EXPECT_EQ(caption.at(2), "met");
  expect_same(captions, alone->caption(expected, TokenIds{3}, kWays[0], {}));
  ASSERT_EQ(told.size(), 5u);
  for (const auto& [sequence, ids] : told) {
    const TokenIds& all = captions[static_cast<std::size_t>(sequence)][0].ids;
    EXPECT_EQ(ids, TokenIds(all.begin() + 1, all.end())) << sequence;
  }
}

TEST_F(FakeFolder, TwoCoreNetworks) {
  const auto model = load("sophon:0", {.cores = 2});
  EXPECT_EQ(model->threads(), 1);
  const auto runner = model->make_runner();
  const std::vector<float> pixels = pictures(1);
  HostDecoder host({Host(pixels).cross('c')});
  expect_same(runner->caption(runner->encode(pixels, 1), TokenIds{3}, kWays[1], {}),
              decode::generate(host, TokenIds{3}, kWays[1], {fake::kSep, fake::kPad}));
  for (const ExecutableUse& use : model->executables()) EXPECT_EQ(use.cores, 2);
}

TEST_F(FakeFolder, WithoutCopiesOnTheChip) {
  setenv("BLIP_FAKE_COPIES", "0", 1);
  const auto runner = load()->make_runner();
  EXPECT_FALSE(Device::open(0)->copies());
  const std::vector<float> pixels = pictures(1);
  HostDecoder host({Host(pixels).cross('c')});
  expect_same(runner->caption(runner->encode(pixels, 1), TokenIds{3}, kWays[2], {}),
              decode::generate(host, TokenIds{3}, kWays[2], {fake::kSep, fake::kPad}));
  setenv("BLIP_FAKE_COPIES", "1", 1);
}

TEST_F(FakeFolder, FilesThatDoNotBelong) {
  const auto replace = [&](const std::string& lines) {
    const std::string file = fake::bmodel("bm1688", lines);
    std::ofstream(folder_ + "/model.bmodel", std::ios::binary) << file;
    std::ofstream(folder_ + "/manifest.json") << fake::manifest({}, file.size());
  };
  const std::string whole = fake::lines(fake::networks({}), 1);
  replace(whole);
  EXPECT_EQ(load_error(), "loaded");
  std::ofstream(folder_ + "/model.bmodel", std::ios::app) << "x";
  EXPECT_NE(load_error().find("the manifest says"), std::string::npos) << load_error();
  std::string other = whole;
  for (std::size_t at = 0; (at = other.find(fake::kEnding, at)) != std::string::npos; ++at)
    other.replace(at, fake::kEnding.size(), "_bbbbbbbbbbbb");
  replace(other);
  EXPECT_NE(load_error().find("does not belong to this folder: it holds vision_1_bbbbbbbbbbbb"),
            std::string::npos)
      << load_error();
  std::string narrow = whole;
  narrow.replace(narrow.find("1,3,8"), 5, "1,3,9");
  replace(narrow);
  EXPECT_NE(load_error().find("by the manifest it must be the kept type [1, 3, 8]"),
            std::string::npos)
      << load_error();
  replace("nonsense\n");
  EXPECT_NE(load_error().find("refuses"), std::string::npos) << load_error();
  replace(fake::lines(fake::networks({}), 3));
  EXPECT_NE(load_error().find("compiled for 3 cores; sophon:0 (bm1688) has 2"), std::string::npos)
      << load_error();
  std::filesystem::remove(folder_ + "/model.bmodel");
  EXPECT_NE(load_error().find("cannot open bmodel"), std::string::npos) << load_error();
  fake::write(folder_, {.chip = "bm1684"});
  EXPECT_NE(load_error().find("compiled for bm1684, but sophon:0 (bm1688) is another chip"),
            std::string::npos)
      << load_error();
}

TEST(DeviceNames, OneSeveralAll) {
  using Ids = std::vector<int>;
  EXPECT_EQ(chip_numbers("sophon", 2), Ids{0});
  EXPECT_EQ(chip_numbers("sophon:3", 2), Ids{3});
  EXPECT_EQ(chip_numbers("sophon:2,0,1", 2), (Ids{2, 0, 1}));
  EXPECT_EQ(chip_numbers("sophon:all", 3), (Ids{0, 1, 2}));
  EXPECT_EQ(chip_numbers("sophon:all", 0), Ids{0});
  for (const char* name :
       {"sophon:", "sophon:x", "sophon:-1", "sophon:1,", "sophon:,1", "sophon:1,,2", "sophon:1 ",
        "sophon:al", "sophon:0,0", "sophon:99999999999"})
    EXPECT_THROW(chip_numbers(name, 2), Error) << name;
}

TEST(Devices, DescribedAsFarAsTheLibraryTells) {
  const auto devices = list_devices();
  ASSERT_EQ(devices.size(), 2u);
  EXPECT_EQ(devices[1].id, "sophon:1");
  EXPECT_EQ(devices[1].description,
            "FAKE, BM1688, 5120 of 14336 MiB used, 2 cores, 45 °C, 18 W, driver 0.5.1, runtime "
            "1.2.3 (fa4e)");
  EXPECT_EQ(
      short_version(
          "libbmrt_version:1.0.0, branch:master,commit:ee6becb0 ,compiled on 20260812-11:14:52."),
      "1.0.0 (ee6becb0)");
  EXPECT_EQ(short_version("version:2.1"), "2.1");
  EXPECT_EQ(short_version("2.1"), "2.1");
}

}  // namespace
}  // namespace blip::backend::sophon
