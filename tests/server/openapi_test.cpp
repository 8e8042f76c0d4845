// web/openapi.json is what the tables and the template make.
#include "server/openapi.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <regex>
#include <string>
#include <vector>

#include "blip/limits.h"

namespace blip::server {
namespace {

const std::string kFolder = std::string(BLIP_SOURCE_DIR) + "/apps/server/";

std::string read(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

Json generated() { return openapi_document(Json::parse(read(kFolder + "openapi/template.json"))); }

Json properties(const Json& document, const std::string& path,
                const std::string& type = "application/json") {
  return document["paths"][path]["post"]["requestBody"]["content"][type]["schema"]["properties"];
}

TEST(OpenApi, CommittedFileIsWhatIsGenerated) {
  EXPECT_EQ(read(kFolder + "web/openapi.json"), generated().dump(1) + "\n")
      << "write it anew: cmake --build --preset release --target openapi";
}

TEST(OpenApi, EveryGeneratingOptionIsAFieldOfCaptionAndAsk) {
  const Json document = generated();
  for (const auto& [path, text] :
       {std::pair{"/v1/caption", kCaptionText}, {"/v1/ask", kAnswerText}}) {
    for (const char* type : {"application/json", "multipart/form-data"}) {
      const Json fields = properties(document, path, type);
      for (const Option& row : kOptions)
        EXPECT_TRUE(!row.generates() || fields.contains(name_for(row, text))) << row.name;
    }
  }
}

TEST(OpenApi, RangesAndDefaultsAreTheTables) {
  const Json document = generated();
  const Json caption = properties(document, "/v1/caption"), ask = properties(document, "/v1/ask");
  EXPECT_EQ(
      caption["beams"],
      Json::parse(R"({"type": "integer", "minimum": 1, "maximum": 64, "default": 3, "description":
      "Beam search keeps this many texts; 1 = greedy. )"
                  R"(With sample an error. At most the server's --max-beams."})"));
  EXPECT_EQ(caption["min_length"]["default"], 5);
  EXPECT_EQ(ask["min_length"]["default"], 1);
  EXPECT_EQ(caption["max_length"]["default"], 20);
  EXPECT_EQ(ask["max_length"]["default"], 10);
  EXPECT_EQ(caption["sample"]["default"], false);
  EXPECT_EQ(caption["top_p"]["default"].dump(), "0.9");
  EXPECT_EQ(caption["temperature"]["minimum"].dump(), "0.001");
  EXPECT_EQ(caption["seed"]["maximum"].dump(), "18446744073709551615");
  EXPECT_EQ(ask["num_answers"]["maximum"], 256);
  EXPECT_EQ(ask["rank_candidates"]["default"], 128);
  EXPECT_FALSE(ask["max_text_length"].contains("default"));  // the model's
  EXPECT_EQ(properties(document, "/v1/match")["head"]["enum"].dump(), R"(["all","itm","itc"])");
}

TEST(OpenApi, EveryKindOfProblemIsACode) {
  const Json codes = generated()["components"]["schemas"]["Problem"]["properties"]["code"]["enum"];
  const std::string source = read(kFolder + "problem.h");
  const std::regex kind(R"re(ProblemKind k\w+\{"(\w+)")re");
  std::vector<std::string> found;
  for (std::sregex_iterator at(source.begin(), source.end(), kind), end; at != end; ++at)
    found.push_back((*at)[1]);
  EXPECT_GT(found.size(), 20u);
  EXPECT_EQ(codes.get<std::vector<std::string>>(), found);
}

TEST(OpenApi, NamesThatAreNoneAreErrors) {
  const auto error_of = [](const char* extra) -> std::string {
    try {
      openapi_document(
          Json::parse(R"({"x-notes": {}, "x-fields": {}, )" + std::string(extra) + "}"));
    } catch (const std::invalid_argument& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(error_of(R"("a": "${nothing}")"), "no value is named nothing");
  EXPECT_EQ(error_of(R"("a": "${beams.low")"), "no } after ${ in ${beams.low");
  EXPECT_EQ(error_of(R"("a": {"x-fields": ["nothing"]})"), "no field is named nothing");
  EXPECT_EQ(error_of(R"("a": "${beams.high} and ${beams.low}")"), "");
}

}  // namespace
}  // namespace blip::server
