// generate() and rank() against transformers and torch: the cases of tests/reference/decode.py.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <string>

#include "blip/error.h"
#include "decode/logits.h"
#include "toy_decoder.h"

namespace blip::decode {
namespace {

// Reads one file of cases. BLIP_DECODE_CASES names a folder with a larger set than the committed
// one.
class Cases {
 public:
  explicit Cases(const std::string& name) {
    const char* folder = std::getenv("BLIP_DECODE_CASES");
    const std::string path =
        (folder ? std::string(folder) : std::string(BLIP_TEST_DATA "/decode")) + "/" + name;
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
  std::vector<std::vector<std::int32_t>> read_runs() {
    std::vector<std::vector<std::int32_t>> runs(read<std::size_t>());
    for (auto& run : runs) run = read_ids();
    return runs;
  }
  // A sequence's salts, its prompt and the options of its texts.
  Options read_options(std::vector<std::uint64_t>& salts, std::vector<std::int32_t>& prompt) {
    salts.resize(read<std::size_t>());
    for (std::uint64_t& salt : salts) salt = read<std::uint64_t>();
    prompt = read_ids();
    Options options;
    options.beams = read<int>();
    options.num_return = read<int>();
    options.min_length = read<int>();
    options.max_length = read<int>();
    options.length_penalty = read<float>();
    options.repetition_penalty = read<float>();
    return options;
  }
  // What decode_words.py adds to them.
  void read_words(Options& options) {
    options.no_repeat_ngram = read<int>();
    options.words.forbidden = read_runs();
  }
  int count;

 private:
  std::ifstream file_;
};

void expect_close(float actual, float expected, double tolerance) {
  EXPECT_NEAR(actual, expected, tolerance * (1 + std::abs(expected)));
}

bool holds(const std::vector<std::int32_t>& text, const std::vector<std::int32_t>& run) {
  return std::search(text.begin(), text.end(), run.begin(), run.end()) != text.end();
}

// What the options promise of every text, whatever the model.
void expect_obedience(const std::vector<std::int32_t>& text, std::size_t prompt,
                      const Options& options) {
  // A run of the prompt's own is not the search's doing.
  for (const auto& run : options.words.forbidden) {
    const std::size_t from = prompt - std::min(prompt, run.size() - 1);
    EXPECT_FALSE(holds({text.begin() + static_cast<std::ptrdiff_t>(from), text.end()}, run));
  }
  if (const auto n = static_cast<std::size_t>(options.no_repeat_ngram); n > 0) {
    for (std::size_t i = std::max(prompt, n); i < text.size(); ++i) {
      const auto end = text.begin() + static_cast<std::ptrdiff_t>(i + 1);
      const std::vector<std::int32_t> run(end - static_cast<std::ptrdiff_t>(n), end),
          before(text.begin(), end - 1);
      EXPECT_FALSE(holds(before, run));
    }
  }
  for (const auto& word : options.words.forced)
    EXPECT_TRUE(
        std::any_of(word.begin(), word.end(), [&](const auto& run) { return holds(text, run); }));
}

void check_texts(const std::string& file, bool words = false) {
  Cases cases(file);
  for (int c = 0; c < cases.count; ++c) {
    SCOPED_TRACE(file + " case " + std::to_string(c));
    const Toy toy = cases.read_toy();
    std::vector<std::uint64_t> salts;
    std::vector<std::int32_t> prompt;
    Options options = cases.read_options(salts, prompt);
    if (words) cases.read_words(options);

    ToyDecoder decoder(toy, salts);
    const auto texts = generate(decoder, prompt, options, {toy.eos, 0});
    ASSERT_EQ(texts.size(), salts.size());
    for (std::size_t s = 0; s < salts.size(); ++s) {
      ASSERT_EQ(texts[s].size(), static_cast<std::size_t>(options.num_return));
      for (const Hypothesis& text : texts[s]) {
        const float score = cases.read<float>();
        EXPECT_EQ(text.ids, cases.read_ids());
        expect_obedience(text.ids, prompt.size(), options);
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

TEST(Golden, Words) { check_texts("words.txt", true); }

// The reference's texts, which may lack a forced word: then ours are others, that have them all.
TEST(Golden, ForcedWords) {
  Cases cases("forced.txt");
  int equal = 0;
  for (int c = 0; c < cases.count; ++c) {
    SCOPED_TRACE("case " + std::to_string(c));
    const Toy toy = cases.read_toy();
    std::vector<std::uint64_t> salts;
    std::vector<std::int32_t> prompt;
    Options options = cases.read_options(salts, prompt);
    cases.read_words(options);
    options.words.forced.resize(cases.read<std::size_t>());
    for (auto& word : options.words.forced) word = cases.read_runs();

    std::vector<std::vector<Hypothesis>> texts;
    bool all_have_them = true;
    for (const std::uint64_t salt : salts) {
      ToyDecoder alone(toy, {salt});
      texts.emplace_back();
      try {
        texts.back() = std::move(generate(alone, prompt, options, {toy.eos, 0}).front());
      } catch (const Error& error) {
        // Only bans can keep a word out.
        EXPECT_TRUE(options.no_repeat_ngram > 0 || !options.words.forbidden.empty())
            << error.what();
        all_have_them = false;
      }
    }
    if (all_have_them) {
      ToyDecoder batch(toy, salts);
      const auto together = generate(batch, prompt, options, {toy.eos, 0});
      for (std::size_t s = 0; s < salts.size(); ++s) {
        ASSERT_EQ(together[s].size(), texts[s].size());
        for (std::size_t t = 0; t < texts[s].size(); ++t)
          EXPECT_EQ(together[s][t].ids, texts[s][t].ids);
      }
    }
    for (const std::vector<Hypothesis>& ours : texts) {
      std::vector<Hypothesis> reference;
      bool lacks = false;
      for (int i = 0; i < options.num_return; ++i) {
        const bool has_words = cases.read<int>() != 0;
        const float score = cases.read<float>();
        Hypothesis text{cases.read_ids(), score};
        lacks = lacks || !has_words;
        if (has_words) reference.push_back(std::move(text));
      }
      for (const Hypothesis& text : ours) expect_obedience(text.ids, prompt.size(), options);
      EXPECT_GE(ours.size(), reference.size());
      equal += lacks ? 0 : 1;
      for (std::size_t i = 0; i < reference.size(); ++i) {
        const auto same = std::find_if(ours.begin(), ours.end(), [&](const Hypothesis& text) {
          return text.ids == reference[i].ids;
        });
        if (!lacks) {
          ASSERT_EQ(ours.size(), reference.size());
          EXPECT_EQ(same - ours.begin(), static_cast<std::ptrdiff_t>(i));
          expect_close(ours[i].score, reference[i].score, 1e-5);
        } else if (same == ours.end()) {  // better ones of ours took its place
          EXPECT_EQ(ours.size(), static_cast<std::size_t>(options.num_return));
          EXPECT_GE(ours.back().score, reference[i].score);
        }
      }
    }
  }
  EXPECT_GT(equal, cases.count / 3);
}

void check_distributions(const std::string& file, bool words) {
  Cases cases(file);
  for (int c = 0; c < cases.count; ++c) {
    SCOPED_TRACE("case " + std::to_string(c));
    const Toy toy = cases.read_toy();
    const auto salt = cases.read<std::uint64_t>();
    const std::vector<std::int32_t> prompt = cases.read_ids();
    Options options;
    options.min_length = cases.read<int>();
    options.repetition_penalty = cases.read<float>();
    options.temperature = cases.read<float>();
    options.top_k = cases.read<int>();
    options.top_p = cases.read<float>();
    if (words)
      cases.read_words(options);
    else
      options.min_p = cases.read<float>();
    std::vector<float> expected(static_cast<std::size_t>(toy.vocab));
    for (int left = cases.read<int>(); left > 0; --left) {
      const auto token = cases.read<std::size_t>();
      expected.at(token) = cases.read<float>();
    }

    std::vector<float> scores(static_cast<std::size_t>(toy.vocab));
    toy.logits(prompt, salt, scores.data());
    const Edits edits(prompt, options, toy.eos, toy.vocab, 1);
    for (const std::int32_t token : edits.tokens) {
      float& score = scores[static_cast<std::size_t>(token)];
      score = edits.apply(token, score);
    }
    std::vector<Candidate> kept;
    warp(scores, options, kept);
    std::vector<float> actual(expected.size());
    for (const Candidate& candidate : kept)
      actual[static_cast<std::size_t>(candidate.token)] = candidate.score;
    for (std::size_t t = 0; t < expected.size(); ++t) {
      SCOPED_TRACE("token " + std::to_string(t));
      EXPECT_EQ(actual[t] > 0, expected[t] > 0);
      EXPECT_NEAR(actual[t], expected[t], 2e-6 * expected[t]);
    }
  }
}

TEST(Golden, Distributions) { check_distributions("distributions.txt", false); }

TEST(Golden, DistributionsOfWords) { check_distributions("word_distributions.txt", true); }

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
