// What the goldens do not reach: single rows, sampling, hooks, bad options.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <set>
#include <string>

#include "blip/error.h"
#include "decode/logits.h"
#include "decode/random.h"
#include "toy_decoder.h"

namespace blip::decode {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

template <typename F>
Error error_of(F f) {
  try {
    f();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "no error";
  return Error(ErrorCode::kIo, "");
}

TEST(Normalise, AgreesWithDoubleAtEveryLength) {
  std::mt19937 random(1);
  for (const std::size_t length :
       {1u, 2u, 15u, 16u, 17u, 31u, 33u, 1023u, 1024u, 1025u, 1047u, 30524u}) {
    for (const float scale : {0.01f, 1.0f, 20.0f, 300.0f}) {
      std::vector<float> row(length);
      std::normal_distribution<float> normal(scale, scale);
      for (float& x : row) x = normal(random);
      const double max = *std::max_element(row.begin(), row.end());
      double sum = 0;
      for (const float x : row) sum += std::exp(x - max);
      const Normaliser norm = normalise(row);
      EXPECT_EQ(norm.max, static_cast<float>(max));
      EXPECT_NEAR(sum_of(row), std::accumulate(row.begin(), row.end(), 0.0), 1e-6 * scale);
      EXPECT_NEAR(norm.log_sum, std::log(sum), 3e-7 * (1 + std::log(sum)))
          << length << " " << scale;
    }
  }
}

TEST(Normalise, ToleratesForbiddenTokensAndHugeLogits) {
  const std::vector<float> row{-kInfinity, 1e30f, -1e30f, 1e30f, -kInfinity};
  EXPECT_FLOAT_EQ(normalise(row).log_prob(1e30f), -std::log(2.0f));
  EXPECT_EQ(normalise(row).log_prob(-kInfinity), -kInfinity);
}

TEST(Normalise, RefusesWhatIsNoDistribution) {
  for (const std::size_t length : {3u, 16u, 40u, 1100u}) {
    for (const std::size_t place : {std::size_t{0}, length / 2, length - 1}) {
      for (const float bad : {kNan, -kNan, kInfinity}) {
        std::vector<float> row(length, 0.5f);
        row[place] = bad;
        EXPECT_EQ(error_of([&] { normalise(row); }).code(), ErrorCode::kModel);
      }
    }
    EXPECT_EQ(error_of([&] { normalise(std::vector<float>(length, -kInfinity)); }).code(),
              ErrorCode::kModel);
    EXPECT_EQ(error_of([&] { normalise(std::vector<float>(length, kNan)); }).code(),
              ErrorCode::kModel);
  }
}

TEST(TopCandidates, AreThoseOfAStableSort) {
  std::mt19937 random(2);
  for (int trial = 0; trial < 500; ++trial) {
    std::vector<float> row(1 + random() % 400);
    const unsigned levels = trial % 2 ? 7 : 1000000;
    for (float& x : row) x = random() % 9 ? static_cast<float>(random() % levels) : -kInfinity;
    std::vector<Candidate> all;
    for (std::size_t i = 0; i < row.size(); ++i)
      all.push_back({row[i], static_cast<std::int32_t>(i)});
    std::stable_sort(all.begin(), all.end(),
                     [](const Candidate& a, const Candidate& b) { return a.score > b.score; });
    const std::size_t k = random() % 150;
    std::vector<Candidate> top;
    top_candidates(row, static_cast<int>(k), top);
    ASSERT_EQ(top.size(), std::min(k, row.size()));
    for (std::size_t i = 0; i < top.size(); ++i) {
      EXPECT_EQ(top[i].token, all[i].token);
      EXPECT_EQ(top[i].score, all[i].score);
    }
  }
}

std::vector<PartialLogSumExp> digests_of_row(std::span<const float> row) {
  std::vector<PartialLogSumExp> partials;
  for (std::size_t first = 0; first < row.size(); first += kPartialColumns)
    partials.push_back(partial_log_sum_exp(
        row.subspan(first, std::min<std::size_t>(kPartialColumns, row.size() - first))));
  return partials;
}

TEST(Digests, ChangeNoAnswer) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0, 4);
  for (const std::size_t length : {1u, 511u, 512u, 513u, 5000u, 30524u}) {
    for (int trial = 0; trial < 20; ++trial) {
      std::vector<float> row(length);
      // Few levels: many equal values, in every part.
      for (float& x : row)
        x = random() % 7 == 0 ? -kInfinity
            : trial % 2       ? std::round(normal(random))
                              : normal(random);
      row[random() % length] = 1;
      const std::vector<PartialLogSumExp> partials = digests_of_row(row);
      const Normaliser with = normalise({row, partials}), without = normalise(row);
      EXPECT_EQ(with.max, without.max);
      EXPECT_EQ(with.log_sum, without.log_sum);
      for (const int k : {1, 2, 6, 70, 600}) {
        std::vector<Candidate> fast, slow;
        top_candidates({row, partials}, k, fast);
        top_candidates(row, k, slow);
        ASSERT_EQ(fast.size(), slow.size());
        for (std::size_t i = 0; i < fast.size(); ++i) {
          EXPECT_EQ(fast[i].token, slow[i].token);
          EXPECT_EQ(fast[i].score, slow[i].score);
        }
      }
    }
  }
}

