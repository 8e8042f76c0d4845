// A decoder whose device keeps its logits gives what one gives that hands them over.
#include <gtest/gtest.h>

#include <algorithm>

#include "blip/error.h"
#include "decode/logits.h"
#include "unit/decode/toy_decoder.h"

namespace blip::decode {
namespace {

// The toy model, whose logits are asked for one by one.
class DeviceToy final : public ToyDecoder, private DeviceLogits {
 public:
  using ToyDecoder::ToyDecoder;
  DeviceLogits* device_logits() const override { return const_cast<DeviceToy*>(this); }
  std::span<const float> prefill(std::span<const std::int32_t> prompt) override {
    ToyDecoder::prefill(prompt);
    return {};
  }
  std::span<const float> step(std::span<const Next> next) override {
    ToyDecoder::step(next);
    return {};
  }
  int whole_rows = 0, asked = 0;

 private:
  std::span<const float> row(int r) const {
    const auto width = static_cast<std::size_t>(toy_.vocab);
    return std::span<const float>(logits_).subspan(static_cast<std::size_t>(r) * width, width);
  }
  PartialLogSumExp partial_log_sum_exp(int r) override {
    return decode::partial_log_sum_exp(row(r));
  }
  void best(int r, int k, std::vector<Candidate>& out) override {
    ++asked;
    top_candidates(LogitRow(row(r)), k, out);
  }
  float at(int r, std::int32_t token) override { return row(r)[static_cast<std::size_t>(token)]; }
  std::span<const float> whole(int r) override {
    ++whole_rows;
    return row(r);
  }
};

bool same(const Hypothesis& a, const Hypothesis& b) { return a.ids == b.ids; }

TEST(DeviceLogits, GiveTheSameTexts) {
  const std::vector<std::int32_t> prompt{5, 9};
  Toy toy{.vocab = 1500};
  toy.eos_bias = 10;
  for (const int beams : {1, 3}) {
    for (const float penalty : {1.0f, 1.3f}) {
      GenerateOptions options{.beams = beams, .min_length = 6};
      options.repetition_penalty = penalty;
      options.num_return = beams;
      ToyDecoder host(toy, {3, 4, 11});
      DeviceToy device(toy, {3, 4, 11});
      const auto want = generate(host, prompt, options, {2, 0});
      const auto got = generate(device, prompt, options, {2, 0});
      ASSERT_EQ(got.size(), want.size());
      for (std::size_t s = 0; s < want.size(); ++s) {
        ASSERT_TRUE(std::equal(got[s].begin(), got[s].end(), want[s].begin(), want[s].end(), same));
        for (std::size_t i = 0; i < want[s].size(); ++i)
          EXPECT_NEAR(got[s][i].score, want[s][i].score, 1e-5 * std::abs(want[s][i].score));
      }
      EXPECT_GT(device.asked, 3);
      EXPECT_EQ(device.whole_rows, 0) << "a search needs the best alone";
    }
  }
}

TEST(DeviceLogits, ComeHomeToSampleAndToRank) {
  const Toy toy{.vocab = 1500};
  const GenerateOptions sampling{.sample = true, .seed = 5, .num_return = 3};
  ToyDecoder host(toy, {3});
  DeviceToy device(toy, {3});
  const std::vector<std::int32_t> prompt{5};
  const auto want = generate(host, prompt, sampling, {2, 0});
  const auto got = generate(device, prompt, sampling, {2, 0});
  ASSERT_EQ(got.front().size(), 3u);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(got.front()[i].ids, want.front()[i].ids);
  EXPECT_GT(device.whole_rows, 0);

  const std::vector<std::vector<std::int32_t>> answers{{5, 7, 2}, {5, 7, 9, 2}, {5, 8, 2}};
  ToyDecoder host_ranks(toy, {3});
  DeviceToy device_ranks(toy, {3});
  const auto order = rank(host_ranks, answers, 2), same_order = rank(device_ranks, answers, 2);
  ASSERT_EQ(order.size(), same_order.size());
  for (std::size_t i = 0; i < order.size(); ++i) {
    EXPECT_EQ(same_order[i].candidate, order[i].candidate);
    EXPECT_NEAR(same_order[i].loss, order[i].loss, 1e-4);
  }
}

// As of logits that are handed over: no text is made of numbers that are none.
TEST(DeviceLogits, ThatAreNotFiniteAreRefused) {
  Toy toy;
  toy.step = std::numeric_limits<float>::infinity();
  DeviceToy device(toy, {3});
  const std::vector<std::int32_t> prompt{5};
  try {
    generate(device, prompt, {}, {2, 0});
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kModel);
  }
}

}  // namespace
}  // namespace blip::decode
