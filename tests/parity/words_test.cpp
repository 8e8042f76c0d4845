// Forbidden and forced words, repeated n-grams and matching with [ENC], of the committed models
// against transformers (tests/reference/parity_words.py); and what words are refused.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "blip/error.h"
#include "golden.h"

namespace blip::parity {
namespace {

const std::filesystem::path kData = std::filesystem::path(BLIP_TEST_DATA) / "parity";

Json read(const char* name) {
  std::ifstream file(kData / name);
  return Json::parse(file);
}

// The committed models, each loaded once.
struct Loaded {
  explicit Loaded(const std::string& name)
      : golden(kData / name),
        engine(load(golden.model_path(), 1)),
        session(engine, options(this)) {}
  static SessionOptions options(Loaded* self) {
    SessionOptions options;
    options.warning = [self](const std::string& text) { self->warnings.push_back(text); };
    return options;
  }
  static Loaded& of(const std::string& name) {
    static std::map<std::string, std::unique_ptr<Loaded>> all;
    auto& one = all[name];
    if (!one) one = std::make_unique<Loaded>(name);
    return *one;
  }

  Golden golden;
  Engine engine;
  std::vector<std::string> warnings;
  Session session;
};

GenerateOptions options_of(const Json& item) {
  const Json& o = item.at("options");
  GenerateOptions options{.beams = o.at("beams"),
                          .min_length = o.at("min_length").get<int>(),
                          .max_length = o.at("max_length"),
                          .num_return = o.at("num_return")};
  options.no_repeat_ngram = o.at("no_repeat_ngram");
  options.forbid_words = item.value("forbid_words", std::vector<std::string>{});
  options.force_words = item.value("force_words", std::vector<std::string>{});
  return options;
}

std::vector<std::vector<std::int32_t>> ids_of(const Generation& generation) {
  std::vector<std::vector<std::int32_t>> ids;
  for (const Text& text : generation.all) ids.push_back(text.token_ids);
  return ids;
}

Generation generate(const Json& item) {
  Loaded& model = Loaded::of(item.at("model"));
  const EncodedImage image = model.session.encode(model.golden.image(item.at("image")));
  if (item.contains("question"))
    return model.session.ask(image, item.at("question").get<std::string>(),
                             {.generate = options_of(item)});
  return model.session.caption(
      image, {.prompt = item.at("prompt").get<std::string>(), .generate = options_of(item)});
}

TEST(Words, AgreeWithTransformers) {
  const Json words = read("words.json");
  for (const char* kind : {"captions", "answers"}) {
    EXPECT_GE(words.at(kind).size(), 20u);
    for (const Json& item : words.at(kind)) {
      SCOPED_TRACE(item.dump());
      EXPECT_EQ(Json(ids_of(generate(item))), item.at("results"));
    }
  }
}

bool holds(const std::vector<std::int32_t>& text, const std::vector<std::int32_t>& run) {
  return std::search(text.begin(), text.end(), run.begin(), run.end()) != text.end();
}

TEST(Words, ForcedAgreeWithTransformers) {
  const Json captions = read("forced.json").at("captions");
  EXPECT_GE(captions.size(), 60u);
  for (const Json& item : captions) {
    SCOPED_TRACE(item.dump());
    const auto texts = ids_of(generate(item));
    const auto complete = item.at("has_words").get<std::vector<bool>>();
    if (std::find(complete.begin(), complete.end(), false) == complete.end()) {
      EXPECT_EQ(Json(texts), item.at("results"));
    }
    for (const auto& text : texts) {
      for (const Json& word : item.at("alternatives")) {
        EXPECT_TRUE(std::any_of(word.begin(), word.end(), [&](const Json& run) {
          return holds(text, run.get<std::vector<std::int32_t>>());
        }));
      }
    }
  }
}

TEST(Words, MatchingWithEncAgreesWithTheOfficialCode) {
  bool differs = false;
  const Json matches = read("words.json").at("matches");
  for (const Json& item : matches) {
    SCOPED_TRACE(item.dump());
    Loaded& model = Loaded::of(item.at("model"));
    const EncodedImage image = model.session.encode(model.golden.image(item.at("image")));
    const std::string text = item.at("text");
    const auto match = [&](MatchHead head, ItmToken token) {
      return model.session.match(image, {text}, {.head = head, .itm_token = token}).front();
    };
    const Match both = match(MatchHead::kAll, ItmToken::kEnc),
                itm = match(MatchHead::kItm, ItmToken::kEnc),
                itc = match(MatchHead::kItc, ItmToken::kEnc),
                cls = match(MatchHead::kAll, ItmToken::kCls);
    EXPECT_NEAR(both.match_probability.value(), item.at("probability").get<double>(), 1e-5);
    EXPECT_NEAR(both.cosine.value(), item.at("cosine").get<double>(), 1e-5);
    EXPECT_EQ(itm.match_logit, both.match_logit);
    EXPECT_EQ(itc.match_logit, std::nullopt);
    EXPECT_EQ(itm.match_probability, both.match_probability);
    EXPECT_EQ(itm.cosine, std::nullopt);
    EXPECT_EQ(itc.cosine, both.cosine);
    EXPECT_EQ(itc.match_probability, std::nullopt);
    EXPECT_EQ(cls.cosine, both.cosine);
    differs = differs || std::abs(*cls.match_probability - *both.match_probability) > 1e-3;
  }
  EXPECT_TRUE(differs);
  EXPECT_EQ(parse_itm_token("enc"), ItmToken::kEnc);
  EXPECT_THROW(parse_itm_token("sep"), Error);
}

TEST(Features, AgreeWithLavis) {
  const Json golden = read("features.json");
  Loaded& model = Loaded::of(golden.at("model"));
  std::map<std::string, int> kinds;
  for (const Json& item : golden.at("features")) {
    const std::string name = item.at("kind"), text = item.value("text", "");
    SCOPED_TRACE(name + " of " + item.value("image", "no picture") + ", \"" + text + "\"");
    const auto place = std::find(kFeatureKinds.begin(), kFeatureKinds.end(), name);
    ASSERT_NE(place, kFeatureKinds.end());
    std::optional<EncodedImage> image;
    if (item.contains("image")) image = model.session.encode(model.golden.image(item.at("image")));
    const Tensor got = model.session.features(
        static_cast<FeatureKind>(place - kFeatureKinds.begin()), image ? &*image : nullptr, text);
    ++kinds[name];
    ASSERT_EQ(Json(got.shape), item.at("shape"));
    const auto width = static_cast<std::size_t>(got.shape[1]), count = got.values.size() / width;
    const std::size_t rows[] = {0, 1, count - 1};
    double sum = 0;
    for (const float value : got.values) sum += value;
    EXPECT_NEAR(sum, item.at("sum").get<double>(), 2e-3);
    for (std::size_t r = 0; r < 3; ++r) {
      const auto want = item.at("rows")[r].get<std::vector<float>>();
      const auto row = std::span(got.values).subspan(rows[r] * width, width);
      EXPECT_LT(difference(row, want).norm, 1e-4);
    }
  }
  for (const char* kind : kFeatureKinds) EXPECT_GE(kinds[kind], 3) << kind;
}

TEST(Words, AreWhatTheVocabularyReads) {
  Loaded& model = Loaded::of("caption");
  const EncodedImage image = model.session.encode(model.golden.image("0-61x47.png"));
  const auto caption = [&](std::vector<std::string> forbid, std::vector<std::string> force,
                           int beams = 3) {
    GenerateOptions options{.beams = beams, .max_length = 12};
    options.forbid_words = std::move(forbid);
    options.force_words = std::move(force);
    return model.session.caption(image, {.generate = options}).text;
  };
  const auto refusal = [&](std::vector<std::string> forbid, std::vector<std::string> force) {
    try {
      caption(std::move(forbid), std::move(force));
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kUsage);
      return std::string(error.what());
    }
    return std::string("no error");
  };
  // One by one or separated; in any case of letters.
  EXPECT_EQ(caption({"dog", "two cats"}, {}), caption({"DOG|two Cats"}, {}));
  model.warnings.clear();
  EXPECT_EQ(caption({"☃"}, {}), caption({}, {}));
  EXPECT_EQ(model.warnings,
            std::vector<std::string>{"forbid_words: \"☃\" is left out: the vocabulary cannot spell "
                                     "it, so it is never written"});
  EXPECT_EQ(refusal({}, {"☃"}),
            "force_words: \"☃\" cannot be written: the vocabulary cannot spell it");
  EXPECT_EQ(refusal({"a [SEP]"}, {}),
            "forbid_words: \"a [SEP]\" has a special token of the model, which is no word of a "
            "text");
  EXPECT_EQ(refusal({"dog|"}, {}), "forbid_words: \"\" is empty: give at least one word");
  EXPECT_EQ(refusal({}, {" "}), "force_words: \" \" is empty: give at least one word");
  EXPECT_EQ(refusal({"dog"}, {"dog"}),
            "force_words: no text of up to 12 tokens was found that has them; allow longer texts, "
            "more beams, or forbid less (forbid_words, no_repeat_ngram)");
  EXPECT_EQ(refusal({}, {"dog|dog"}),
            "force_words: of the alternatives of a word one begins with another, in tokens; leave "
            "the longer one out");
  // "##s" is text, not the piece of "dogs".
  EXPECT_EQ(refusal({}, {"##s"}),
            "force_words: \"##s\" cannot be written: the vocabulary cannot "
            "spell it");
}

}  // namespace
}  // namespace blip::parity