TEST(Digests, AreUsedInsteadOfTheLogits) {
  // The second part says that it holds nothing worth a look: its 9 is not found.
  std::vector<float> row(2 * kPartialColumns, 0.f);
  row[3] = 1;
  row[kPartialColumns + 5] = 9;
  std::vector<PartialLogSumExp> partials = digests_of_row(row);
  partials[1].max = 0;
  std::vector<Candidate> top;
  top_candidates({row, partials}, 1, top);
  EXPECT_EQ(top.front().token, 3);
  partials[0].sum = kNan;
  EXPECT_EQ(error_of([&] { normalise({row, partials}); }).code(), ErrorCode::kModel);
}

TEST(BestTokens, AgreeWithEditingTheWholeRow) {
  std::mt19937 random(3);
  for (int trial = 0; trial < 300; ++trial) {
    std::vector<float> row(40 + random() % 100);
    for (float& x : row) x = static_cast<float>(random() % 4096) / 256 - 4;
    std::vector<std::int32_t> text(1 + random() % 12);
    for (std::int32_t& id : text) id = static_cast<std::int32_t>(random() % row.size());
    GenerateOptions options;
    options.repetition_penalty = trial % 3 ? 0.5f + static_cast<float>(random() % 4) : 1.0f;
    options.min_length = static_cast<int>(random() % 14);
    const Edits edits(text, options, 7, static_cast<int>(row.size()), 1);

    std::vector<float> edited = row;
    const Normaliser norm = trial % 2 ? normalise(row) : Normaliser{};
    for (float& x : edited) x = norm.log_prob(x);
    for (const std::int32_t id : std::set<std::int32_t>(text.begin(), text.end())) {
      float& x = edited[static_cast<std::size_t>(id)];
      x = x < 0 ? x * options.repetition_penalty : x / options.repetition_penalty;
    }
    if (text.size() < static_cast<std::size_t>(*options.min_length)) edited[7] = -kInfinity;
    std::vector<Candidate> expected, actual;
    top_candidates(edited, 10, expected);
    best_tokens(row, 10, norm, edits, actual);
    ASSERT_EQ(actual.size(), expected.size());
    for (std::size_t i = 0; i < actual.size(); ++i) {
      EXPECT_EQ(actual[i].token, expected[i].token);
      EXPECT_EQ(actual[i].score, expected[i].score);
    }
  }
}

