// The store of results of the protocol of SOPHON's sample.
#include <gtest/gtest.h>

#include <thread>

#include "server/sophon_demo_protocol.h"

namespace blip::server {
namespace {

using State = ResultStore::State;
constexpr auto kSoon = std::chrono::milliseconds(20);

TEST(ResultStore, AResultIsPendingThenReady) {
  ResultStore store(60, 10);
  Response response;
  EXPECT_EQ(store.wait({"ask", "1"}, Clock::now() + kSoon, response), State::kUnknown);
  store.expect({"ask", "1"});
  EXPECT_EQ(store.wait({"ask", "1"}, Clock::now() + kSoon, response), State::kPending);
  std::thread later([&] { store.put({"ask", "1"}, {200, "", "answer"}); });
  EXPECT_EQ(store.wait({"ask", "1"}, Clock::now() + std::chrono::minutes(1), response),
            State::kReady);
  later.join();
  EXPECT_EQ(response.body, "answer");
  EXPECT_EQ(store.wait({"caption", "1"}, Clock::now(), response), State::kUnknown);
}

TEST(ResultStore, PushingAgainForgetsTheOlderResult) {
  ResultStore store(60, 10);
  Response response;
  store.put({"ask", "1"}, {200, "", "old"});
  store.expect({"ask", "1"});
  EXPECT_EQ(store.wait({"ask", "1"}, Clock::now(), response), State::kPending);
}

TEST(ResultStore, ResultsExpire) {
  ResultStore store(0.02, 10);
  Response response;
  store.put({"ask", "1"}, {200, "", "answer"});
  std::this_thread::sleep_for(std::chrono::milliseconds(40));
  EXPECT_EQ(store.wait({"ask", "1"}, Clock::now(), response), State::kUnknown);
}

TEST(ResultStore, TheOldestGoesWhenItIsFull) {
  ResultStore store(60, 3);
  Response response;
  for (const char* id : {"1", "2", "3", "4"}) {
    store.expect({"ask", id});
    store.put({"ask", id}, {200, "", id});
  }
  EXPECT_EQ(store.wait({"ask", "1"}, Clock::now(), response), State::kUnknown);
  for (const char* id : {"2", "3", "4"})
    EXPECT_EQ(store.wait({"ask", id}, Clock::now(), response), State::kReady) << id;
}

TEST(ResultStore, TheOldestGoesWhenItsBytesAreTooMany) {
  ResultStore store(60, 1000, 10'000);
  Response response;
  for (const char* id : {"1", "2", "3", "4"})
    store.put({"ask", id}, {200, "", std::string(3000, 'x')});
  EXPECT_EQ(store.wait({"ask", "1"}, Clock::now(), response), State::kUnknown);
  for (const char* id : {"3", "4"})
    EXPECT_EQ(store.wait({"ask", id}, Clock::now(), response), State::kReady) << id;
  // Results that are only expected count too.
  for (int i = 0; i < 1000; ++i) store.expect({"caption", std::to_string(i)});
  EXPECT_EQ(store.wait({"ask", "4"}, Clock::now(), response), State::kUnknown);
  EXPECT_EQ(store.wait({"caption", "0"}, Clock::now(), response), State::kUnknown);
  EXPECT_EQ(store.wait({"caption", "999"}, Clock::now(), response), State::kPending);
}

}  // namespace
}  // namespace blip::server
