// What a session gives for a picture and a text is the same, bit for bit, whatever the threads, the
// batch, the texts beside it and their order.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <optional>

#include "golden.h"

namespace blip::parity {
namespace {

const std::filesystem::path kData = std::filesystem::path(BLIP_TEST_DATA) / "parity";
const std::string kBundled = std::string(BLIP_SOURCE_DIR) + "/models/blip-demo.gguf";

// Null where this machine lacks the type.
std::optional<Engine> load(const std::string& path, DType dtype, int threads) {
  EngineOptions options;
  options.dtype = dtype;
  options.threads = threads;
  try {
    return Engine::load(path, options);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUsage) << error.what();
    return std::nullopt;
  }
}

// body(engine, where) for every type and some numbers of threads.
void for_each_engine(const std::string& path,
                     const std::function<void(const Engine&, const std::string&)>& body) {
  for (const DType dtype : {DType::kF32, DType::kBf16, DType::kInt8})
    for (const int threads : {1, 2, 5}) {
      const auto engine = load(path, dtype, threads);
      if (engine)
        body(*engine, std::string(to_string(dtype)) + ", " + std::to_string(threads) + " threads");
    }
}

std::vector<Image> pictures() {
  std::vector<Image> images;
  for (const char* name : {"0-61x47.png", "1-90x133.jpg", "2-211x77.jpg"})
    images.push_back(Image::from_file((kData / "images" / name).string()));
  for (const char* name : {"clock", "cat-bus", "fox-crown", "balloons"}) {
    const std::string path = std::string(BLIP_SOURCE_DIR) + "/demo/scenes/" + name + ".png";
    images.push_back(Image::from_file(path));
  }
  return images;
}

// A float's bits, so that nothing is compared as almost equal.
std::string bits(float value) {
  std::uint32_t b;
  std::memcpy(&b, &value, sizeof(b));
  return std::to_string(b);
}
std::string bits(std::span<const float> values) {
  std::string all;
  for (const float value : values) all += bits(value) + " ";
  return all;
}
std::string told(const Generation& generation) {
  std::string all;
  for (const Text& text : generation.all) {
    for (const auto id : text.token_ids) all += std::to_string(id) + " ";
    all += bits(text.score) + "; ";
  }
  return all;
}
std::string told(const Match& match) {
  return (match.match_probability ? bits(*match.match_probability) : "none") + " " +
         (match.cosine ? bits(*match.cosine) : "none");
}

// What must be the same for every engine of one type; the first to come says it.
class Answers {
 public:
  void expect(const std::string& type, const std::string& what, const std::string& got,
              const std::string& where) {
    const auto [known, added] = answers_.try_emplace(type + " " + what, got);
    EXPECT_EQ(known->second, got) << where << ": " << what;
    count_ += !added;
  }
  int compared() const { return count_; }