TEST(BestTokens, ObeyManyBans) {
  std::mt19937 random(4);
  std::vector<float> row(2000);
  for (float& x : row) x = static_cast<float>(random() % 4096) / 256 - 4;
  Options options;
  options.repetition_penalty = 1.5f;
  for (std::int32_t id = 0; id < 2000; id += 3) options.words.forbidden.push_back({id});
  const std::vector<std::int32_t> text{4, 6, 7};
  const Edits edits(text, options, 1, 2000, 10);
  std::vector<float> edited = row;
  for (const std::int32_t id : text) {
    float& x = edited[static_cast<std::size_t>(id)];
    x = x < 0 ? x * 1.5f : x / 1.5f;
  }
  for (std::size_t id = 0; id < row.size(); id += 3) edited[id] = -kInfinity;
  std::vector<Candidate> expected, actual;
  top_candidates(edited, 10, expected);
  best_tokens(row, 10, Normaliser{}, edits, actual);
  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i) {
    EXPECT_EQ(actual[i].token, expected[i].token);
    EXPECT_EQ(actual[i].score, expected[i].score);
  }
}

TEST(Warp, SurvivesExtremes) {
  GenerateOptions options;
  std::vector<Candidate> kept;
  const std::vector<float> row{3e38f, -3e38f, -kInfinity, 2.9e38f};
  for (const float temperature : {1e-40f, 1e-3f, 1e38f}) {
    for (const float top_p : {0.0f, 0.5f, 1.0f}) {
      options.temperature = temperature;
      options.top_p = top_p;
      warp(row, options, kept);
      ASSERT_FALSE(kept.empty());
      double sum = 0;
      for (const Candidate& candidate : kept) {
        EXPECT_NE(candidate.token, 2);
        sum += candidate.score;
      }
      EXPECT_NEAR(sum, 1, 1e-6);
      if (top_p == 0) {
        EXPECT_EQ(kept.size(), 1u);
      }
    }
  }
}

TEST(Warp, KeepsLowerTokensOfEqualOnesAtTheCut) {
  GenerateOptions options;
  options.top_p = 0.55f;
  std::vector<Candidate> kept;
  warp(std::vector<float>{1, 1, 0.5f, 1, 1, -kInfinity}, options, kept);
  ASSERT_EQ(kept.size(), 3u);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(kept[i].token, (std::vector<std::int32_t>{0, 1, 3})[i]);
    EXPECT_FLOAT_EQ(kept[i].score, 1.0f / 3);
  }
}

TEST(Warp, MinPIsAShareOfTheLikeliest) {
  GenerateOptions options;
  options.top_p = 1;
  const std::vector<float> row{std::log(0.5f), std::log(0.26f), std::log(0.24f)};
  std::vector<Candidate> kept;
  options.min_p = 0.5f;
  warp(row, options, kept);
  ASSERT_EQ(kept.size(), 2u);
  EXPECT_NEAR(kept[0].score, 0.5f / 0.76f, 1e-6f);
  EXPECT_NEAR(kept[1].score, 0.26f / 0.76f, 1e-6f);
  options.min_p = 1;
  warp(row, options, kept);
  ASSERT_EQ(kept.size(), 1u);
  EXPECT_EQ(kept[0].score, 1.0f);
}

TEST(Random, IsUniformAndDependsOnSeedAndStreamAlone) {
  Random a(5, 0), b(5, 0), other_seed(6, 0), other_stream(5, 1);
  std::vector<int> bins(10);
  int same_seed = 0, same_stream = 0;
  for (int i = 0; i < 100000; ++i) {
    const double u = a.uniform();
    ASSERT_GE(u, 0);
    ASSERT_LT(u, 1);
    ASSERT_EQ(u, b.uniform());
    same_seed += u == other_seed.uniform();
    same_stream += u == other_stream.uniform();
    ++bins[static_cast<std::size_t>(u * 10)];
  }
  EXPECT_EQ(same_seed + same_stream, 0);
  for (const int bin : bins) EXPECT_NEAR(bin, 10000, 400);  // 4 standard deviations
}

GenerateOptions sampling() {
  GenerateOptions options;
  options.sample = true;
  options.min_length = 0;
  options.max_length = 12;
  return options;
}

