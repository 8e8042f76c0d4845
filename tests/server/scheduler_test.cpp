// A model's queue over the bundled model: batches, deadlines, cancelling, a full queue, the end.
#include <gtest/gtest.h>

#include <thread>

#include "server/models.h"
#include "server/problem.h"

namespace blip::server {
namespace {

const std::string kSource = BLIP_SOURCE_DIR;

Engine load(int threads) {
  EngineOptions options;
  options.threads = threads;
  return Engine::load(kSource + "/models/blip-demo.gguf", options);
}

// One thread: one lane, whatever the machine.
const Engine& engine() {
  static const Engine loaded = load(1);
  return loaded;
}

const std::vector<std::string> kSix = {"cat-bus.png", "clock.png", "balloons.png", "fox-crown.png", "robot-pizzas.png", "pencil-dog-turtle.png"};

Image scene(const std::string& name) { return Image::from_file(kSource + "/demo/scenes/" + name); }

class Queue : public testing::Test {
 protected:
  Model& start(SchedulerOptions options, std::size_t cache_entries = 8, const Engine& loaded = engine()) {
    metrics_.describe("blip_batch_size", "", {1, 2, 4, 8});
    model_ = std::make_unique<Model>("demo", loaded, options, cache_entries, std::size_t{1} << 30, metrics_, preparing_);
    return *model_;
  }

  Job job(Task task, const std::string& picture = "cat-bus.png") {
    Job job;
    job.task = task;
    job.ticket = std::make_shared<Ticket>();
    job.picture = Picture{content_hash(picture), scene(picture), std::nullopt, 0};
    return job;
  }
  Job question(const std::string& text, const std::string& picture = "cat-bus.png") {
    Job asked = job(Task::kAsk, picture);
    asked.question = text;
    return asked;
  }

  static std::vector<Job> list(Job one) {
    std::vector<Job> jobs;
    jobs.push_back(std::move(one));
    return jobs;
  }
  JobResult run(Job one) { return take(model_->scheduler.submit(list(std::move(one))).front()); }

  double metric(const std::string& line) const {
    const std::string text = metrics_.text();
    const std::size_t at = text.find("\n" + line + " ");
    return at == std::string::npos ? 0 : std::stod(text.substr(at + line.size() + 2));
  }

