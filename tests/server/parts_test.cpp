// Base64, forms, fields, metrics, access: what the server reads and writes.
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <future>
#include <sstream>

#include "blip/error.h"
#include "server/access.h"
#include "server/authority.h"
#include "server/base64.h"
#include "server/chat.h"
#include "server/endpoint.h"
#include "server/fields.h"
#include "server/forms.h"
#include "server/history_api.h"
#include "server/http_request.h"
#include "server/log.h"
#include "server/metrics.h"
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
  for (const char* text : {"Z", "Zg=", "Zg===", "Z===", "Zm9v=", "Zm9v====", "Zh==", "Zm9=",
                           "Zm 9v", "Zm9v!", "Zm-_", "=", "====", "Zg==Zg=="})
    EXPECT_EQ(decode_base64(text), std::nullopt) << text;
}

TEST(DataUrl, IsBase64WithAType) {
  EXPECT_EQ(decode_data_url("data:image/png;base64,Zm9v"), "foo");
  EXPECT_EQ(decode_data_url("data:;base64,Zm9v"), "foo");
  EXPECT_EQ(decode_data_url("Zm9v"), "foo");
  for (const char* text : {"data:image/png,foo", "data:image/png;base64", "data:image/png;base64,!",
                           "http://example.org/"})
    EXPECT_EQ(decode_data_url(text), std::nullopt) << text;
}