TEST(Sampling, FollowsTheDistribution) {
  Toy toy;
  toy.levels = 4096;
  const std::vector<std::int32_t> prompt{5, 9};
  GenerateOptions options = sampling();
  options.max_length = 3;
  options.num_return = 256;
  options.temperature = 1.5f;
  options.top_k = 25;
  options.top_p = 0.95f;
  options.repetition_penalty = 1.3f;

  std::vector<float> scores(static_cast<std::size_t>(toy.vocab));
  toy.logits(prompt, 77, scores.data());
  const Edits edits(prompt, options, toy.eos, toy.vocab, 1);
  for (const std::int32_t token : edits.tokens) {
    float& score = scores[static_cast<std::size_t>(token)];
    score = edits.apply(token, score);
  }
  std::vector<Candidate> kept;
  warp(scores, options, kept);
  ASSERT_GT(kept.size(), 8u);

  std::vector<int> counts(static_cast<std::size_t>(toy.vocab));
  const int rounds = 200;
  for (int seed = 0; seed < rounds; ++seed) {
    options.seed = static_cast<std::uint64_t>(seed);
    ToyDecoder decoder(toy, {77});
    const auto texts = generate(decoder, prompt, options, {toy.eos, 0});
    for (const Hypothesis& text : texts.front()) {
      ++counts[static_cast<std::size_t>(text.ids.at(2))];
    }
  }
  double chi_square = 0;
  int seen = 0;
  for (const Candidate& candidate : kept) {
    const double expected = static_cast<double>(candidate.score) * rounds * 256;
    const int count = counts[static_cast<std::size_t>(candidate.token)];
    chi_square += (count - expected) * (count - expected) / expected;
    seen += count;
  }
  EXPECT_EQ(seen, rounds * 256);  // nothing outside the kept tokens
  const auto freedom = static_cast<double>(kept.size() - 1);
  EXPECT_LT(chi_square, freedom + 4 * std::sqrt(2 * freedom));
  EXPECT_GT(chi_square, freedom - 4 * std::sqrt(2 * freedom));
}

TEST(Sampling, SameSeedSameTextsWhateverTheBatch) {
  const std::vector<std::int32_t> prompt{5};
  GenerateOptions options = sampling();
  options.num_return = 3;
  options.seed = 42;
  ToyDecoder batch({}, {11, 12, 13});
  const auto texts = generate(batch, prompt, options, {2, 0});
  for (std::size_t s = 0; s < 3; ++s) {
    ToyDecoder alone({}, {11 + s});
    const auto again = generate(alone, prompt, options, {2, 0}).front();
    ASSERT_EQ(again.size(), 3u);
    EXPECT_NE(again[0].ids, again[1].ids);
    for (std::size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(again[i].ids, texts[s][i].ids);
      EXPECT_EQ(again[i].score, texts[s][i].score);
      if (i > 0) {
        EXPECT_LE(again[i].score, again[i - 1].score);
      }
    }
  }
  options.seed = 43;
  ToyDecoder other({}, {11});
  EXPECT_NE(generate(other, prompt, options, {2, 0}).front().front().ids, texts[0][0].ids);
}

TEST(Sampling, TopOneIsGreedyAndScoresAreTheModels) {
  GenerateOptions options = sampling();
  options.top_k = 1;
  const std::vector<std::int32_t> prompt{5};
  ToyDecoder decoder({}, {99});
  const Hypothesis sampled = generate(decoder, prompt, options, {2, 0}).front().front();
  options.sample = false;
  options.beams = 1;
  ToyDecoder again({}, {99});
  const Hypothesis greedy = generate(again, prompt, options, {2, 0}).front().front();
  EXPECT_EQ(sampled.ids, greedy.ids);
  double score = 0;
  for (std::size_t i = 1; i < greedy.ids.size(); ++i) {
    std::vector<float> row(40);
    Toy().logits({greedy.ids.data(), i}, 99, row.data());
    score += normalise(row).log_prob(row[static_cast<std::size_t>(greedy.ids[i])]);
  }
  EXPECT_NEAR(greedy.score, score, 1e-5);
  EXPECT_EQ(sampled.score, greedy.score);
}

