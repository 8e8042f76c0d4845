// The store of results of the protocol of SOPHON's sample, and its numbers.
#include <gtest/gtest.h>

#include <limits>
#include <thread>

#include "server/sophon_demo_protocol.h"

namespace blip::server {
namespace {

using State = ResultStore::State;
constexpr auto kSoon = std::chrono::milliseconds(20);

State take(ResultStore& store, const std::string& owner, const std::optional<std::string>& id,
           std::string* body = nullptr) {
  Response response;
  const State state = store.take(owner, id, Clock::now() + kSoon, response);
  if (body) *body = response.body;
  return state;
}

TEST(ResultStore, AResultIsPendingThenTakenOnce) {
  ResultStore store(60, 10);
  Response response;
  EXPECT_EQ(take(store, "ask", "1"), State::kUnknown);
  EXPECT_TRUE(store.expect("ask", "1"));
  EXPECT_EQ(take(store, "ask", "1"), State::kPending);
  std::thread later([&] { store.put("ask", "1", {200, "", "answer"}); });
  EXPECT_EQ(store.take("ask", "1", Clock::now() + std::chrono::minutes(1), response),
            State::kTaken);
  later.join();
  EXPECT_EQ(response.body, "answer");
  EXPECT_EQ(take(store, "ask", "1"), State::kUnknown);
  EXPECT_EQ(take(store, "caption", "1"), State::kUnknown);
}

TEST(ResultStore, WithoutAnIdTheFirstOfTheOwnerIsTaken) {
  ResultStore store(60, 10);
  for (const char* id : {"9", "1", "5"}) EXPECT_TRUE(store.expect("ask", id));
  EXPECT_TRUE(store.expect("as", "2"));
  for (const char* id : {"5", "1"}) store.put("ask", id, {200, "", id});
  EXPECT_EQ(take(store, "ask", {}), State::kPending) << "9 is not ready";
  store.put("ask", "9", {200, "", "9"});
  store.put("as", "2", {200, "", "2"});
  for (const char* id : {"9", "1", "5"}) {
    std::string body;
    EXPECT_EQ(take(store, "ask", {}, &body), State::kTaken);
    EXPECT_EQ(body, id);
  }
  EXPECT_EQ(take(store, "ask", {}), State::kUnknown);
  EXPECT_EQ(take(store, "as", {}), State::kTaken);
}

TEST(ResultStore, AnIdIsUsedOnceUnlessItIsWithdrawn) {
  ResultStore store(60, 10);
  EXPECT_TRUE(store.expect("ask", "1"));
  EXPECT_FALSE(store.expect("ask", "1"));
  EXPECT_TRUE(store.expect("match", "1"));
  store.put("ask", "1", {200, "", "x"});
  EXPECT_EQ(take(store, "ask", "1"), State::kTaken);
  EXPECT_FALSE(store.expect("ask", "1"));
  EXPECT_TRUE(store.expect("ask", "2"));
  store.withdraw("ask", "2");
  EXPECT_EQ(take(store, "ask", "2"), State::kUnknown);
  EXPECT_TRUE(store.expect("ask", "2"));
}

TEST(ResultStore, TheOldestIdsMayComeAgain) {
  ResultStore store(60, 10);
  EXPECT_TRUE(store.expect("ask", "1"));
  for (std::size_t i = 0; i < ResultStore::kMaxIds - 1; ++i)
    EXPECT_TRUE(store.expect("ask", "x" + std::to_string(i)));
  EXPECT_FALSE(store.expect("ask", "1"));
  EXPECT_TRUE(store.expect("ask", "one more"));
  EXPECT_TRUE(store.expect("ask", "1"));
}

TEST(ResultStore, ResultsExpire) {
  ResultStore store(0.02, 10);
  store.expect("ask", "1");
  store.put("ask", "1", {200, "", "answer"});
  std::this_thread::sleep_for(std::chrono::milliseconds(40));
  EXPECT_EQ(take(store, "ask", "1"), State::kUnknown);
  EXPECT_EQ(take(store, "ask", {}), State::kUnknown);
}

TEST(ResultStore, TheOldestGoesWhenItIsFull) {
  ResultStore store(60, 3);
  for (const char* id : {"1", "2", "3", "4"}) {
    store.expect("ask", id);
    store.put("ask", id, {200, "", id});
  }
  EXPECT_EQ(take(store, "ask", "1"), State::kUnknown);
  for (const char* id : {"2", "3", "4"}) EXPECT_EQ(take(store, "ask", id), State::kTaken) << id;
}

TEST(ResultStore, TheOldestGoesWhenItsBytesAreTooMany) {
  ResultStore store(60, 1000, 10'000);
  for (const char* id : {"1", "2", "3", "4"}) {
    store.expect("ask", id);
    store.put("ask", id, {200, "", std::string(3000, 'x')});
  }
  EXPECT_EQ(take(store, "ask", "1"), State::kUnknown);
  EXPECT_EQ(take(store, "ask", "3"), State::kTaken);
  // Results that are only expected count too.
  for (int i = 0; i < 1000; ++i) store.expect("caption", std::to_string(i));
  EXPECT_EQ(take(store, "ask", "4"), State::kUnknown);
  EXPECT_EQ(take(store, "caption", "0"), State::kUnknown);
  EXPECT_EQ(take(store, "caption", "999"), State::kPending);
}

TEST(SophonDemo, WholeNumbersAreThoseOfPython) {
  for (const auto& [text, number] : {std::pair{"0", "0"},
                                     {"007", "7"},
                                     {"-0", "0"},
                                     {"-00", "0"},
                                     {"-012", "-12"},
                                     {" +1_000\t\n", "1000"},
                                     {"98765432109876543210", "98765432109876543210"}})
    EXPECT_EQ(whole_number(text), number) << text;
  for (const char* text : {"", " ", "-", "+", "--1", "+-1", "1.0", "1e3", "0x1", "_1", "1_", "1__0",
                           "1 0", "abc", "\xef\xbc\x91", "- 1"})
    EXPECT_EQ(whole_number(text), std::nullopt) << text;
  EXPECT_EQ(whole_number(std::string_view("1\0", 2)), std::nullopt);
}

// Expected: str(numpy.float32(...)).
TEST(SophonDemo, FloatsAreThoseOfPython) {
  for (const auto& [value, text] : {std::pair{0.F, "0.0"},
                                    {1.F, "1.0"},
                                    {0.5F, "0.5"},
                                    {0.0114F, "0.0114"},
                                    {0.1F, "0.1"},
                                    {0.9987654F, "0.9987654"},
                                    {0.0001F, "0.0001"},
                                    {2e-5F, "2e-05"},
                                    {1.25e-7F, "1.25e-07"},
                                    {1.1754944e-38F, "1.1754944e-38"},
                                    {-0.25F, "-0.25"},
                                    {std::numeric_limits<float>::quiet_NaN(), "nan"}})
    EXPECT_EQ(float_text(value), text);
}

}  // namespace
}  // namespace blip::server
