#include "server/attention_api.h"

#include <cmath>
#include <numeric>
#include <stdexcept>

#include "base/ascii.h"
#include "server/api.h"
#include "server/heat_map.h"

namespace blip::server {
namespace {

// The map's pixels, and the PNG at its largest.
constexpr std::size_t kDrawingBytes = 3 * std::size_t{kHeatMapSide} * kHeatMapSide * 5 / 2;

struct AttentionRequest {
  std::optional<std::string> prompt;
  std::string question, text;
  int layers = 0, max_text_length = 0;
  bool png = false;
  std::optional<std::size_t> word;
};

AttentionRequest read_request(Fields& fields) {
  AttentionRequest request;
  if (fields.has("prompt")) request.prompt = fields.text("prompt");
  request.max_text_length = read_text_length(fields);
  request.question = fields.text("question");
  request.text = fields.text("text");
  for (const auto& [name, text] :
       {std::pair{"question", &request.question}, {"text", &request.text}}) {
    if (fields.has(name) && is_blank(*text))
      throw Problem(kInvalidRequest,
                    "field \"" + std::string(name) +
                        "\": an empty text; give at least one word, or leave it out");
  }
  request.layers = read_whole(fields, option_named("layers"), 0);
  const std::string format = fields.text("format", "json");
  if (format != "json" && format != "png")
    throw Problem(kInvalidRequest, "field \"format\": must be json or png");
  request.png = format == "png";
  if (fields.has("word")) request.word = fields.whole("word", 0, 0, kMaxTextWords);
  if (request.word && !request.png)
    throw Problem(
        kInvalidRequest,
        "field \"word\": chooses the word of a PNG; give format png, or take all words as JSON");
  if (fields.pictures().size() != 1)
    throw Problem(kInvalidRequest,
                  "one picture is needed in field \"image\", or as the body; got " +
                      std::to_string(fields.pictures().size()));
  return request;
}

// A text that is given is read; otherwise the model writes it first.
Job job_of(const AttentionRequest& request, const Work& work) {
  Job job;
  const bool asked = !request.question.empty();
  job.task = !request.text.empty() ? Task::kAttention : asked ? Task::kAsk : Task::kCaption;
  job.request_state = work.request_state();
  job.question = request.question;
  job.caption.prompt = request.prompt;
  if (!request.text.empty()) job.texts = {request.text};
  job.ask.max_text_length = request.max_text_length;
  job.attention = AttentionOptions{.prompt = request.prompt,
                                   .layers = request.layers,
                                   .max_text_length = request.max_text_length};
  return job;
}

// Of one word, or the mean of all.
std::vector<float> map_of(const Attention& attention, const std::optional<std::size_t>& word) {
  const auto& words = attention.words;
  if (words.empty()) throw Problem(kInvalidRequest, "the text has no word");
  if (word && *word >= words.size())
    throw Problem(kInvalidRequest, "field \"word\": the text has " + std::to_string(words.size()) +
                                       " words, counted from 0; got " + std::to_string(*word));
  if (word) return words[*word].weights;
  std::vector<float> mean(words.front().weights.size());
  for (const WordAttention& one : words)
    for (std::size_t i = 0; i < mean.size(); ++i)
      mean[i] += one.weights[i] / static_cast<float>(words.size());
  return mean;
}

Json words_json(const std::vector<WordAttention>& words, int side) {
  Json list = Json::array();
  const auto count = static_cast<std::size_t>(side);
  for (const WordAttention& word : words) {
    Json rows = Json::array();
    for (std::size_t y = 0; y < count; ++y) {
      Json row = Json::array();
      for (std::size_t x = 0; x < count; ++x)
        row.push_back(std::round(double{word.weights[y * count + x]} * 1e6) / 1e6);
      rows.push_back(std::move(row));
    }
    list.push_back({{"word", word.word}, {"weights", std::move(rows)}});
  }
  return list;
}

}  // namespace

Json attention_json(const Attention& attention) {
  Json json{{"side", attention.side}, {"words", words_json(attention.words, attention.side)}};
  if (!attention.question.empty())
    json["question"] = words_json(attention.question, attention.side);
  return json;
}

void answer_attention(Service& service, Exchange& exchange) {
  Work work(service, exchange);
  Fields fields(exchange.request, service.limits.input);
  const AttentionRequest request = read_request(fields);
  const CommonFields common = read_common(fields, work, service.limits);

  Model& model = service.models.choose(
      common.model, request.question.empty() ? Task::kCaption : Task::kAsk, true);
  std::vector<Job> jobs;
  jobs.push_back(job_of(request, work));
  jobs.back().picture =
      open_picture(fields.pictures().front(), common.background, model, service, work);
  const JobResult result = std::move(work.run(model, std::move(jobs)).front());
  // The model said that it can.
  if (!result.attention) throw std::runtime_error("the model told no attention");
  if (request.png) {
    const Decoded picture =
        decode(fields.pictures().front(), common.background, 0, service, work, kDrawingBytes);
    return exchange.respond({200, "image/png",
                             heat_map_png(picture.image, map_of(*result.attention, request.word),
                                          result.attention->side)});
  }
  Json json{{"text", request.text.empty() ? result.generation.text : request.text}};
  if (!request.question.empty()) json["question"] = request.question;
  json["attention"] = attention_json(*result.attention);
  finish_result(json, result);
  respond(exchange, std::move(json), model, work);
}

}  // namespace blip::server
