// A session and its callbacks: used from within one, left by an exception, and after a fork.
#include <gtest/gtest.h>

#include <functional>
#include <optional>
#include <stdexcept>
#include <thread>

#include "golden.h"
#include "in_child.h"

namespace blip::parity {
namespace {

const std::filesystem::path kData = std::filesystem::path(BLIP_TEST_DATA) / "parity";

struct Loaded {
  explicit Loaded(const char* name, int threads = 2)
      : golden(kData / name),
        engine(load(golden.model_path(), threads)),
        picture(golden.image(golden.image_names()[0])) {}
  Golden golden;
  Engine engine;
  Image picture;
};

CaptionOptions greedy() {
  CaptionOptions options;
  options.generate.beams = 1;
  options.generate.min_length = 15;  // enough tokens to call back for
  return options;
}

const std::string kAtWork =
    "this session is at work: it was used from one of its own callbacks or from a second thread; "
    "make another session for that";

TEST(Callbacks, ASessionWithinItsOwnIsRefusedAndStaysUsable) {
  const Loaded model("caption");
  std::optional<Session> session;
  std::optional<EncodedImage> image;
  std::vector<std::string> errors;
  int calls = 0;
  const auto use = [&](const std::function<void()>& call) {
    try {
      call();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kUsage);
      errors.emplace_back(error.what());
    }
  };
  SessionOptions options;
  bool within = false;
  options.cancel = [&] {
    if (within) {
      ++calls;
      use([&] { session->encode(model.picture); });
      use([&] { session->dump(Stage::kVision, model.picture); });
    }
    return false;
  };
  session.emplace(model.engine, options);
  image = session->encode(model.picture);
  const Generation alone = session->caption(*image, greedy());
  within = true;
  CaptionOptions caption = greedy();
  Session other(model.engine);
  std::string of_other;
  caption.on_token = [&](std::int32_t, const std::string&) {
    ++calls;
    use([&] { session->caption(*image); });
    use([&] { session->attention(*image, alone); });
    of_other = other.caption(*image, greedy()).text;  // another session of the same engine works
  };
  const Generation told = session->caption(*image, caption);
  within = false;
  EXPECT_GT(calls, 2);
  EXPECT_EQ(errors.size(), static_cast<std::size_t>(2 * calls));
  for (const auto& error : errors) EXPECT_EQ(error, kAtWork);
  EXPECT_EQ(told.token_ids, alone.token_ids);
  EXPECT_EQ(of_other, alone.text);
  EXPECT_EQ(session->caption(*image, greedy()).token_ids, alone.token_ids);
}

// Whatever a callback throws comes out of the call as it is, and the session goes on as if the call
// had not been.
TEST(Callbacks, AnExceptionComesOutAndTheSessionStaysUsable) {
  const Loaded model("caption");
  int polls = 0, limit = 1 << 20;
  SessionOptions options;
  options.cancel = [&] {
    if (++polls > limit) throw std::runtime_error("from cancel");
    return false;
  };
  Session session(model.engine, options);
  const EncodedImage image = session.encode(model.picture);
  CaptionOptions beams;
  beams.generate.min_length = greedy().generate.min_length;
  const auto whole = session.caption(image, beams).token_ids;
  const auto alone = session.caption(image, greedy()).token_ids;
  int told = 0;
  CaptionOptions counting = greedy();
  counting.on_token = [&](std::int32_t, const std::string&) { ++told; };
  session.caption(image, counting);
  ASSERT_GT(told, 1);
  for (int at = 0; at < told; ++at) {
    polls = 0;
    limit = at;
    EXPECT_THROW(session.caption(image, beams), std::runtime_error);
    limit = 1 << 20;
    int tokens = 0;
    CaptionOptions throwing = greedy();
    throwing.on_token = [&](std::int32_t, const std::string&) {
      if (tokens++ == at) throw std::out_of_range("from on_token");
    };
    EXPECT_THROW(session.caption(image, throwing), std::out_of_range);
    EXPECT_EQ(session.caption(image, beams).token_ids, whole);
    EXPECT_EQ(session.caption(image, greedy()).token_ids, alone);
  }
}

TEST(Callbacks, AnExceptionOfAWarningComesOut) {
  const Loaded model("match");
  bool throws = true;
  SessionOptions options;
  options.warning = [&](const std::string&) {
    if (throws) throw std::logic_error("from warning");
  };
  Session session(model.engine, options);
  const EncodedImage image = session.encode(model.picture);
  std::string words;
  for (int i = 0; i < 60; ++i) words += "a ";
  EXPECT_THROW(session.match(image, {words}), std::logic_error);
  throws = false;
  EXPECT_EQ(session.match(image, {words}).size(), 1u);
}

TEST(Callbacks, AnExceptionOfProgressEndsLoading) {
  const Golden golden(kData / "caption");
  EngineOptions options;
  std::size_t limit = 0;
  options.progress = [&](const char*, std::size_t done, std::size_t) {
    if (done >= limit) throw std::runtime_error("from progress");
  };
  for (const std::size_t at : {1, 5, 20}) {
    limit = at;
    EXPECT_THROW(Engine::load(golden.model_path(), options), std::runtime_error);
  }
  limit = 1 << 20;
  EXPECT_NO_THROW(Engine::load(golden.model_path(), options));
}

TEST(Fork, AnEngineWorksInTheChildAndInTheParent) {
  SKIP_WITHOUT_THREADS_AFTER_FORK();
  auto model = std::make_unique<Loaded>("caption", 3);
  auto session = std::make_unique<Session>(model->engine);
  const EncodedImage image = session->encode(model->picture);
  const auto ids = session->caption(image).token_ids;
  const auto works = [&] {
    Session anew(model->engine);
    return session->caption(image).token_ids == ids &&
           anew.caption(anew.encode(model->picture)).token_ids == ids;
  };
  EXPECT_TRUE(in_child(works));
  EXPECT_TRUE(in_child([&] {  // unused, then given back
    session.reset();
    model.reset();
    return true;
  }));
  std::thread beside([&] {  // the parent goes on meanwhile
    for (int i = 0; i < 5; ++i) EXPECT_EQ(Session(model->engine).caption(image).token_ids, ids);
  });
  EXPECT_TRUE(in_child([&] {
    Session anew(model->engine);
    return anew.caption(anew.encode(model->picture)).token_ids == ids;
  }));
  beside.join();
  EXPECT_TRUE(works());
}

}  // namespace
}  // namespace blip::parity
