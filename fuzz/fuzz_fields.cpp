// A request's fields: the first line is the query, the second the Content-Type, the rest the body.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/json.h"
#include "server/endpoint.h"
#include "server/fields.h"
#include "server/forms.h"

namespace {

using namespace blip::server;

void require(bool condition) {
  if (!condition) std::abort();
}

std::string_view take_line(std::string_view& rest) {
  const std::string_view line = rest.substr(0, rest.find('\n'));
  rest.remove_prefix(std::min(rest.size(), line.size() + 1));
  return line;
}

void read(Fields& fields, const InputLimits& limits) {
  require(fields.pictures().size() <= limits.max_images);
  const auto texts = fields.texts("text", "texts");
  require(texts.size() <= limits.max_texts);
  for (const std::string& text : texts)
    require(!text.empty() && text.size() <= 4 * limits.max_text_characters);
  const auto options = read_generate(fields, {}, blip::kCaptionText, {});
  require(options.beams >= 1 && options.beams <= WorkLimits().max_beams &&
          options.min_length.value_or(0) <= options.max_length);
  require(std::isfinite(options.temperature) && options.temperature > 0);
  require(options.sample || options.num_return <= options.beams);
  fields.flag("stream", false);
  require(fields.text("model").size() <= 4 * limits.max_text_characters);
  fields.reject_unknown();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  Request request;
  request.method = "POST";
  try {
    for (FormPart& part : read_urlencoded(take_line(rest)))
      request.query.emplace_back(part.name, part.content);
  } catch (const Problem&) {
    return 0;
  }
  request.headers["content-type"] = std::string(take_line(rest));
  request.body = std::string(rest);
  const InputLimits limits{.max_images = 3, .max_texts = 5, .max_text_characters = 25};
  try {
    Fields fields(request, limits);
    read(fields, limits);
  } catch (const Problem& problem) {
    require(problem.kind().status == 400 || problem.kind().status == 415);
    // names what the client sent, whatever bytes those were
    blip::json_text(to_json(problem.kind(), problem.what(), "id"));
  }
  return 0;
}