TEST(Generate, DropsFinishedRows) {
  Toy toy;
  toy.eos_bias = 8192;
  GenerateOptions options;
  options.min_length = 1;
  for (const int beams : {1, 3}) {
    options.beams = beams;
    std::vector<std::uint64_t> salts(12);
    for (std::size_t s = 0; s < salts.size(); ++s) salts[s] = 1000 + s;
    ToyDecoder decoder(toy, salts);
    const std::vector<std::int32_t> prompt{5};
    const auto texts = generate(decoder, prompt, options, {2, 0});
    std::set<std::size_t> lengths;
    for (const auto& text : texts) lengths.insert(text.front().ids.size());
    ASSERT_GT(lengths.size(), 2u);  // else nothing is tested
    ASSERT_FALSE(decoder.step_rows.empty());
    EXPECT_LE(decoder.step_rows.front(), 12 * beams);
    EXPECT_LT(decoder.step_rows.back(), decoder.step_rows.front());
    EXPECT_TRUE(std::is_sorted(decoder.step_rows.rbegin(), decoder.step_rows.rend()));
  }
}

TEST(Generate, ReportsTokensAsTheyAreDecided) {
  GenerateOptions options = sampling();
  options.num_return = 2;
  const std::vector<std::int32_t> prompt{5, 6};
  for (const bool sample : {false, true}) {
    options.sample = sample;
    options.beams = 1;
    options.num_return = sample ? 2 : 1;
    std::vector<std::vector<std::int32_t>> heard(2, prompt);
    Hooks hooks;
    hooks.on_token = [&](int sequence, std::int32_t id) {
      heard.at(static_cast<std::size_t>(sequence)).push_back(id);
    };
    ToyDecoder decoder({}, {3, 4});
    const auto texts = generate(decoder, prompt, options, {2, 0}, hooks);
    for (std::size_t s = 0; s < 2; ++s) {
      const auto is_heard = [&](const Hypothesis& text) { return text.ids == heard[s]; };
      EXPECT_TRUE(std::any_of(texts[s].begin(), texts[s].end(), is_heard));
    }
  }
}

TEST(Generate, PollsCancelBeforeEveryCall) {
  GenerateOptions options;
  const std::vector<std::int32_t> prompt{5};
  for (const int beams : {1, 3}) {
    options.beams = beams;
    for (const int allowed : {0, 1, 4}) {
      int polls = 0;
      Hooks hooks;
      hooks.cancel = [&] { return polls++ == allowed; };
      ToyDecoder decoder({}, {3});
      EXPECT_EQ(error_of([&] {
                  generate(decoder, prompt, options, {2, 0}, hooks);
                }).code(),
                ErrorCode::kCancelled);
      EXPECT_EQ(static_cast<int>(decoder.step_rows.size()), std::max(allowed - 1, 0));
    }
  }
}

// A decoder that breaks down at the third step.
class BrokenDecoder : public ToyDecoder {
 public:
  using ToyDecoder::ToyDecoder;
  std::span<const float> step(std::span<const Next> next) override {
    ToyDecoder::step(next);
    if (step_rows.size() == 3) logits_.back() = kNan;
    return logits_;
  }
};

TEST(Generate, RefusesLogitsThatAreNotFinite) {
  Toy toy;
  toy.eos_bias = -100000;
  const std::vector<std::int32_t> prompt{5};
  for (GenerateOptions options : {GenerateOptions{}, GenerateOptions{.beams = 1}, sampling()}) {
    BrokenDecoder decoder(toy, {3});
    EXPECT_EQ(error_of([&] {
                generate(decoder, prompt, options, {2, 0});
              }).code(),
              ErrorCode::kModel);
  }
}

