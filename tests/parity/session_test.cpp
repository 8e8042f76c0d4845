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

// Pictures encoded once and used by sessions on several threads at the same time, over the engine's own two threads.
TEST(Session, SharesEngineAndPicturesBetweenThreads) {
  for (const char* name : {"caption", "match", "vqa"}) {
    const Golden model = golden(name);
    const Engine engine = load(model, 2);
    Session first(engine);
    const auto encoded = encode_all(model, first);  // their cross-attention keys are still to be made: the threads race for them
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
  EXPECT_EQ(session.caption(image).token_ids, whole.token_ids);  // nothing is left over from the cancelled calls
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
  EXPECT_EQ(session.match(image, {longer + "and a cat"}).front().match_probability, truncated.match_probability);
  Session silent(load(model));
  EXPECT_NO_THROW(silent.match(silent.encode(model.image(model.image_names()[0])), {longer}));
}

TEST(Session, NamesWhatAModelCannotDo) {
  const Golden caption = golden("caption"), match = golden("match"), vqa = golden("vqa");
  Session captioner(load(caption)), matcher(load(match)), asker(load(vqa));
  const Image picture = caption.image(caption.image_names()[0]);
  const EncodedImage c = captioner.encode(picture), m = matcher.encode(picture), a = asker.encode(picture);
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
    EXPECT_NE(std::string(error.what()).find(std::string("it can: ") + has), std::string::npos) << error.what();
  }
}

TEST(Session, RefusesBadInput) {
  const Golden caption = golden("caption"), match = golden("match"), vqa = golden("vqa");
  Session captioner(load(caption)), matcher(load(match)), asker(load(vqa));
  const Image picture = caption.image(caption.image_names()[0]);
  const EncodedImage c = captioner.encode(picture), m = matcher.encode(picture), a = asker.encode(picture);
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
      [&] { captioner.caption(c, with([](auto& g) { g.max_length = 1000; })); },  // the model has 48 positions
      [&] { captioner.caption(c, with([](auto& g) { g.num_return = 4; })); },     // of 3 beams
      [&] { captioner.caption(c, with([](auto& g) { g.repetition_penalty = 0; })); },
      [&] { captioner.caption(c, with([](auto& g) { g.max_length = 3; })); },  // the prompt alone has 4 tokens
  };
  int call_number = 0;
  for (const auto& call : calls) {
    const Error error = error_of(call);
    EXPECT_EQ(error.code(), ErrorCode::kUsage) << call_number;
    EXPECT_STRNE(error.what(), "nothing was thrown") << call_number;
    ++call_number;
  }
}

// Samples are the same for the same seed on any thread count, differ between seeds, and stream their tokens.
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
    const Generation got = session.caption(session.encode(model.image(model.image_names()[1])), options);
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
  const Generation got = session.caption(session.encode(model.image(model.image_names()[1])), options);
  ASSERT_GT(streamed.size(), 2u);
  EXPECT_TRUE(std::equal(streamed.rbegin(), streamed.rend(), got.token_ids.rbegin()));
  EXPECT_EQ(streamed.size() + 4, got.token_ids.size());  // [DEC] a picture of
  EXPECT_EQ(last, got.text);
}

// One pass over many questions of different lengths, or over more texts than a pass holds, equals one at a time.
TEST(Session, BatchesOfTextsEqualSingles) {
  const Golden vqa = golden("vqa"), match = golden("match");
  Session asker(load(vqa)), matcher(load(match, 2));
  const EncodedImage a = asker.encode(vqa.image(vqa.image_names()[2])), m = matcher.encode(match.image(match.image_names()[2]));
  const std::vector<std::string> questions = {"what is this?", "how many dogs are there in the big red house near the sea?",
                                              "where?"};
  const auto together = asker.ask(a, questions);
  for (std::size_t i = 0; i < questions.size(); ++i)
    EXPECT_EQ(together[i].token_ids, asker.ask(a, questions[i]).token_ids) << questions[i];

  std::vector<std::string> texts;
  for (int i = 0; i < 70; ++i)
    texts.push_back(std::to_string(i) + " cats and " + std::string(static_cast<std::size_t>(i % 9), '!') + " a dog");
  const auto all = matcher.match(m, texts);
  ASSERT_EQ(all.size(), texts.size());
  for (std::size_t i = 0; i < texts.size(); i += 3) {
    const Match one = matcher.match(m, {texts[i]}).front();
    EXPECT_NEAR(*all[i].match_probability, *one.match_probability, 1e-5) << texts[i];
    EXPECT_NEAR(*all[i].cosine, *one.cosine, 1e-5) << texts[i];
  }
  const auto itm = matcher.match(m, texts, {MatchHead::kItm}), itc = matcher.match(m, texts, {MatchHead::kItc});
  for (std::size_t i = 0; i < texts.size(); ++i) {
    EXPECT_EQ(itm[i].match_probability, all[i].match_probability);
    EXPECT_EQ(itc[i].cosine, all[i].cosine);
    EXPECT_FALSE(itm[i].cosine || itc[i].match_probability);
  }
}

}  // namespace
}  // namespace blip::parity
