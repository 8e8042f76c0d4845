// generate() and rank() against transformers and torch: the cases of tests/reference/decode.py.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <string>

#include "decode/logits.h"
#include "toy_decoder.h"

namespace blip::decode {
namespace {

// Reads one file of cases. BLIP_DECODE_CASES names a folder with a larger set than the committed one.
class Cases {
 public:
  explicit Cases(const std::string& name) {
    const char* folder = std::getenv("BLIP_DECODE_CASES");
    const std::string path = (folder ? std::string(folder) : std::string(BLIP_TEST_DATA "/decode")) + "/" + name;
    file_.open(path);
    if (!file_) throw std::runtime_error("cannot open " + path);
    count = read<int>();
    if (count < 1) throw std::runtime_error("no cases in " + path);
  }
  template <typename T>
  T read() {
    T value{};
    if (!(file_ >> value)) throw std::runtime_error("the file of cases ends early");
    return value;
  }
  std::vector<std::int32_t> read_ids() {
    std::vector<std::int32_t> ids(read<std::size_t>());
    for (std::int32_t& id : ids) id = read<std::int32_t>();
    return ids;
  }
  Toy read_toy() {
    Toy toy;
    toy.vocab = read<int>();
    toy.levels = read<std::int64_t>();
    toy.step = read<float>();
    toy.eos = read<std::int32_t>();
    toy.eos_bias = read<std::int64_t>();
    return toy;
  }
  int count;

 private:
  std::ifstream file_;
};

void expect_close(float actual, float expected, double tolerance) {
  EXPECT_NEAR(actual, expected, tolerance * (1 + std::abs(expected)));
}

void check_texts(const std::string& file) {
  Cases cases(file);
  for (int c = 0; c < cases.count; ++c) {
    SCOPED_TRACE(file + " case " + std::to_string(c));
    const Toy toy = cases.read_toy();
    std::vector<std::uint64_t> salts(cases.read<std::size_t>());
    for (std::uint64_t& salt : salts) salt = cases.read<std::uint64_t>();
    const std::vector<std::int32_t> prompt = cases.read_ids();
    GenerateOptions options;
    options.beams = cases.read<int>();
    options.num_return = cases.read<int>();
    options.min_length = cases.read<int>();
    options.max_length = cases.read<int>();
    options.length_penalty = cases.read<float>();
    options.repetition_penalty = cases.read<float>();

    ToyDecoder decoder(toy, salts);
    const auto texts = generate(decoder, prompt, options, {toy.eos, 0});
    ASSERT_EQ(texts.size(), salts.size());
    for (std::size_t s = 0; s < salts.size(); ++s) {
      ASSERT_EQ(texts[s].size(), static_cast<std::size_t>(options.num_return));
      for (const Hypothesis& text : texts[s]) {
        const float score = cases.read<float>();
        EXPECT_EQ(text.ids, cases.read_ids());
        if (options.beams > 1) expect_close(text.score, score, 1e-5);
      }
      // Alone, the sequence gives the same.
      ToyDecoder single(toy, {salts[s]});
      const auto alone = generate(single, prompt, options, {toy.eos, 0});
      for (std::size_t i = 0; i < texts[s].size(); ++i) {
        EXPECT_EQ(alone.front()[i].ids, texts[s][i].ids);
        EXPECT_EQ(alone.front()[i].score, texts[s][i].score);
      }
    }
  }
}

TEST(Golden, Texts) { check_texts("texts.txt"); }

TEST(Golden, TextsWithEqualScores) { check_texts("ties.txt"); }

TEST(Golden, Distributions) {
  Cases cases("distributions.txt");
  for (int c = 0; c < cases.count; ++c) {
    SCOPED_TRACE("case " + std::to_string(c));
    const Toy toy = cases.read_toy();
    const auto salt = cases.read<std::uint64_t>();
    const std::vector<std::int32_t> prompt = cases.read_ids();
    GenerateOptions options;
    options.min_length = cases.read<int>();
    options.repetition_penalty = cases.read<float>();
    options.temperature = cases.read<float>();
    options.top_k = cases.read<int>();
    options.top_p = cases.read<float>();
    std::vector<float> expected(static_cast<std::size_t>(toy.vocab));
    for (int left = cases.read<int>(); left > 0; --left) {
      const auto token = cases.read<std::size_t>();
      expected.at(token) = cases.read<float>();
    }

    std::vector<float> scores(static_cast<std::size_t>(toy.vocab));
    toy.logits(prompt, salt, scores.data());
    const Edits edits(prompt, options, toy.eos);
    for (const std::int32_t token : edits.tokens) {
      float& score = scores[static_cast<std::size_t>(token)];
      score = edits.apply(token, score);
    }
    std::vector<Candidate> kept;
    warp(scores, options, kept);
    std::vector<float> actual(expected.size());
    for (const Candidate& candidate : kept) actual[static_cast<std::size_t>(candidate.token)] = candidate.score;
    for (std::size_t t = 0; t < expected.size(); ++t) {
      SCOPED_TRACE("token " + std::to_string(t));
      EXPECT_EQ(actual[t] > 0, expected[t] > 0);
      EXPECT_NEAR(actual[t], expected[t], 2e-6 * expected[t]);
    }
  }
}

TEST(Golden, Rankings) {
  Cases cases("rankings.txt");
  for (int c = 0; c < cases.count; ++c) {
    SCOPED_TRACE("case " + std::to_string(c));
    const Toy toy = cases.read_toy();
    const auto salt = cases.read<std::uint64_t>();
    const int keep = cases.read<int>();
    const auto smoothing = cases.read<float>();
    std::vector<std::vector<std::int32_t>> answers(cases.read<std::size_t>());
    const auto kept = cases.read<std::size_t>();
    for (auto& answer : answers) answer = cases.read_ids();

    ToyDecoder decoder(toy, {salt});
    const std::vector<Ranked> ranked = rank(decoder, answers, keep, smoothing);
    ASSERT_EQ(ranked.size(), kept);
    for (const Ranked& actual : ranked) {
      EXPECT_EQ(actual.candidate, cases.read<int>());
      expect_close(actual.loss, cases.read<float>(), 2e-6);
    }
  }
}

}  // namespace
}  // namespace blip::decode