 private:
  std::map<std::string, std::string> answers_;
  int count_ = 0;
};

std::vector<CaptionOptions> ways() {
  std::vector<CaptionOptions> all(4);
  all[0].generate.beams = 1;
  all[1].generate.num_return = 3;
  all[2].generate.beams = 1;  // few rows in all: the picture's own tokens are looked at
  all[2].generate.max_length = 9;
  all[3].generate.sample = true;
  all[3].generate.seed = 7;
  return all;
}

void caption_in_every_company(const Engine& engine, const std::string& where, Answers& answers) {
  Session session(engine);
  const std::string type = to_string(engine.dtype());
  const auto images = pictures();
  const std::size_t n = images.size();
  const auto options = ways();
  for (const std::size_t batch : {std::size_t{1}, std::size_t{2}, n})
    for (const bool backwards : {false, true}) {
      for (std::size_t first = 0; first < n; first += batch) {
        std::vector<Image> part;
        std::vector<std::size_t> which;
        for (std::size_t i = first; i < std::min(n, first + batch); ++i) {
          which.push_back(backwards ? n - 1 - i : i);
          part.push_back(images[which.back()]);
        }
        const auto encoded = session.encode(part);
        for (std::size_t w = 0; w < options.size(); ++w) {
          const auto captions = session.caption(encoded, options[w]);
          for (std::size_t i = 0; i < part.size(); ++i)
            answers.expect(
                type, "caption " + std::to_string(w) + " of picture " + std::to_string(which[i]),
                told(captions[i]), where + ", batch " + std::to_string(batch));
        }
      }
    }
}

TEST(OneAnswer, CaptionsInEveryCompany) {
  for (const std::string& path : {Golden(kData / "caption").model_path(), kBundled}) {
    Answers answers;
    for_each_engine(path, [&](const Engine& engine, const std::string& where) {
      caption_in_every_company(engine, where, answers);
    });
    EXPECT_GT(answers.compared(), 50);
  }
}

std::vector<std::string> many_texts() {
  std::vector<std::string> texts;
  for (const char* subject : {"a cat", "a dog and a fish", "the clock",
                              "two trains above a boat on a blue background", "x"})
    for (const char* place :
         {"", " on a table", " to the left of a snail", " in the snow with nobody near it"})
      for (const char* end : {"", " today"}) texts.push_back(std::string(subject) + place + end);
  return texts;
}

// Every text alone and among its neighbours, forwards and backwards.
void texts_in_every_company(const Engine& engine, const std::string& where, Answers& answers) {
  Session session(engine);
  const std::string type = to_string(engine.dtype());
  auto texts = many_texts();
  const auto image = session.encode(pictures().front());
  for (const std::size_t together :
       {std::size_t{1}, std::size_t{3}, std::size_t{10}, texts.size()}) {
    for (std::size_t first = 0; first < texts.size(); first += together) {
      const auto part = std::span(texts).subspan(first, std::min(together, texts.size() - first));
      if (engine.info().can_match_itm || engine.info().can_match_itc) {
        const auto matches = session.match(image, part);
        for (std::size_t i = 0; i < part.size(); ++i)
          answers.expect(type, "match " + part[i], told(matches[i]),
                         where + ", " + std::to_string(together) + " texts");
      }
      if (engine.info().can_match_itc) {
        const auto vectors = session.embed(part);
        for (std::size_t i = 0; i < part.size(); ++i)
          answers.expect(type, "embed " + part[i], bits(vectors[i]),
                         where + ", " + std::to_string(together) + " texts");
      }
      if (engine.info().can_ask) {
        const auto given = session.ask(image, part);
        for (std::size_t i = 0; i < part.size(); ++i)
          answers.expect(type, "ask " + part[i], told(given[i]),
                         where + ", " + std::to_string(together) + " questions");
      }
    }
    std::reverse(texts.begin(), texts.end());
  }
}

TEST(OneAnswer, TextsAndQuestionsInEveryCompany) {
  for (const std::string& path :
       {Golden(kData / "match").model_path(), Golden(kData / "vqa").model_path(), kBundled}) {
    Answers answers;
    for_each_engine(path, [&](const Engine& engine, const std::string& where) {
      texts_in_every_company(engine, where, answers);
    });
    EXPECT_GT(answers.compared(), 100) << path;
  }
}

// Answers of a list: each one's loss, whatever else is on the list.
TEST(OneAnswer, RankedAnswersInEveryCompany) {
  for (const std::string& path : {Golden(kData / "vqa").model_path(), kBundled}) {
    Answers answers;
    for_each_engine(path, [&](const Engine& engine, const std::string& where) {
      if (!engine.info().can_rank) return;
      Session session(engine);
      auto texts = many_texts();
      const auto image = session.encode(pictures().front());
      for (const std::size_t together : {std::size_t{1}, std::size_t{4}, texts.size()}) {
        for (std::size_t first = 0; first < texts.size(); first += together) {
          const auto part =
              std::span(texts).subspan(first, std::min(together, texts.size() - first));
          for (const Text& answer : session.rank(image, "what is this?", part).all)
            answers.expect(to_string(engine.dtype()), "rank " + answer.text, bits(answer.score),
                           where);
        }
        std::reverse(texts.begin(), texts.end());
      }
    });
    EXPECT_GT(answers.compared(), 50) << path;
  }
}

// A statement about two pictures, whatever other statements and pairs there are.
TEST(OneAnswer, StatementsInEveryCompany) {
  const std::string path = std::string(BLIP_TEST_DATA) + "/nlvr/model.pth";
  Answers answers;
  for_each_engine(path, [&](const Engine& engine, const std::string& where) {
    Session session(engine);
    const auto images = session.encode(pictures());
    auto texts = many_texts();
    for (const std::size_t together : {std::size_t{1}, std::size_t{3}, texts.size()}) {
      for (const std::size_t second : {std::size_t{0}, std::size_t{2}})
        for (std::size_t first = 0; first < texts.size(); first += together) {
          const auto part =
              std::span(texts).subspan(first, std::min(together, texts.size() - first));
          const auto given = session.nlvr(images[1], images[second], part);
          for (std::size_t i = 0; i < part.size(); ++i)
            answers.expect(to_string(engine.dtype()),
                           std::to_string(second) + ", statement " + part[i], bits(given[i]),
                           where + ", " + std::to_string(together) + " statements");
        }
      std::reverse(texts.begin(), texts.end());
    }
  });
  EXPECT_GT(answers.compared(), 500);
}

// Pictures' vectors and hidden states in batches.
TEST(OneAnswer, PicturesInEveryBatch) {
  for (const std::string& path : {Golden(kData / "match").model_path(), kBundled}) {
    Answers answers;
    for_each_engine(path, [&](const Engine& engine, const std::string& where) {
      Session session(engine);
      const auto images = pictures();
      const auto together = session.encode(images);
      for (std::size_t i = 0; i < images.size(); ++i)
        for (const auto& encoded : {together[i], session.encode(images[i])})
          if (engine.info().can_match_itc)
            answers.expect(to_string(engine.dtype()), "vector of picture " + std::to_string(i),
                           bits(session.embed(encoded)), where);
    });
    EXPECT_GT(answers.compared(), 5) << path;
  }
}

}  // namespace
}  // namespace blip::parity