TEST(Validate, NamesOptionValueAndRange) {
  const auto expect = [](void (*change)(GenerateOptions&), const std::string& message) {
    GenerateOptions options;
    change(options);
    const Error error = error_of([&] { validate(options, 512); });
    EXPECT_EQ(error.code(), ErrorCode::kUsage);
    EXPECT_EQ(std::string(error.what()), message);
  };
  validate({}, 512);
  validate({.beams = 64, .min_length = 0, .max_length = 512, .num_return = 64}, 512);
  validate({.beams = 1, .sample = true, .top_p = 0, .num_return = 256}, 512);
  // transformers warns, and stops at max_length
  validate({.min_length = 30, .max_length = 20}, 512);
  validate({.max_length = 4}, 512);  // no minimum that nobody gave
  expect([](auto& o) { o.beams = 0; }, "beams is 0, but must be between 1 and 64");
  expect([](auto& o) { o.beams = 65; }, "beams is 65, but must be between 1 and 64");
  expect([](auto& o) { o.min_length = -1; }, "min_length is -1, but must be between 0 and 1000000");
  expect([](auto& o) { o.max_length = 0; },
         "max_length is 0, but must be between 1 and 512, the positions of this model");
  expect([](auto& o) { o.max_length = 513; },
         "max_length is 513, but must be between 1 and 512, the positions of this model");
  expect([](auto& o) { o.length_penalty = kNan; },
         "length_penalty is nan, but must be between -10 and 10");
  expect([](auto& o) { o.length_penalty = -11; },
         "length_penalty is -11, but must be between -10 and 10");
  expect([](auto& o) { o.repetition_penalty = 0; },
         "repetition_penalty is 0, but must be between 0.01 and 100 (1 = off)");
  expect([](auto& o) { o.repetition_penalty = kInfinity; },
         "repetition_penalty is inf, but must be between 0.01 and 100 (1 = off)");
  expect([](auto& o) { o.top_p = 1.5f; }, "top_p is 1.5, but must be between 0 and 1 (1 = off)");
  expect([](auto& o) { o.min_p = -0.1f; }, "min_p is -0.1, but must be between 0 and 1 (0 = off)");
  expect([](auto& o) { o.top_p = kNan; }, "top_p is nan, but must be between 0 and 1 (1 = off)");
  expect([](auto& o) { o.top_k = -3; }, "top_k is -3, but must be between 0 and 1000000 (0 = off)");
  expect([](auto& o) { o.temperature = 0; },
         "temperature is 0, but must be between 0.001 and 100; for the most likely text use greedy "
         "search instead");
  expect([](auto& o) { o.num_return = 4; },
         "num_return is 4, but must be between 1 and beams (3) unless sampling");
  expect([](auto& o) { o.beams = 1, o.num_return = 2; },
         "num_return is 2, but must be 1 with greedy search: set more beams, or sample");
  expect([](auto& o) { o.sample = true, o.num_return = 257; },
         "num_return is 257, but must be between 1 and 256");
}

TEST(Words, AreObeyedBySamples) {
  Options options = sampling();
  options.num_return = 20;
  options.max_length = 30;
  options.no_repeat_ngram = 2;
  options.words.forbidden = {{5}, {9, 10}, {11}};
  Toy toy;
  toy.levels = 64;  // every token is likely
  toy.eos_bias = -100000;
  ToyDecoder decoder(toy, {1, 2});
  for (const auto& texts : generate(decoder, std::vector<std::int32_t>{3}, options, {2, 0})) {
    for (const Hypothesis& text : texts) {
      std::set<std::pair<std::int32_t, std::int32_t>> pairs;
      for (std::size_t i = 1; i < text.ids.size(); ++i) {
        const std::pair pair(text.ids[i - 1], text.ids[i]);
        EXPECT_TRUE(pairs.insert(pair).second) << pair.first << " " << pair.second;
        EXPECT_TRUE(pair.second != 5 && pair.second != 11 && pair != std::pair(9, 10));
      }
    }
  }
}

