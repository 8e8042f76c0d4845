// A model's queue over the bundled model: batches, deadlines, cancelling, a full queue, the end.
#include <gtest/gtest.h>

#include <algorithm>
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

// One thread: one executor, whatever the machine.
const Engine& engine() {
  static const Engine loaded = load(1);
  return loaded;
}

const std::vector<std::string> kSix = {"cat-bus.png",      "clock.png",
                                       "balloons.png",     "fox-crown.png",
                                       "robot-pizzas.png", "pencil-dog-turtle.png"};

Image scene(const std::string& name) { return Image::from_file(kSource + "/demo/scenes/" + name); }

class Queue : public testing::Test {
 protected:
  Model& start(SchedulerOptions options, std::size_t cache_entries = 8,
               const Engine& loaded = engine()) {
    metrics_.describe("blip_batch_size", "", {1, 2, 4, 8});
    model_ = std::make_unique<Model>("demo", loaded, options, cache_entries, std::size_t{1} << 30,
                                     memory_, metrics_, preparing_);
    return *model_;
  }

  Job job(Task task, const std::string& picture = "cat-bus.png") {
    Job job;
    job.task = task;
    job.request_state = std::make_shared<RequestState>();
    job.picture = Picture{content_hash(picture), scene(picture), std::nullopt, 0, {}};
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
  MemoryBudget memory_{std::size_t{4} << 30, 0};
  std::atomic<int> preparing_{0};
  std::unique_ptr<Model> model_;
};

TEST_F(Queue, QuestionsAboutOnePictureShareAPass) {
  start({});
  std::vector<Job> jobs;
  for (const char* text : {"what animal is this?", "is there a bus?", "is there a clock?"})
    jobs.push_back(question(text));
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
  const std::vector<std::string> texts = {"yes", "no", "yes",
                                          "a cat to the left of a bus on a pink background",
                                          "a clock on a gray background"};
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
  for (std::size_t i = 0; i < futures.size(); ++i)
    EXPECT_EQ(take(futures[i]).batch, i < 4 ? 4 : 2) << names[i];
  jobs.clear();
  for (const std::string& name : names) jobs.push_back(job(Task::kCaption, name));
  for (Job& known : jobs) known.picture->encoded = model_->cache.find(known.picture->hash);
  futures = model_->scheduler.submit(std::move(jobs));
  for (auto& future : futures) EXPECT_EQ(take(future).batch, 6);
}

TEST_F(Queue, ExecutorsShareNewPicturesAndGiveTheSameTexts) {
  start({});
  std::vector<std::string> alone;
  for (const std::string& name : kSix)
    alone.push_back(run(job(Task::kCaption, name)).generation.text);
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

TEST_F(Queue, ManyThreadsSubmitToManyExecutors) {
  start({.max_batch = 3, .window_ms = 0.2}, 3, load(4));
  std::vector<std::thread> threads;
  std::atomic<int> right{0};
  for (std::size_t i = 0; i < 8; ++i)
    threads.emplace_back([&, i] {
      for (std::size_t round = 0; round < 6; ++round) {
        const std::string& name = kSix[(i + round) % kSix.size()];
        if (round % 2 == 0)
          right += run(question("is there a bus?", name)).generation.text ==
                   (name == "cat-bus.png" ? "yes" : "no");
        else
          right += !run(job(Task::kCaption, name)).generation.text.empty();
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, 48);
}

TEST_F(Queue, AllOfARequestsJobsOrNone) {
  start({.queue_limit = 2, .max_batch = 1, .window_ms = 0});
  std::vector<Job> three;
  for (int i = 0; i < 3; ++i) three.push_back(job(Task::kCaption));
  try {
    model_->scheduler.submit(std::move(three));
    FAIL() << "more jobs than the queue ever holds were taken";
  } catch (const Problem& problem) {  // waiting would not help
    EXPECT_STREQ(problem.kind().code, "invalid_request");
    EXPECT_NE(std::string(problem.what()).find("--queue"), std::string::npos) << problem.what();
  }
  EXPECT_EQ(model_->scheduler.waiting(), 0u);
  EXPECT_EQ(run(job(Task::kCaption, "clock.png")).generation.text, "a clock on a gray background");
}

// A pass that stands still until it is let go.
class Gate {
 public:
  void close() { closed_ = true; }
  void open() {
    closed_ = false;
    closed_.notify_all();
  }
  void pass() { closed_.wait(true); }

 private:
  std::atomic<bool> closed_{false};
};

TEST_F(Queue, AFullQueueSaysWhenToComeBack) {
  Gate gate;
  start({.queue_limit = 2,
         .max_batch = 1,
         .window_ms = 0,
         .before_pass = [&](const std::string& pass, const auto&) {
           if (pass == "ask") gate.pass();
         }});
  run(question("is there a bus?"));  // now it is known how long one takes
  gate.close();
  std::vector<std::future<JobResult>> futures;
  const auto add = [&] {
    futures.push_back(
        std::move(model_->scheduler.submit(list(question("is there a bus?"))).front()));
  };
  add();
  while (model_->scheduler.waiting() > 0) std::this_thread::yield();
  add();
  add();
  try {
    add();
    FAIL() << "the queue took a third";
  } catch (const Problem& problem) {
    EXPECT_STREQ(problem.kind().code, "queue_full");
    EXPECT_GT(problem.retry_after(), 0);
    EXPECT_EQ(to_response(problem.kind(), "", "", 7.2).headers.front(),
              (std::pair<std::string, std::string>{"Retry-After", "8"}));
  }
  gate.open();
  for (auto& future : futures) EXPECT_EQ(take(future).generation.text, "yes");
}

TEST_F(Queue, WhoCannotBeAnsweredInTimeIsToldAtOnce) {
  Gate gate;
  start({.max_batch = 1, .window_ms = 0, .before_pass = [&](const std::string& pass, const auto&) {
           if (pass == "ask") gate.pass();
         }});
  const auto started = Clock::now();
  run(question("is there a bus?"));
  const double one_ms = ms_since(started);
  gate.close();
  std::vector<std::future<JobResult>> futures;
  for (int i = 0; i < 200; ++i)
    futures.push_back(
        std::move(model_->scheduler.submit(list(question("is there a bus?"))).front()));
  Job hasty = question("is there a bus?");
  hasty.request_state->deadline =
      Clock::now() + std::chrono::duration_cast<Clock::duration>(
                         std::chrono::duration<double, std::milli>(one_ms));
  try {
    model_->scheduler.submit(list(std::move(hasty)));
    FAIL() << "it was taken behind two hundred others";
  } catch (const Problem& problem) {
    EXPECT_STREQ(problem.kind().code, "overloaded");
    EXPECT_EQ(problem.kind().status, 503);
  }
  Job patient = question("is there a bus?");
  patient.request_state->deadline = Clock::now() + std::chrono::hours(1);
  futures.push_back(std::move(model_->scheduler.submit(list(std::move(patient))).front()));
  gate.open();
  for (auto& future : futures) EXPECT_EQ(take(future).generation.text, "yes");
}

TEST_F(Queue, ALongJobStandsInNobodysWay) {
  Gate gate;
  start({.max_batch = 1,
         .window_ms = 0,
         .before_pass = [&](const std::string&, const std::vector<Job*>& jobs) {
           if (jobs.front()->rows > kLongRows) gate.pass();
         }});
  gate.close();
  Job lengthy = job(Task::kCaption);
  lengthy.caption.generate = {.beams = 16, .min_length = 40, .max_length = 44};
  auto waiting = model_->scheduler.submit(list(std::move(lengthy)));
  for (const std::string& name : kSix)
    EXPECT_FALSE(run(job(Task::kCaption, name)).generation.text.empty());
  EXPECT_EQ(waiting.front().wait_for(std::chrono::seconds(0)), std::future_status::timeout);
  gate.open();
  EXPECT_FALSE(take(waiting.front()).generation.text.empty());
}

TEST_F(Queue, RequestsAndClientsTakeTurns) {
  Gate gate;
  std::vector<std::string> order;
  start({.max_batch = 1,
         .window_ms = 0,
         .before_pass = [&](const std::string& pass, const std::vector<Job*>& jobs) {
           if (pass == "encode") return;
           gate.pass();
           order.push_back(jobs.front()->question);
         }});
  gate.close();
  std::vector<std::future<JobResult>> futures;
  const auto send = [&](const std::string& client, const std::string& name, int jobs) {
    const auto request_state = std::make_shared<RequestState>();
    request_state->client = client;
    std::vector<Job> list;
    for (int i = 0; i < jobs; ++i) {
      list.push_back(question(name + " " + std::to_string(i)));
      list.back().request_state = request_state;
    }
    for (auto& future : model_->scheduler.submit(std::move(list)))
      futures.push_back(std::move(future));
  };
  send("a", "first", 1);
  // it is at work; the others wait
  while (model_->scheduler.waiting() > 0) std::this_thread::yield();
  send("a", "large", 6);
  for (int i = 0; i < 3; ++i) send("b", "crowd" + std::to_string(i), 1);
  send("c", "alone", 1);
  gate.open();
  for (auto& future : futures) future.wait();
  ASSERT_EQ(order.size(), 11u);
  const auto place = [&](const std::string& name) {
    return std::find(order.begin(), order.end(), name) - order.begin();
  };
  EXPECT_LT(place("alone 0"),
            place("large 2"));  // a request of one passes most of a request of many
  EXPECT_LT(place("crowd0 0"), place("large 2"));
  EXPECT_LT(place("alone 0"), place("crowd1 0"));  // a client's first passes another's second
  EXPECT_LT(place("large 4"), place("large 5"));   // within a request the order stays
}

TEST_F(Queue, APassThatFailsIsDoneAgainForEachAlone) {
  const auto bad = [](const std::string& pass, const Job* job) {
    return pass == "encode" ? job->picture->hash == content_hash("fox-crown.png")
                            : job->question == "what broke it?";
  };
  std::atomic<int> passes{0};
  start({.before_pass = [&](const std::string& pass, const std::vector<Job*>& jobs) {
    ++passes;
    if (std::any_of(jobs.begin(), jobs.end(), [&](const Job* job) { return bad(pass, job); }))
      throw std::runtime_error("a fault of this job's");
  }});
  std::vector<Job> jobs;
  jobs.push_back(question("is there a bus?"));
  jobs.push_back(question("what broke it?"));
  jobs.push_back(job(Task::kCaption, "clock.png"));
  jobs.push_back(job(Task::kCaption, "fox-crown.png"));
  auto futures = model_->scheduler.submit(std::move(jobs));
  EXPECT_EQ(take(futures[0]).generation.text, "yes");
  EXPECT_THROW(take(futures[1]), std::runtime_error);
  EXPECT_EQ(take(futures[2]).generation.text, "a clock on a gray background");
  EXPECT_THROW(take(futures[3]), std::runtime_error);
  EXPECT_GT(passes, 5);
}

TEST_F(Queue, ASecondPictureThatFailsTakesItsOwnJobsAlone) {
  int encoded = 0;
  start({.before_pass = [&](const std::string& pass, const std::vector<Job*>& jobs) {
    if (pass != "encode") return;
    // Together first, then each picture with the jobs that look at it.
    const bool alone = jobs.size() == 1 && jobs.front()->question == "bad";
    if (++encoded == 1 || alone) throw std::runtime_error("a fault of this picture");
  }});
  std::vector<Job> jobs;
  for (const char* second : {"fox-crown.png", "cat-bus.png", "clock.png"}) {
    jobs.push_back(job(Task::kCaption, "clock.png"));
    jobs.back().second = job(Task::kCaption, second).picture;
  }
  jobs.front().question = "bad";
  auto futures = model_->scheduler.submit(std::move(jobs));
  EXPECT_THROW(take(futures[0]), std::runtime_error);
  for (const std::size_t i : {1, 2})
    EXPECT_EQ(take(futures[i]).generation.text, "a clock on a gray background");
  EXPECT_EQ(encoded, 4);
}

TEST_F(Queue, WhatNeverFitsIntoMemoryIsRefusedAtOnce) {
  MemoryBudget small(std::size_t{64} << 20, 0);
  Model model("demo", engine(), {}, 0, 0, small, metrics_, preparing_);
  Job huge = job(Task::kCaption);
  huge.caption.generate = {.beams = 64, .min_length = 1, .max_length = 96};
  try {
    model.scheduler.submit(list(std::move(huge)));
    FAIL() << "it was taken";
  } catch (const Problem& problem) {
    EXPECT_STREQ(problem.kind().code, "invalid_request");
    EXPECT_NE(std::string(problem.what()).find("--memory"), std::string::npos) << problem.what();
  }
  EXPECT_EQ(take(model.scheduler.submit(list(job(Task::kCaption))).front()).generation.text,
            "a cat to the left of a bus on a pink background");
  while (small.held(MemoryKind::kWork) > 0) std::this_thread::yield();  // all of it comes back
}

TEST_F(Queue, WhatIsOverIsNotComputed) {
  start({});
  Job late = job(Task::kCaption), given_up = job(Task::kCaption),
      wanted = job(Task::kCaption, "clock.png");
  late.request_state->deadline = Clock::now() - std::chrono::seconds(1);
  given_up.request_state->cancelled = true;
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
  endless.caption.on_token = [&tokens, request_state = endless.request_state](std::int32_t,
                                                                              const std::string&) {
    if (++tokens == 3) request_state->cancelled = true;
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
  for (int i = 0; i < 6; ++i)
    futures.push_back(
        std::move(model_->scheduler.submit(list(question("is there a bus?"))).front()));
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
      for (int round = 0; round < 3; ++round)
        right += run(question("is there a bus?")).generation.text == "yes";
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, 12);
}

TEST(ImageCache, ForgetsTheLeastRecentlyUsed) {
  Session session(engine());
  const EncodedImage image = session.encode(scene("clock.png"));
  MemoryBudget memory(std::size_t{1} << 30, 0);
  ImageCache cache(2, std::size_t{1} << 30, memory);
  const ContentHash a{1, 0}, b{2, 0}, c{3, 0};
  cache.insert(a, image);
  cache.insert(b, image);
  EXPECT_TRUE(cache.find(a).has_value());  // b is now the older
  cache.insert(c, image);
  EXPECT_TRUE(cache.find(a).has_value());
  EXPECT_FALSE(cache.find(b).has_value());
  EXPECT_EQ(cache.bytes(), 2 * image.bytes());
  EXPECT_EQ(memory.held(MemoryKind::kCache), cache.bytes());
  cache.insert(c, image);  // again: nothing happens
  EXPECT_EQ(cache.entries(), 2u);
}

TEST(ImageCache, BytesLimitItAndZeroSwitchesItOff) {
  Session session(engine());
  const EncodedImage image = session.encode(scene("clock.png"));
  MemoryBudget memory(std::size_t{1} << 30, 0);
  ImageCache three(10, 3 * image.bytes() + 1, memory);
  for (std::uint64_t i = 0; i < 5; ++i) three.insert({i, 0}, image);
  EXPECT_EQ(three.entries(), 3u);
  EXPECT_FALSE(three.find({1, 0}).has_value());
  EXPECT_TRUE(three.find({2, 0}).has_value());
  ImageCache no_entries(0, 3 * image.bytes(), memory), no_bytes(10, image.bytes() - 1, memory);
  for (ImageCache* off : {&no_entries, &no_bytes}) {
    off->insert({1, 0}, image);
    EXPECT_FALSE(off->find({1, 0}).has_value());
  }
}

TEST(ImageCache, CountsWhatTasksAddToAPicture) {
  Session session(engine());
  const EncodedImage image = session.encode(scene("clock.png"));
  const std::size_t before = image.bytes();
  EXPECT_EQ(before, std::size_t{65} * 192 * sizeof(float));  // the picture's tokens alone
  MemoryBudget memory(std::size_t{1} << 30, 0);
  ImageCache cache(10, std::size_t{1} << 30, memory);
  cache.insert({1, 0}, image);
  session.match(image, {"a clock"});
  EXPECT_GT(image.bytes(), before);
  EXPECT_LE(image.bytes(), encoded_bytes(engine().info()));
  cache.recount({1, 0});
  EXPECT_EQ(cache.bytes(), image.bytes());
  EXPECT_EQ(memory.held(MemoryKind::kCache), image.bytes());
}

TEST(ImageCache, GivesItsMemoryToThoseWhoNeedIt) {
  Session session(engine());
  const EncodedImage image = session.encode(scene("clock.png"));
  MemoryBudget memory(std::size_t{128} << 20, 0);
  ImageCache cache(1'000'000, std::size_t{1} << 30, memory);
  for (std::uint64_t i = 0; i < 5000; ++i) cache.insert({i, 0}, image);
  EXPECT_LT(cache.entries(), 5000u);
  EXPECT_GT(memory.held(MemoryKind::kCache),
            memory.largest(MemoryKind::kPictures) - 2 * image.bytes());
  auto share =
      memory.take(MemoryKind::kPictures, memory.largest(MemoryKind::kPictures) / 2, Clock::now());
  ASSERT_TRUE(share.has_value());  // at once: the deadline has come already
  EXPECT_LE(memory.held(MemoryKind::kCache), memory.largest(MemoryKind::kPictures) / 2);
  EXPECT_GT(cache.entries(), 100u);  // no more than was wanted
  EXPECT_TRUE(cache.find({4999, 0}).has_value() || cache.entries() > 0);
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