TEST(Forms, MultipartParts) {
  const auto parts = read_multipart(
      "multipart/form-data; boundary=\"a b\"",
      "preamble\r\n--a b\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\none\r\n"
      "--a b\r\ncontent-disposition: form-data; name=image; "
      "filename=\"q\\\"1.png\"\r\nContent-Type: image/png\r\n\r\n"
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
  for (const char* bad : {"a=%", "a=%4", "a=%4x", "%zz=1"})
    EXPECT_THROW(read_urlencoded(bad), Problem) << bad;
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

// What the client is told of its mistake.
std::string refusal(const std::function<void()>& read) {
  try {
    read();
  } catch (const Problem& problem) {
    EXPECT_EQ(problem.kind().status, 400);
    return problem.what();
  }
  return "read";
}

std::string nested(int depth) {
  return std::string(static_cast<std::size_t>(depth), '[') +
         std::string(static_cast<std::size_t>(depth), ']');
}

TEST(Fields, DeepAndBroadJsonIsRefusedWhereverItIs) {
  for (const char* name : {"image", "images", "text", "texts", "beams", "x"}) {
    const auto read = [&](const std::string& value) {
      return refusal([&] {
        Fields(json_request("{\"" + std::string(name) + "\": " + value + "}"), {}).reject_unknown();
      });
    };
    EXPECT_EQ(read(nested(60'000)), "the body cannot be read as JSON: nested deeper than 64 levels")
        << name;
    EXPECT_EQ(read("[1" + std::string(1'000'000, ',') + "1]").substr(0, 44),
              "the body cannot be read as JSON: parse error")
        << name;
    std::string broad = "[1";
    for (int i = 0; i < 100'000; ++i) broad += ",1";
    EXPECT_EQ(read(broad + "]"), "the body cannot be read as JSON: more than 2064 values") << name;
  }
  EXPECT_EQ(refusal([] { Fields(json_request("{\"x\": 1, \"x\": 2}"), {}); }),
            "the body cannot be read as JSON: the key \"x\" appears twice in one object");
  EXPECT_LT(refusal([] {
              Fields(json_request("{\"x\": \"" + std::string(1'000'000, 'a') + "\xff\"}"), {});
            }).size(),
            300u);
}

TEST(Fields, TextsAreUtf8) {
  EXPECT_TRUE(refusal([] {
                Fields(json_request(R"({"text": "\ud800"})"), {});
              }).starts_with("the body cannot be read as JSON: parse error"));
  Request request;
  request.query = {{"text", "caf\xe9"}};
  EXPECT_EQ(refusal([&] { Fields(request, {}).text("text"); }), "field \"text\": is not UTF-8");
  EXPECT_EQ(refusal([&] { Fields(request, {}).texts("text", "texts"); }),
            "field \"text\": is not UTF-8");
  request.query = {{"caf\xe9", "1"}};
  EXPECT_EQ(refusal([&] { Fields(request, {}).reject_unknown(); }), "unknown field \"caf\\ufffd\"");
  request.query = {{std::string(10'000, 'x'), "1"}};
  EXPECT_LT(refusal([&] { Fields(request, {}).reject_unknown(); }).size(), 100u);
}

TEST(Fields, AListInOneTextIsCheckedAsAList) {
  const InputLimits limits{.max_texts = 3, .max_text_characters = 200};
  const Request request = [] {
    Request made;
    made.query = {{"id", "1"}};
    return made;
  }();
  const Fields fields(request, limits);
  const auto unpacked = [&](const std::string& text) { return fields.unpacked({text}, "texts"); };
  EXPECT_EQ(unpacked(R"(["a", "b"])"), (std::vector<std::string>{"a", "b"}));
  for (const std::string& text :
       {nested(90), nested(3), std::string("[a cat]"), std::string("[1]"), std::string("plain")})
    EXPECT_EQ(unpacked(text), std::vector<std::string>{text});
  EXPECT_EQ(refusal([&] { unpacked(R"(["a", "b", "c", "d"])"); }),
            "field \"texts\": more than 3 texts in one request");
  EXPECT_EQ(refusal([&] { unpacked(R"(["a", " "])"); }),
            "field \"texts\": an empty text; give at least one word");
  EXPECT_TRUE(unpacked("[]").empty());
}

TEST(Chat, DeepAndBroadJsonIsRefusedWhereverItIs) {
  const auto read = [](const std::string& body) {
    return refusal([&] { read_chat(json_request(body), 1000); });
  };
  const std::string deep = nested(60'000),
                    said = "the body cannot be read as JSON: nested deeper than 64 levels";
  EXPECT_EQ(read(deep), said);
  EXPECT_EQ(read(R"({"messages": [{"role": "user", "content": )" + deep + "}]}"), said);
  EXPECT_EQ(read(R"({"messages": [{"role": "user", "content": )"
                 R"([{"type": "image_url", "image_url": {"url": )" +
                 deep + "}}]}]}"),
            said);
  std::string broad = "[1";
  for (int i = 0; i < 100'000; ++i) broad += ",1";
  EXPECT_EQ(read("{\"messages\": " + broad + "]}"),
            "the body cannot be read as JSON: more than 50000 values");
  EXPECT_LT(read(R"({"messages": [{"role": ")" + std::string(100'000, 'r') + "\"}]}").size(), 100u);
}

TEST(Problems, ADetailIsNeverLong) {
  EXPECT_EQ(quote("a \"cat\""), R"("a \"cat\"")");
  EXPECT_LE(quote(std::string(1'000'000, 'x')).size(), 60u);
  const Json json = to_json(kNotFound, std::string(1'000'000, 'x'), "id");
  EXPECT_EQ(json["detail"].get<std::string>().size(), 2003u);
}

TEST(Access, TellsWhichKeyItWas) {
  const Access access({{"first", "second"}, {}, {}, ""});
  Request request;
  EXPECT_EQ(access.key_of(request), "");
  request.headers["authorization"] = "Bearer second";
  EXPECT_EQ(access.key_of(request), "second");
  request.headers["authorization"] = "Bearer third";
  EXPECT_EQ(access.key_of(request), "");
  EXPECT_EQ(Access(AccessOptions{}).key_of(request), "");
}

TEST(Access, LoopbackAddresses) {
  for (const char* host : {"127.0.0.1", "127.8.9.1", "localhost", "::1"})
    EXPECT_TRUE(is_loopback(host)) << host;
  for (const char* host :
       {"0.0.0.0", "::", "192.168.0.1", "example.org", "localhost.example.org", ""})
    EXPECT_FALSE(is_loopback(host)) << host;
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
            "b_seconds_bucket{le=\"0.1\"} 2\nb_seconds_bucket{le=\"1\"} "
            "3\nb_seconds_bucket{le=\"+Inf\"} 4\nb_seconds_sum 3.65\nb_seconds_count 4\n"
            "# HELP c Now.\n# TYPE c gauge\nc 2.5\n");
  Metrics labelled;
  labelled.gauges("d", "Each.", [] {
    return std::map<std::string, double>{{"k=\"x\"", 1}, {"k=\"y\"", 2}};
  });
  EXPECT_EQ(labelled.text(), "# HELP d Each.\n# TYPE d gauge\nd{k=\"x\"} 1\nd{k=\"y\"} 2\n");
}

Request from_page(const std::string& host, const std::string& origin) {
  Request request;
  request.authorities = {host};
  request.headers = {{"host", host}, {"origin", origin}};
  return request;
}

TEST(Access, OriginsAreTheOwnHostOrListed) {
  const Access access(
      {.keys = {}, .origins = {"https://example.org"}, .allowed_hosts = {}, .listen_host = ""});
  EXPECT_TRUE(access.origin_allowed(from_page("localhost:8080", "http://localhost:8080"), false));
  EXPECT_TRUE(access.origin_allowed(from_page("LOCALHOST", "https://localhost"), false));
  for (const char* foreign : {"http://localhost:8081", "http://evil.example", "null",
                              "http://localhost:8080.evil.example", "localhost:8080"})
    EXPECT_FALSE(access.origin_allowed(from_page("localhost:8080", foreign), false)) << foreign;
  EXPECT_TRUE(access.origin_allowed(from_page("localhost:8080", "https://example.org"), false));
}

TEST(Access, HostsAreOurs) {
  const Access access({.keys = {},
                       .origins = {},
                       .allowed_hosts = {"a.example", ".b.example:81", "::2"},
                       .listen_host = "c.example"});
  for (const char* ours :
       {"localhost", "x.localhost:9", "127.8.9.10", "[::1]", "[::ffff:127.0.0.1]:80", "a.example",
        "A.EXAMPLE.:5", "b.example:81", "x.b.example:81", "[::2]:7", "c.example"})
    EXPECT_TRUE(access.host_allowed(from_page(ours, ""))) << ours;
  for (const char* foreign : {"evil.example", "xa.example", "x.a.example", "b.example",
                              "xb.example:81", "[::3]", "9.9.9.9", "localhost.example"})
    EXPECT_FALSE(access.host_allowed(from_page(foreign, ""))) << foreign;
  Request request = from_page("203.0.113.9:8080", "");
  EXPECT_FALSE(access.host_allowed(request));
  request.local = "203.0.113.9";
  EXPECT_TRUE(access.host_allowed(request));
  request.authorities = {"localhost", "evil.example"};
  EXPECT_FALSE(access.host_allowed(request));
  EXPECT_THROW(HostPattern("http://a.example"), Error);
}

TEST(Authority, IsReadStrictly) {
  for (const char* bad : {"", ":80", "a b", "a/b", "me@a", "a:x", "a:65536", "[::1", "::1", "[a]",
                          "a..b", ".a", "[127.0.0.1]"})
    EXPECT_FALSE(parse_authority(bad)) << bad;
  EXPECT_EQ(parse_authority("Example.ORG.:080")->host, "example.org");
  EXPECT_EQ(parse_authority("Example.ORG.:080")->port, "80");
  EXPECT_EQ(parse_authority("[0:0::FFFF:7f00:1]")->host, "127.0.0.1");
  EXPECT_EQ(parse_origin("https://a")->port, "443");
  EXPECT_FALSE(parse_origin("ftp://a"));
}

RequestReader reader_of(std::string_view text, std::string& body) {
  RequestReader reader([&body](std::string_view piece) { body += piece; });
  while (const std::size_t used = reader.read(text)) text.remove_prefix(used);
  return reader;
}

TEST(RequestReader, TakesTheTargetApart) {
  std::string body;
  RequestReader reader = reader_of(
      "POST HTTP://LocalHost:8080/a%20b%00c?x=1+2&y&z=%C3%A9 HTTP/1.1\r\nHost: localhost\r\nA: "
      "1\r\nA: 2\r\n"
      "Content-Length: 3\r\n\r\nabcd",
      body);
  EXPECT_EQ(reader.state(), RequestReader::State::kDone);
  EXPECT_EQ(body, "abc");
  const Request& request = reader.request();
  EXPECT_EQ(request.path, "/a b%00c");
  EXPECT_EQ(request.header("a"), "1, 2");
  EXPECT_EQ(request.authorities, (std::vector<std::string>{"localhost", "LocalHost:8080"}));
  const std::vector<std::pair<std::string, std::string>> query = {
      {"x", "1 2"}, {"y", ""}, {"z", "\xc3\xa9"}};
  EXPECT_EQ(request.query, query);
}

TEST(RequestReader, SaysWhatIsWrong) {
  std::string body;
  EXPECT_EQ(reader_of("GET / HTTP/1.1\r\n\r\n", body).problem(), "the header Host is missing");
  EXPECT_EQ(reader_of("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", body).problem(),
            "Host comes twice");
  EXPECT_EQ(reader_of("GET / HTTP/4.0\r\n\r\n", body).status(), 505);
}

TEST(Log, LimitsLinesOfOneKind) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  {
    Log log(false, ends[1]);
    for (int i = 0; i < 100; ++i) log.info("request", {{"status", 503}});
    log.info("request", {{"status", 404}});
  }
  close(ends[1]);
  std::string text;
  char buffer[65536];
  for (ssize_t size; (size = read(ends[0], buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<std::size_t>(size));
  close(ends[0]);
  std::size_t lines = 0, suppressed = 0, others = 0;
  std::istringstream all(text);
  for (std::string line; std::getline(all, line);) {
    const Json json = Json::parse(line);
    if (json["event"] == "suppressed")
      suppressed += json["lines"].get<std::size_t>();
    else if (json["status"] == 503)
      ++lines;
    else
      ++others;
  }
  EXPECT_EQ(lines + suppressed, 100u);
  EXPECT_GE(lines, Log::kPerSecond);
  EXPECT_LE(lines, 3 * Log::kPerSecond);  // a slow machine takes more than a second
  EXPECT_EQ(others, 1u);
}

TEST(Chat, TellsQuestionsFromInstructions) {
  for (const char* text : {"what is this", "Is it red", "  How many?", "two cats?"})
    EXPECT_TRUE(is_question(text)) << text;
  for (const char* text : {"", "  ", "Describe this picture.", "whatever you see", "caption"})
    EXPECT_FALSE(is_question(text)) << text;
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
  EXPECT_EQ(pieces, 4);
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
  const auto retry = [](double seconds) {
    return to_response(kOverloaded, "", "", seconds).headers.front().second;
  };
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
    EXPECT_EQ(pool.requests(), 3);
    go.set_value();
  }
  EXPECT_EQ(done, 3);
}

}  // namespace
}  // namespace blip::server