TEST(Words, ThatCannotBeAreRefused) {
  const auto message = [](auto change, int beams = 2) {
    Options options;
    options.beams = beams;
    options.max_length = 6;
    change(options);
    ToyDecoder decoder(Toy{.vocab = 12}, {1});
    const Error error = error_of([&] {
      generate(decoder, std::vector<std::int32_t>{3, 4}, options, {2, 0});
    });
    EXPECT_EQ(error.code(), ErrorCode::kUsage);
    return std::string(error.what());
  };
  EXPECT_EQ(message([](Options& o) { o.words.forced = {{{5}}}; }, 1),
            "force_words needs beam search: set beams above 1, and do not sample");
  EXPECT_EQ(message([](Options& o) {
              o.words.forced = {{{5}}};
              o.sample = true;
            }),
            "force_words needs beam search: set beams above 1, and do not sample");
  EXPECT_EQ(message([](Options& o) {
              o.words.forced = {{{5, 6, 7}, {8}}, {{9, 10}}};
            }),
            "force_words need up to 5 tokens, and max_length (6) leaves 4 after the prompt's 2: "
            "force fewer words or allow longer texts");
  EXPECT_EQ(message([](Options& o) {
              o.words.forced = {{{5, 6}, {5}}};
            }),
            "force_words: of the alternatives of a word one begins with another, in tokens; leave "
            "the longer one out");
  EXPECT_EQ(message([](Options& o) {
              o.words.forced = {{{5}, {5, 6}}};
            }),
            "force_words: of the alternatives of a word one begins with another, in tokens; leave "
            "the longer one out");
  EXPECT_EQ(message([](Options& o) { o.words.forced = {{{12}}}; }),
            "a forced token is 12, but must be between 0 and 11, the model's vocabulary");
  EXPECT_EQ(message([](Options& o) {
              o.words.forced = {{{5}}};
              o.words.forbidden = {{5}};
            }),
            "force_words: no text of up to 6 tokens was found that has them; allow longer texts, "
            "more beams, or forbid less (forbid_words, no_repeat_ngram)");
  EXPECT_EQ(message([](Options& o) {
              for (std::int32_t id = 3; id < 12; ++id) o.words.forbidden.push_back({id});
            }),
            "forbid_words and no_repeat_ngram leave 3 of the vocabulary's 12 tokens after a text "
            "of 2, and the search needs more than 4: forbid less");
  EXPECT_EQ(message([](Options& o) { o.no_repeat_ngram = -1; }),
            "no_repeat_ngram is -1, but must be between 0 and 1000000 (0 = off)");
  EXPECT_EQ(message([](Options& o) { o.forbid_words.resize(1001); }),
            "forbid_words is 1001 texts, but must be at most 1000");
}

TEST(Validate, MinimumOfTheTask) {
  EXPECT_EQ(with_min_length(GenerateOptions{}, kCaptionMinLength).min_length, 5);
  EXPECT_EQ(with_min_length(GenerateOptions{.max_length = 4}, kCaptionMinLength).min_length, 4);
  EXPECT_EQ(with_min_length(GenerateOptions{.min_length = 0}, kCaptionMinLength).min_length, 0);
  EXPECT_EQ(with_min_length(GenerateOptions{.min_length = 9}, kAnswerMinLength).min_length, 9);
}

TEST(Generate, RefusesPromptsThatLeaveNoRoom) {
  const auto message = [](const std::vector<std::int32_t>& prompt, const GenerateOptions& options,
                          Toy toy = {}) {
    ToyDecoder decoder(toy, {1}, 30);
    const Error error = error_of([&] { generate(decoder, prompt, options, {2, 0}); });
    EXPECT_EQ(error.code(), ErrorCode::kUsage);
    EXPECT_TRUE(decoder.step_rows.empty());
    return std::string(error.what());
  };
  EXPECT_EQ(message({5, 5, 5}, {.max_length = 3}),
            "max_length is 3, but must be more than the prompt's 3 tokens, which it counts");
  EXPECT_EQ(message({5}, {.max_length = 31}),
            "max_length is 31, but must be between 1 and 30, the positions of this model");
  EXPECT_EQ(message({}, {}),
            "the prompt is empty, but must be at least the token that begins a text");
  EXPECT_EQ(message({40}, {}),
            "a prompt token is 40, but must be between 0 and 39, the model's vocabulary");
  EXPECT_EQ(message({-1}, {}),
            "a prompt token is -1, but must be between 0 and 39, the model's vocabulary");
  EXPECT_EQ(message({3}, {.beams = 3}, {.vocab = 6}),
            "beams is 3, but must be below half the vocabulary size, which is 6");
}