  Metrics metrics_;
  std::atomic<int> preparing_{0};
  std::unique_ptr<Model> model_;
};

TEST_F(Queue, QuestionsAboutOnePictureShareAPass) {
  start({});
  std::vector<Job> jobs;
  for (const char* text : {"what animal is this?", "is there a bus?", "is there a clock?"}) jobs.push_back(question(text));
  auto futures = model_->scheduler.submit(std::move(jobs));
  Session session(engine());
  const EncodedImage image = session.encode(scene("cat-bus.png"));
  for (const char* text : {"what animal is this?", "is there a bus?", "is there a clock?"}) {
    const JobResult result = take(futures[0]);
    futures.erase(futures.begin());
    EXPECT_EQ(result.generation.text, session.ask(image, text).text);
    EXPECT_EQ(result.batch, 3);
    EXPECT_FALSE(result.cached);
  }
  EXPECT_EQ(metric("blip_batch_size_sum{task=\"encode\"}"), 1);  // one picture, once
  EXPECT_EQ(metric("blip_batch_size_count{task=\"ask\"}"), 1);
  EXPECT_TRUE(run(question("is there a bus?")).cached);
}

TEST_F(Queue, OptionsAndPicturesThatDifferDoNotMix) {
  start({});
  std::vector<Job> jobs;
  jobs.push_back(question("is there a bus?"));
  jobs.push_back(question("is there a bus?", "clock.png"));
  jobs.push_back(question("is there a bus?"));
  jobs.back().ask.generate.beams = 1;
  jobs.push_back(job(Task::kCaption));
  jobs.push_back(job(Task::kCaption, "clock.png"));
  auto futures = model_->scheduler.submit(std::move(jobs));
  const std::vector<std::string> texts = {"yes", "no", "yes", "a cat to the left of a bus on a pink background", "a clock on a gray background"};
  const std::vector<int> batches = {1, 1, 1, 2, 2};
  for (std::size_t i = 0; i < futures.size(); ++i) {
    const JobResult result = take(futures[i]);
    EXPECT_EQ(result.generation.text, texts[i]);
    EXPECT_EQ(result.batch, batches[i]) << texts[i];
  }
}

TEST_F(Queue, ABatchHasFourNewPicturesAtMost) {
  start({});
  const std::vector<std::string>& names = kSix;
  std::vector<Job> jobs;
  for (const std::string& name : names) jobs.push_back(job(Task::kCaption, name));
  auto futures = model_->scheduler.submit(std::move(jobs));
  for (std::size_t i = 0; i < futures.size(); ++i) EXPECT_EQ(take(futures[i]).batch, i < 4 ? 4 : 2) << names[i];
  jobs.clear();
  for (const std::string& name : names) jobs.push_back(job(Task::kCaption, name));
  for (Job& known : jobs) known.picture->encoded = model_->cache.find(known.picture->hash);
  futures = model_->scheduler.submit(std::move(jobs));
  for (auto& future : futures) EXPECT_EQ(take(future).batch, 6);
}

TEST_F(Queue, LanesShareNewPicturesAndGiveTheSameTexts) {
  start({});
  std::vector<std::string> alone;
  for (const std::string& name : kSix) alone.push_back(run(job(Task::kCaption, name)).generation.text);
  start({}, 8, load(2));
  std::vector<Job> jobs;
  for (const std::string& name : kSix) jobs.push_back(job(Task::kCaption, name));
  auto futures = model_->scheduler.submit(std::move(jobs));
  for (std::size_t i = 0; i < futures.size(); ++i) {
    const JobResult result = take(futures[i]);
    EXPECT_EQ(result.generation.text, alone[i]);
    EXPECT_EQ(result.batch, 2) << kSix[i];
  }
  // Nothing new: all threads take it together.
  jobs.clear();
  for (const std::string& name : kSix) {
    jobs.push_back(job(Task::kCaption, name));
    jobs.back().picture->encoded = model_->cache.find(jobs.back().picture->hash);
  }
  futures = model_->scheduler.submit(std::move(jobs));
  for (auto& future : futures) EXPECT_EQ(take(future).batch, 6);
}

TEST_F(Queue, ManyThreadsSubmitToManyLanes) {
  start({.max_batch = 3, .window_ms = 0.2}, 3, load(4));
  std::vector<std::thread> threads;
  std::atomic<int> right{0};
  for (std::size_t i = 0; i < 8; ++i)
    threads.emplace_back([&, i] {
      for (std::size_t round = 0; round < 6; ++round) {
        const std::string& name = kSix[(i + round) % kSix.size()];
        if (round % 2 == 0) right += run(question("is there a bus?", name)).generation.text == (name == "cat-bus.png" ? "yes" : "no");
        else right += !run(job(Task::kCaption, name)).generation.text.empty();
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, 48);
}

TEST_F(Queue, AllOfARequestsJobsOrNone) {
  start({.queue_limit = 2, .max_batch = 1, .window_ms = 0});
  std::vector<Job> three;
  for (int i = 0; i < 3; ++i) three.push_back(job(Task::kCaption));
  EXPECT_THROW(model_->scheduler.submit(std::move(three)), Problem);
  EXPECT_EQ(model_->scheduler.waiting(), 0u);
  EXPECT_EQ(run(job(Task::kCaption, "clock.png")).generation.text, "a clock on a gray background");
}

TEST_F(Queue, WhatIsOverIsNotComputed) {
  start({});
  Job late = job(Task::kCaption), given_up = job(Task::kCaption), wanted = job(Task::kCaption, "clock.png");
  late.ticket->deadline = Clock::now() - std::chrono::seconds(1);
  given_up.ticket->cancelled = true;
  std::vector<Job> jobs;
  for (Job* one : {&late, &given_up, &wanted}) jobs.push_back(std::move(*one));
  auto futures = model_->scheduler.submit(std::move(jobs));
  try {
    take(futures[0]);
    FAIL() << "a late job was computed";
  } catch (const Problem& problem) {
    EXPECT_STREQ(problem.kind().code, "deadline_exceeded");
  }
  try {
    take(futures[1]);
    FAIL() << "a cancelled job was computed";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCancelled);
  }
  EXPECT_EQ(take(futures[2]).batch, 1);
  EXPECT_EQ(metric("blip_batch_size_sum{task=\"encode\"}"), 1);
}

TEST_F(Queue, CancellingStopsWhatRuns) {
  start({.max_batch = 1, .window_ms = 0});
  Job endless = job(Task::kCaption);
  endless.caption.generate = {.beams = 1, .min_length = 90, .max_length = 96};
  std::atomic<int> tokens{0};
  endless.caption.on_token = [&tokens, ticket = endless.ticket](std::int32_t, const std::string&) {
    if (++tokens == 3) ticket->cancelled = true;
  };
  EXPECT_THROW(run(std::move(endless)), Error);
  EXPECT_LE(tokens, 4);
  EXPECT_EQ(run(job(Task::kCaption, "clock.png")).generation.text, "a clock on a gray background");
}

TEST_F(Queue, OneBadInputDoesNotFailTheOthers) {
  start({});
  std::vector<Job> jobs;
  jobs.push_back(question("is there a bus?"));
  jobs.push_back(question(" "));  // an empty text is an error of the session
  auto futures = model_->scheduler.submit(std::move(jobs));
  EXPECT_EQ(take(futures[0]).generation.text, "yes");
  EXPECT_THROW(take(futures[1]), Error);
}

TEST_F(Queue, WarningsGoToTheirSender) {
  start({});
  std::string lengthy;
  for (int i = 0; i < 40; ++i) lengthy += "bus ";
  std::vector<Job> jobs;
  jobs.push_back(question(lengthy));
  jobs.push_back(question("is there a bus?"));
  auto futures = model_->scheduler.submit(std::move(jobs));
  EXPECT_EQ(take(futures[0]).warnings.size(), 1u);
  EXPECT_TRUE(take(futures[1]).warnings.empty());
}

TEST_F(Queue, AttentionComesWithTheTextAndOfAGivenText) {
  start({});
  Job both = job(Task::kCaption);
  both.attention = AttentionOptions();
  const JobResult written = run(std::move(both));
  Job read = job(Task::kAttention);
  read.attention = AttentionOptions();
  read.texts = {written.generation.text};
  const JobResult given = run(std::move(read));
  ASSERT_EQ(written.attention->words.size(), 12u);
  EXPECT_EQ(given.attention->words[1].word, "cat");
  EXPECT_EQ(given.attention->words[1].weights, written.attention->words[1].weights);
  EXPECT_FALSE(run(job(Task::kCaption)).attention.has_value());
}

TEST_F(Queue, TheEndFinishesWhatIsQueued) {
  start({.max_batch = 2});
  std::vector<std::future<JobResult>> futures;
  for (int i = 0; i < 6; ++i) futures.push_back(std::move(model_->scheduler.submit(list(question("is there a bus?"))).front()));
  model_.reset();
  for (auto& future : futures) EXPECT_EQ(take(future).generation.text, "yes");
}

TEST_F(Queue, ABatchWaitsForRequestsOnTheirWayAndForNobodyElse) {
  constexpr double kWindow = 300'000;  // longer than any machine takes for three questions
  start({.window_ms = kWindow});
  const auto alone = Clock::now();
  run(question("is there a bus?"));
  EXPECT_LT(ms_since(alone), kWindow);
  preparing_ = 1;
  auto first = model_->scheduler.submit(list(question("is there a bus?")));
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  --preparing_;
  auto second = model_->scheduler.submit(list(question("is there a clock?")));
  EXPECT_EQ(take(first.front()).batch, 2);
  EXPECT_EQ(take(second.front()).batch, 2);
}

TEST_F(Queue, NoModelOrTaskOfThatName) {
  Models models;
  start({});
  models.add(std::move(model_));
  EXPECT_EQ(models.choose("", Task::kCaption, true).name, "demo");
  EXPECT_EQ(models.choose("demo", Task::kRank).name, "demo");
  EXPECT_THROW(models.choose("other", Task::kCaption), Problem);
}

TEST_F(Queue, ThreadsMaySubmitAtOnce) {
  start({.max_batch = 4});
  std::vector<std::thread> threads;
  std::atomic<int> right{0};
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      for (int round = 0; round < 3; ++round) right += run(question("is there a bus?")).generation.text == "yes";
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, 12);
}

TEST(ImageCache, ForgetsTheLeastRecentlyUsed) {
  Session session(engine());
  const EncodedImage image = session.encode(scene("clock.png"));
  ImageCache cache(2, 1000, 100);
  const ContentHash a{1, 0}, b{2, 0}, c{3, 0};
  cache.insert(a, image);
  cache.insert(b, image);
  EXPECT_TRUE(cache.find(a).has_value());  // b is now the older
  cache.insert(c, image);
  EXPECT_TRUE(cache.find(a).has_value());
  EXPECT_FALSE(cache.find(b).has_value());
  EXPECT_EQ(cache.bytes(), 200u);
  cache.insert(c, image);  // again: nothing happens
  EXPECT_EQ(cache.entries(), 2u);
}

TEST(ImageCache, BytesLimitItAndZeroSwitchesItOff) {
  Session session(engine());
  const EncodedImage image = session.encode(scene("clock.png"));
  EXPECT_EQ(ImageCache(10, 350, 100).capacity(), 3u);
  for (ImageCache* off : {std::make_unique<ImageCache>(0, 1000, 100).release(), std::make_unique<ImageCache>(10, 50, 100).release()}) {
    const std::unique_ptr<ImageCache> owner(off);
    owner->insert({1, 0}, image);
    EXPECT_FALSE(owner->find({1, 0}).has_value());
  }
}

TEST(ImageCache, EncodedBytesAreTheStatesAndTheKeysAndValues) {
  ModelInfo info;
  info.image_size = 384;
  info.patch_size = 16;
  const std::size_t states = 577 * 768 * sizeof(float);
  const auto add = [&info](const char* name) {
    PartInfo part;
    part.name = name;
    part.layers = 12;
    part.width = 768;
    info.parts.push_back(part);
  };
  add("vision");
  EXPECT_EQ(encoded_bytes(info), states);
  add("caption_decoder");
  EXPECT_EQ(encoded_bytes(info), states * 25);
  add("answer_decoder");  // looks at the question
  EXPECT_EQ(encoded_bytes(info), states * 25);
}

TEST(ContentHash, OfTheBytes) {
  EXPECT_EQ(content_hash("picture"), content_hash(std::string("picture")));
  EXPECT_NE(content_hash("picture"), content_hash("picturf"));
  EXPECT_NE(content_hash(""), content_hash(std::string_view("\0", 1)));
}

}  // namespace
}  // namespace blip::server
