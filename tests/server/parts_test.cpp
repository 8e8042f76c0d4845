// Base64, forms, fields, metrics, access: what the server reads and writes.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <future>

#include "server/access.h"
#include "server/base64.h"
#include "server/chat.h"
#include "server/fields.h"
#include "server/forms.h"
#include "server/history_api.h"
#include "server/metrics.h"
#include "server/tasks.h"
#include "server/worker_pool.h"

namespace blip::server {
namespace {

TEST(Base64, DecodesTheVectorsOfRfc4648) {
  EXPECT_EQ(decode_base64(""), "");
  EXPECT_EQ(decode_base64("Zg=="), "f");
  EXPECT_EQ(decode_base64("Zm8="), "fo");
  EXPECT_EQ(decode_base64("Zm9v"), "foo");
  EXPECT_EQ(decode_base64("Zm9vYg=="), "foob");
  EXPECT_EQ(decode_base64("Zm9vYmE="), "fooba");
  EXPECT_EQ(decode_base64("Zm9vYmFy"), "foobar");
  EXPECT_EQ(decode_base64("+/+/"), "\xfb\xff\xbf");
  EXPECT_EQ(decode_base64("AAAA"), std::string(3, '\0'));
}

TEST(Base64, LineBreaksAndMissingPaddingAreFine) {
  EXPECT_EQ(decode_base64("Zm9v\r\nYmFy\r\n"), "foobar");
  EXPECT_EQ(decode_base64("Zm8"), "fo");
  EXPECT_EQ(decode_base64("Zg"), "f");
}

TEST(Base64, RefusesWhatIsNotBase64) {
  for (const char* text : {"Z", "Zg=", "Zg===", "Z===", "Zm9v=", "Zm9v====", "Zh==", "Zm9=", "Zm 9v", "Zm9v!", "Zm-_", "=", "====", "Zg==Zg=="})
    EXPECT_EQ(decode_base64(text), std::nullopt) << text;
}

TEST(DataUrl, IsBase64WithAType) {
  EXPECT_EQ(decode_data_url("data:image/png;base64,Zm9v"), "foo");
  EXPECT_EQ(decode_data_url("data:;base64,Zm9v"), "foo");
  EXPECT_EQ(decode_data_url("Zm9v"), "foo");
  for (const char* text : {"data:image/png,foo", "data:image/png;base64", "data:image/png;base64,!", "http://example.org/"})
    EXPECT_EQ(decode_data_url(text), std::nullopt) << text;
}

TEST(Forms, MultipartParts) {
  const auto parts = read_multipart("multipart/form-data; boundary=\"a b\"",
                                    "preamble\r\n--a b\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\none\r\n"
                                    "--a b\r\ncontent-disposition: form-data; name=image; filename=\"q\\\"1.png\"\r\nContent-Type: image/png\r\n\r\n"
                                    "\r\n--a c\r\n\r\n--a b--\r\nepilogue");
  ASSERT_EQ(parts.size(), 2u);
  EXPECT_EQ(parts[0].name, "x");
  EXPECT_EQ(parts[0].content, "one");
  EXPECT_EQ(parts[1].name, "image");
  EXPECT_EQ(parts[1].filename, "q\"1.png");
  EXPECT_EQ(parts[1].content_type, "image/png");
  EXPECT_EQ(parts[1].content, "\r\n--a c\r\n");
}

TEST(Forms, UrlencodedPairs) {
  const auto parts = read_urlencoded("a=1+2&b=%C3%a9&&c&d=%3D%26");
  ASSERT_EQ(parts.size(), 4u);
  EXPECT_EQ(parts[0].content, "1 2");
  EXPECT_EQ(parts[1].content, "\xc3\xa9");
  EXPECT_EQ(parts[2].name + "=" + parts[2].content, "c=");
  EXPECT_EQ(parts[3].content, "=&");
  for (const char* bad : {"a=%", "a=%4", "a=%4x", "%zz=1"}) EXPECT_THROW(read_urlencoded(bad), Problem) << bad;
}

Request json_request(const std::string& body) {
  Request request;
  request.method = "POST";
  request.headers["content-type"] = "application/json; charset=utf-8";
  request.body = body;
  return request;
}

TEST(Fields, FromTheQueryAndTheBodyEachInOnePlace) {
  Request request = json_request(R"({"beams": 2, "texts": ["a", "b"], "text": "c"})");
  request.query = {{"seed", "18446744073709551615"}, {"sample", "true"}};
  Fields fields(request, {});
  EXPECT_EQ(fields.whole("beams", 3, 1, 64), 2u);
  EXPECT_EQ(fields.whole("seed", 0, 0, UINT64_MAX), UINT64_MAX);
  EXPECT_TRUE(fields.flag("sample", false));
  EXPECT_EQ(fields.texts("text", "texts"), (std::vector<std::string>{"c", "a", "b"}));
  EXPECT_EQ(fields.number("top_p", 0.9, 0, 1), 0.9);
  EXPECT_NO_THROW(fields.reject_unknown());
  request.query.emplace_back("beams", "5");
  EXPECT_THROW(Fields(request, {}), Problem);
  EXPECT_THROW(Fields(json_request(R"({"beams": null})"), {}), Problem);
}

TEST(Fields, PicturesFromBase64) {
  Fields fields(json_request(R"({"image": "Zm9v", "images": ["data:image/png;base64,YmFy"]})"), {});
  EXPECT_EQ(fields.pictures(), (std::vector<std::string>{"foo", "bar"}));
}

TEST(Fields, DeepJsonIsNoTrouble) {
  const std::string deep = "{\"x\": " + std::string(100'000, '[') + std::string(100'000, ']') + "}";
  Fields fields(json_request(deep), {});
  EXPECT_THROW(fields.reject_unknown(), Problem);
}

TEST(Metrics, TextFormat) {
  Metrics metrics;
  metrics.describe("a_total", "Things.");
  metrics.describe("b_seconds", "Times.", {0.1, 1});
  metrics.gauge("c", "Now.", [] { return 2.5; });
  metrics.count("a_total", "x=\"1\"");
  metrics.count("a_total", "x=\"1\"", 2);
  for (const double value : {0.05, 0.1, 0.5, 3.0}) metrics.observe("b_seconds", "", value);
  EXPECT_EQ(metrics.text(),
            "# HELP a_total Things.\n# TYPE a_total counter\na_total{x=\"1\"} 3\n"
            "# HELP b_seconds Times.\n# TYPE b_seconds histogram\n"
            "b_seconds_bucket{le=\"0.1\"} 2\nb_seconds_bucket{le=\"1\"} 3\nb_seconds_bucket{le=\"+Inf\"} 4\nb_seconds_sum 3.65\nb_seconds_count 4\n"
            "# HELP c Now.\n# TYPE c gauge\nc 2.5\n");
  Metrics labelled;
  labelled.gauges("d", "Each.", [] { return std::map<std::string, double>{{"k=\"x\"", 1}, {"k=\"y\"", 2}}; });
  EXPECT_EQ(labelled.text(), "# HELP d Each.\n# TYPE d gauge\nd{k=\"x\"} 1\nd{k=\"y\"} 2\n");
}

TEST(Access, OriginsAreTheOwnHostOrListed) {
  const Access access({}, {"https://example.org"});
  Request request;
  request.headers = {{"host", "localhost:8080"}, {"origin", "http://localhost:8080"}};
  EXPECT_TRUE(access.origin_allowed(request));
  for (const char* foreign : {"http://localhost:8081", "http://evil.example", "null", "http://localhost:8080.evil.example"}) {
    request.headers["origin"] = foreign;
    EXPECT_FALSE(access.origin_allowed(request)) << foreign;
  }
  request.headers["origin"] = "https://example.org";
  EXPECT_TRUE(access.origin_allowed(request));
}

TEST(Chat, TellsQuestionsFromInstructions) {
  for (const char* text : {"what is this", "Is it red", "  How many?", "two cats?"}) EXPECT_TRUE(is_question(text)) << text;
  for (const char* text : {"", "  ", "Describe this picture.", "whatever you see", "caption"}) EXPECT_FALSE(is_question(text)) << text;
}

TEST(Chat, StopsEndTheText) {
  const std::vector<std::string> stops = {"bus", "on a"};
  EXPECT_EQ(find_stop("a cat on a bus", stops), 6u);
  EXPECT_EQ(find_stop("a cat", stops), std::string::npos);
  EXPECT_EQ(find_stop("a cat", {}), std::string::npos);
  // What may yet become a stop is kept back, and no more.
  EXPECT_EQ(safe_length("a cat o", stops), 6u);
  EXPECT_EQ(safe_length("a cat on ", stops), 6u);
  EXPECT_EQ(safe_length("a cat or", stops), 8u);
  EXPECT_EQ(safe_length("a bu", stops), 2u);
  EXPECT_EQ(safe_length("a bus is", stops), 2u);
  EXPECT_EQ(safe_length("a cat", {}), 5u);
}

TEST(Exchange, AStreamThatNobodyReadsEnds) {
  Exchange exchange(Request{});
  const std::string piece(std::size_t{1} << 20, 'x');
  int pieces = 0;
  while (pieces < 100 && exchange.write(piece)) ++pieces;
  EXPECT_EQ(pieces, 8);
}

TEST(Workload, RowsOfRequests) {
  GenerateOptions options{.beams = 4, .max_length = 30};
  EXPECT_EQ(generated_rows(options), 120u);
  options.sample = true;
  options.num_return = 7;
  EXPECT_EQ(generated_rows(options), 210u);
  EXPECT_THROW(check_work(11, {.max_work = 10}), Problem);
  EXPECT_NO_THROW(check_work(10, {.max_work = 10}));
}

TEST(Workload, EstimatesFollowWhatIsMeasured) {
  Estimates estimates;
  Job job;
  job.task = Task::kAsk;
  job.rows = 100;
  EXPECT_EQ(estimates.seconds(job), 0);  // nothing is known
  estimates.computed(Task::kAsk, 50, 1);
  EXPECT_DOUBLE_EQ(estimates.seconds(job), 2);
  job.picture.emplace();
  estimates.encoded(4, 2);
  EXPECT_DOUBLE_EQ(estimates.seconds(job), 2.5);
  for (int i = 0; i < 100; ++i) estimates.computed(Task::kAsk, 50, 3);
  EXPECT_NEAR(estimates.seconds(job), 6.5, 0.01);
  job.task = Task::kCaption;
  EXPECT_DOUBLE_EQ(estimates.seconds(job), 0.5);
}

TEST(Problems, RetryAfterIsAWholeNumberOfSeconds) {
  const auto retry = [](double seconds) { return to_response(kOverloaded, "", "", seconds).headers.front().second; };
  EXPECT_EQ(retry(0.2), "1");
  EXPECT_EQ(retry(4.01), "5");
  EXPECT_EQ(retry(1e9), "3600");
  EXPECT_TRUE(to_response(kInvalidImage, "", "").headers.empty());
}

TEST(HistoryPictures, OnlyWhatABrowserShowsAsAPicture) {
  EXPECT_EQ(picture_type("\x89PNG\r\n\x1a\nrest"), "image/png");
  EXPECT_EQ(picture_type("\xff\xd8\xff\xe0"), "image/jpeg");
  EXPECT_EQ(picture_type("<svg xmlns"), "");
  EXPECT_EQ(picture_type(""), "");
}

TEST(WorkerPool, RefusesMoreThanItsLimitAndFinishesWhatItTook) {
  std::atomic<int> done{0};
  {
    std::promise<void> go;
    const std::shared_future<void> started = go.get_future().share();
    WorkerPool pool(2, 3);
    for (int i = 0; i < 3; ++i)
      EXPECT_TRUE(pool.try_run([&done, started] {
        started.wait();
        ++done;
      }));
    EXPECT_FALSE(pool.try_run([&done] { ++done; }));
    EXPECT_EQ(pool.tasks(), 3);
    go.set_value();
  }
  EXPECT_EQ(done, 3);
}

}  // namespace
}  // namespace blip::server
