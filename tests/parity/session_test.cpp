// What a session promises beyond right answers: sharing, cancelling, warnings, clear errors.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <thread>

#include "golden.h"

namespace blip::parity {
namespace {

const std::filesystem::path kData = std::filesystem::path(BLIP_TEST_DATA) / "parity";

Golden golden(const char* name) { return Golden(kData / name); }
Engine load(const Golden& of, int threads = 1) { return parity::load(of.model_path(), threads); }

// The error a call throws.
template <class Call>
Error error_of(Call call) {
  try {
    call();
  } catch (const Error& error) {
    return error;
  }
  return Error(ErrorCode::kUsage, "nothing was thrown");
}

// Pictures encoded once and used by sessions on several threads at the same time, over the engine's
// own two threads.
TEST(Session, SharesEngineAndPicturesBetweenThreads) {
  for (const char* name : {"caption", "match", "vqa"}) {
    const Golden model = golden(name);
    const Engine engine = load(model, 2);
    Session first(engine);
    // their cross-attention keys are still to be made: the threads race for them
    const auto encoded = encode_all(model, first);
    std::vector<Findings> found(4);
    std::vector<std::thread> threads;
    for (auto& findings : found)
      threads.emplace_back([&] {
        Session session(engine);
        compare(model, session, encoded, {}, findings);
      });
    for (auto& thread : threads) thread.join();
    for (const auto& findings : found)
      for (const auto& failure : findings.failures) ADD_FAILURE() << name << ": " << failure;
  }
}

// An engine, a picture and a session outlive the objects they came from.
TEST(Session, KeepsWhatItNeedsAlive) {
  const Golden model = golden("caption");
  std::optional<Engine> engine = load(model);
  std::optional<Session> session(std::in_place, *engine);
  const EncodedImage image = session->encode(model.image(model.image_names()[0]));
  const std::string text = session->caption(image).text;
  Session other(*engine);
  session.reset();
  engine.reset();
  EXPECT_EQ(other.caption(image).text, text);
}

TEST(Session, CancelsBetweenSteps) {
  const Golden model = golden("caption");
  const Engine engine = load(model);
  int polls = 0, limit = 0;
  SessionOptions options;
  options.cancel = [&] { return ++polls > limit; };
  Session session(engine, options);
  const Image picture = model.image(model.image_names()[0]);
  EXPECT_EQ(error_of([&] { session.encode(picture); }).code(), ErrorCode::kCancelled);

  polls = 0, limit = 1000;
  const EncodedImage image = session.encode(picture);
  const Generation whole = session.caption(image);
  for (const int beams : {1, 3}) {
    polls = 0, limit = 3;  // in the middle of the text
    CaptionOptions caption;
    caption.generate.beams = beams;
    caption.generate.min_length = 20;
    EXPECT_EQ(error_of([&] { session.caption(image, caption); }).code(), ErrorCode::kCancelled);
    EXPECT_EQ(polls, 4);  // the text would have taken over 10 steps
  }
  polls = 0, limit = 1000;
  // nothing is left over from the cancelled calls
  EXPECT_EQ(session.caption(image).token_ids, whole.token_ids);
}

TEST(Session, WarnsOfTruncatedTexts) {
  const Golden model = golden("match");
  std::vector<std::string> warnings;
  SessionOptions options;
  options.warning = [&](const std::string& message) { warnings.push_back(message); };
  Session session(load(model), options);
  const EncodedImage image = session.encode(model.image(model.image_names()[0]));
  session.match(image, {"a red ball"});
  EXPECT_TRUE(warnings.empty());
  std::string longer;
  for (int i = 0; i < 12; ++i) longer += "a red car ";
  const Match truncated = session.match(image, {longer}).front();
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_NE(warnings[0].find("truncated to 35 tokens"), std::string::npos) << warnings[0];
  // 33 words and [CLS], [SEP]: what lies behind does not count.
  EXPECT_EQ(session.match(image, {longer + "and a cat"}).front().match_probability,
            truncated.match_probability);
  Session silent(load(model));
  EXPECT_NO_THROW(silent.match(silent.encode(model.image(model.image_names()[0])), {longer}));
}

// As many tokens of a text as the caller says, up to the model's positions.
TEST(Session, ReadsTextsUpToTheModelsPositions) {
  const Golden match = golden("match"), vqa = golden("vqa");
  std::vector<std::string> warnings;
  SessionOptions listening;
  listening.warning = [&](const std::string& message) { warnings.push_back(message); };
  const Engine engine = load(match);
  const int most = engine.info().max_text_length;
  ASSERT_EQ(engine.info().text_length, 35);
  ASSERT_GT(most, 38);
  Session session(engine, listening);
  const EncodedImage image = session.encode(match.image(match.image_names()[0]));
  std::string text;
  for (int i = 0; i < 12; ++i) text += "a red car ";  // 36 words
  const auto probability = [&](const std::string& of, int length) {
    return session.match(image, {of}, {.max_text_length = length}).front().match_probability;
  };
  const auto cut = probability(text, 0);
  EXPECT_EQ(probability(text, 35), cut);
  EXPECT_EQ(warnings.size(), 2u);
  const auto whole = probability(text, 38);
  EXPECT_EQ(warnings.size(), 2u);
  EXPECT_NE(whole, cut);
  EXPECT_EQ(probability(text, most), whole);
  EXPECT_EQ(probability("a red car", 3), probability("a", 3));
  const std::vector<std::string> texts{text};
  EXPECT_NE(session.embed(texts, {38}), session.embed(texts));
  for (const int length : {-1, 1, 2, most + 1}) {
    const Error error = error_of([&] { probability(text, length); });
    EXPECT_EQ(error.code(), ErrorCode::kUsage);
    EXPECT_NE(std::string(error.what()).find("max_text_length is " + std::to_string(length)),
              std::string::npos)
        << error.what();
    EXPECT_NE(std::string(error.what()).find("of 3 to " + std::to_string(most) + " tokens"),
              std::string::npos)
        << error.what();
  }
  Session asker(load(vqa), listening);
  const EncodedImage asked = asker.encode(vqa.image(vqa.image_names()[0]));
  warnings.clear();
  AskOptions options;
  options.max_text_length = 38;
  asker.ask(asked, text, options);
  EXPECT_TRUE(warnings.empty());
  asker.ask(asked, text);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_EQ(warnings[0].find("question truncated to 35 tokens"), 0u) << warnings[0];
}

// The prompt that a model's files state is the one of captions without another.
TEST(Session, UsesTheModelsOwnPrompt) {
  const Engine engine = Engine::load(std::string(BLIP_TEST_DATA) + "/model/combined",
                                     {.dtype = DType::kF32, .threads = 1});
  EXPECT_EQ(engine.info().prompt, "a red ");
  Session session(engine);
  const EncodedImage image =
      session.encode(golden("caption").image(golden("caption").image_names()[0]));
  const Generation own = session.caption(image);
  CaptionOptions options;
  options.prompt = "a red ";
  EXPECT_EQ(session.caption(image, options).token_ids, own.token_ids);
  EXPECT_EQ(std::vector<std::int32_t>(own.token_ids.begin(), own.token_ids.begin() + 3),
            (std::vector<std::int32_t>{125, 5, 10}));
  options.prompt = "";
  const Generation none = session.caption(image, options);
  EXPECT_EQ(none.token_ids.front(), 125);
  EXPECT_NE(none.token_ids, own.token_ids);
  const Attention unsaid = session.attention(image, own),
                  said = session.attention(image, own, {.prompt = "a red "});
  ASSERT_EQ(unsaid.words.size(), said.words.size());
  for (std::size_t i = 0; i < said.words.size(); ++i)
    EXPECT_EQ(unsaid.words[i].weights, said.words[i].weights);
}

// A text without a token in it is an empty one.
TEST(Session, RefusesTextsWithoutAToken) {
  const Golden match = golden("match"), vqa = golden("vqa");
  Session matcher(load(match)), asker(load(vqa));
  const EncodedImage m = matcher.encode(match.image(match.image_names()[0])),
                     a = asker.encode(vqa.image(vqa.image_names()[0]));
  const std::vector<std::string> answers{"yes", "\u200b"};
  for (const std::string text : {"", " \t", "\u200b", "\x01\x02", "\u200d \u0301"}) {
    const std::vector<std::string> texts{text};
    const std::pair<std::function<void()>, const char*> calls[] = {
        {[&] { matcher.match(m, texts); }, "empty text: give at least one word"},
        {[&] { matcher.embed(texts); }, "empty text: give at least one word"},
        {[&] { asker.ask(a, text); }, "empty question: give at least one word"},
        {[&] {
           asker.rank(a, text, {&answers[0], 1});
         },
         "empty question: give at least one word"},
        {[&] { asker.rank(a, "what?", answers); }, "empty answer: give at least one word"}};
    for (const auto& [call, message] : calls) {
      const Error error = error_of(call);
      EXPECT_EQ(error.code(), ErrorCode::kUsage);
      EXPECT_STREQ(error.what(), message);
    }
  }
}

// A caption that goes on inside the prompt's last word reads as the reference's: the whole is
// decoded, then the prompt goes.
TEST(Session, CutsThePromptOffTheWholeText) {
  const Golden model = golden("caption");
  Session session(load(model));
  CaptionOptions options;  // "a picture of ", then "##d"
  options.generate = {.beams = 1, .min_length = 9, .max_length = 9};
  std::vector<std::string> streamed;
  options.on_token = [&](std::int32_t, const std::string& text) { streamed.push_back(text); };
  const EncodedImage image = session.encode(model.image("2-211x77.jpg"));
  const Generation caption = session.caption(image, options);
  EXPECT_EQ(caption.text, "d there field bottom right");
  EXPECT_EQ(streamed,
            (std::vector<std::string>{"d", "d there", "d there field", "d there field bottom",
                                      "d there field bottom right"}));
  EXPECT_EQ(session.attention(image, caption).words.front().word, "d");
}

TEST(Session, NamesWhatAModelCannotDo) {
  const Golden caption = golden("caption"), match = golden("match"), vqa = golden("vqa");
  Session captioner(load(caption)), matcher(load(match)), asker(load(vqa));
  const Image picture = caption.image(caption.image_names()[0]);
  const EncodedImage c = captioner.encode(picture), m = matcher.encode(picture),
                     a = asker.encode(picture);
  const std::vector<std::string> answers = {"yes", "no"}, texts = {"a cat"};
  const std::pair<std::function<void()>, const char*> calls[] = {
      {[&] { captioner.match(c, {"a cat"}); }, "caption"},
      {[&] { captioner.ask(c, "what is this?"); }, "caption"},
      {[&] { captioner.embed(c); }, "caption"},
      {[&] { captioner.rank(c, "what?", answers); }, "caption"},
      {[&] { captioner.dump(Stage::kText, picture, "a cat"); }, "caption"},
      {[&] { matcher.caption(m); }, "match"},
      {[&] { matcher.ask(m, "what is this?"); }, "match"},
      {[&] { asker.caption(a); }, "ask"},
      {[&] { asker.match(a, {"a cat"}); }, "ask"},
      {[&] { asker.embed(texts); }, "ask"},
      {[&] { matcher.dump(Stage::kQuestion, picture, "what?"); }, "match"}};
  for (const auto& [call, has] : calls) {
    const Error error = error_of(call);
    EXPECT_EQ(error.code(), ErrorCode::kUnsupported) << error.what();
    EXPECT_NE(std::string(error.what()).find(std::string("it can: ") + has), std::string::npos)
        << error.what();
  }
}

TEST(Session, RefusesBadInput) {
  const Golden caption = golden("caption"), match = golden("match"), vqa = golden("vqa");
  Session captioner(load(caption)), matcher(load(match)), asker(load(vqa));
  const Image picture = caption.image(caption.image_names()[0]);
  const EncodedImage c = captioner.encode(picture), m = matcher.encode(picture),
                     a = asker.encode(picture);
  const std::vector<std::string> none;
  const auto with = [](auto change) {
    CaptionOptions options;
    change(options.generate);
    return options;
  };
  const std::function<void()> calls[] = {
      [&] { matcher.match(m, {""}); },
      [&] { matcher.match(m, {" \t\n"}); },
      [&] { asker.ask(a, ""); },
      [&] { asker.rank(a, "what?", none); },
      [&] { matcher.match(c, {"a cat"}); },  // another engine's picture
      [&] { captioner.caption(c, with([](auto& g) { g.beams = 0; })); },
      [&] {
        captioner.caption(c, with([](auto& g) { g.max_length = 1000; }));
      },  // the model has 48 positions
      [&] { captioner.caption(c, with([](auto& g) { g.num_return = 4; })); },  // of 3 beams
      [&] { captioner.caption(c, with([](auto& g) { g.repetition_penalty = 0; })); },
      [&] {
        captioner.caption(c, with([](auto& g) { g.max_length = 3; }));
      },  // the prompt alone has 4 tokens
  };
  int call_number = 0;
  for (const auto& call : calls) {
    const Error error = error_of(call);
    EXPECT_EQ(error.code(), ErrorCode::kUsage) << call_number;
    EXPECT_STRNE(error.what(), "nothing was thrown") << call_number;
    ++call_number;
  }
}

// Samples are the same for the same seed on any thread count, differ between seeds, and stream
// their tokens.
TEST(Session, SamplesBySeed) {
  const Golden model = golden("caption");
  CaptionOptions options;
  options.generate.sample = true;
  options.generate.num_return = 4;
  options.generate.temperature = 1.5f;
  std::vector<std::vector<std::string>> texts;
  for (const auto& [seed, threads] : {std::pair{7, 1}, {7, 2}, {8, 1}}) {
    Session session(load(model, threads));
    options.generate.seed = static_cast<std::uint64_t>(seed);
    const Generation got =
        session.caption(session.encode(model.image(model.image_names()[1])), options);
    texts.emplace_back();
    for (const auto& text : got.all) texts.back().push_back(text.text);
  }
  EXPECT_EQ(texts[0].size(), 4u);
  EXPECT_EQ(texts[0], texts[1]);
  EXPECT_NE(texts[0], texts[2]);
}

TEST(Session, StreamsGreedyTokens) {
  const Golden model = golden("caption");
  Session session(load(model));
  CaptionOptions options;
  options.generate.beams = 1;
  std::vector<std::int32_t> streamed;
  std::string last;
  options.on_token = [&](std::int32_t id, const std::string& text) {
    streamed.push_back(id);
    last = text;
  };
  const Generation got =
      session.caption(session.encode(model.image(model.image_names()[1])), options);
  ASSERT_GT(streamed.size(), 2u);
  EXPECT_TRUE(std::equal(streamed.rbegin(), streamed.rend(), got.token_ids.rbegin()));
  EXPECT_EQ(streamed.size() + 4, got.token_ids.size());  // [DEC] a picture of
  EXPECT_EQ(last, got.text);
}

TEST(Session, ToldHowManyTokensTextsBeginWith) {
  const Golden model = golden("caption");
  const Engine engine = load(model);
  Session session(engine);
  const EncodedImage image = session.encode(model.image(model.image_names()[1]));
  EXPECT_EQ(engine.caption_prompt_tokens(), 4u);
  EXPECT_EQ(engine.answer_prompt_tokens(), 1u);
  for (const std::string prompt : {"", "a picture of ", "two people"}) {
    std::size_t generated = 0;
    CaptionOptions options{.prompt = prompt};
    options.generate.beams = 1;
    options.on_token = [&](std::int32_t, const std::string&) { ++generated; };
    const Generation caption = session.caption(image, options);
    EXPECT_EQ(generated + engine.caption_prompt_tokens(prompt), caption.token_ids.size()) << prompt;
  }
}

// One pass over many questions of different lengths, or over more texts than a pass holds, equals
// one at a time.
TEST(Session, BatchesOfTextsEqualSingles) {
  const Golden vqa = golden("vqa"), match = golden("match");
  Session asker(load(vqa)), matcher(load(match, 2));
  const EncodedImage a = asker.encode(vqa.image(vqa.image_names()[2])),
                     m = matcher.encode(match.image(match.image_names()[2]));
  const std::vector<std::string> questions = {
      "what is this?", "how many dogs are there in the big red house near the sea?", "where?"};
  const auto together = asker.ask(a, questions);
  for (std::size_t i = 0; i < questions.size(); ++i)
    EXPECT_EQ(together[i].token_ids, asker.ask(a, questions[i]).token_ids) << questions[i];

  std::vector<std::string> texts;
  for (int i = 0; i < 70; ++i)
    texts.push_back(std::to_string(i) + " cats and " +
                    std::string(static_cast<std::size_t>(i % 9), '!') + " a dog");
  const auto all = matcher.match(m, texts);
  ASSERT_EQ(all.size(), texts.size());
  for (std::size_t i = 0; i < texts.size(); i += 3) {
    const Match one = matcher.match(m, {texts[i]}).front();
    EXPECT_NEAR(*all[i].match_probability, *one.match_probability, 1e-5) << texts[i];
    EXPECT_NEAR(*all[i].cosine, *one.cosine, 1e-5) << texts[i];
  }
  const auto itm = matcher.match(m, texts, {MatchHead::kItm}),
             itc = matcher.match(m, texts, {MatchHead::kItc});
  for (std::size_t i = 0; i < texts.size(); ++i) {
    EXPECT_EQ(itm[i].match_probability, all[i].match_probability);
    EXPECT_EQ(itc[i].cosine, all[i].cosine);
    EXPECT_FALSE(itm[i].cosine || itc[i].match_probability);
  }
}

}  // namespace
}  // namespace blip::parity