TEST(Generate, UsesTheLastPosition) {
  Toy toy;
  toy.eos_bias = -100000;
  const std::vector<std::int32_t> prompt{5};
  for (const int beams : {1, 2}) {
    ToyDecoder decoder(toy, {1}, 30);
    const auto texts =
        generate(decoder, prompt, GenerateOptions{.beams = beams, .max_length = 30}, {2, 0});
    EXPECT_EQ(texts.front().front().ids.size(), 30u);
    EXPECT_EQ(decoder.step_rows.size(), 28u);  // the last token is never fed
  }
}

TEST(Rank, SharesRowsOfAnswersThatBeginAlike) {
  const std::vector<std::vector<std::int32_t>> answers{{1, 7, 8, 2}, {1, 7, 9, 2}, {1, 7, 2},
                                                       {1, 2},       {1, 7, 8, 2}, {1, 6, 8, 2}};
  ToyDecoder decoder({}, {5});
  const std::vector<Ranked> ranked = rank(decoder, answers, 100);
  EXPECT_EQ(decoder.step_rows, (std::vector<int>{2, 3}));  // 7 6, then 78 79 68
  ASSERT_EQ(ranked.size(), answers.size());
  for (std::size_t i = 1; i < ranked.size(); ++i) EXPECT_LE(ranked[i - 1].loss, ranked[i].loss);
  for (const Ranked& entry : ranked) {
    ToyDecoder alone({}, {5});
    const std::vector<std::vector<std::int32_t>> only{
        answers[static_cast<std::size_t>(entry.candidate)]};
    EXPECT_EQ(rank(alone, only, 1).front().loss, entry.loss);
  }
}

TEST(Rank, RefusesBadInput) {
  const auto message = [](const std::vector<std::vector<std::int32_t>>& answers, int keep = 1,
                          std::size_t sequences = 1, float smoothing = 0.1f) {
    ToyDecoder decoder({}, std::vector<std::uint64_t>(sequences, 1), 4);
    const Error error = error_of([&] { rank(decoder, answers, keep, smoothing); });
    EXPECT_EQ(error.code(), ErrorCode::kUsage);
    return std::string(error.what());
  };
  EXPECT_EQ(message({}), "rank: the list of answers is empty");
  EXPECT_EQ(message({{1, 2}}, 0),
            "rank: the number of answers to keep is 0, but must be 1 or more");
  EXPECT_EQ(message({{1, 2}, {1}}),
            "rank: answer 1 has 1 tokens, expected a begin and an end token at least");
  EXPECT_EQ(message({{1, 2}, {3, 2}}),
            "rank: answer 1 does not begin with the token the others begin with");
  EXPECT_EQ(message({{1, 3, 3, 3, 3, 2}}),
            "rank: answer 0 has 6 tokens, more than fit the model's 4 positions");
  EXPECT_EQ(message({{1, 40, 2}}), "rank: answer 0 holds token 40, outside the vocabulary of 40");
  EXPECT_EQ(message({{1, 2}}, 1, 2), "rank: the decoder holds 2 sequences, expected 1");
  EXPECT_EQ(message({{1, 2}}, 1, 1, 1.0f), "rank: label smoothing must be at least 0 and below 1");
  ToyDecoder decoder({}, {1}, 4);
  // exactly fits
  EXPECT_EQ(rank(decoder, std::vector<std::vector<std::int32_t>>{{1, 3, 3, 3, 2}}, 1).size(), 1u);
}

TEST(Rank, CanBeCancelled) {
  int polls = 0;
  Hooks hooks;
  hooks.cancel = [&] { return polls++ == 1; };
  ToyDecoder decoder({}, {5});
  const std::vector<std::vector<std::int32_t>> answers{{1, 7, 8, 2}};
  EXPECT_EQ(error_of([&] { rank(decoder, answers, 1, 0.1f, hooks); }).code(),
            ErrorCode::kCancelled);
  EXPECT_TRUE(decoder.step_rows.empty());
}

}  // namespace
}  // namespace blip::decode
