#include "server/history_api.h"

#include <charconv>
#include <limits>

namespace blip::server {
namespace {

constexpr int kDefaultPage = 50, kMaxPage = 200;
constexpr std::size_t kMaxResultCharacters = 1 << 20;
constexpr std::string_view kRoot = "/v1/history";

Json to_json(const HistoryEntry& entry) {
  return {{"id", entry.id},           {"created", entry.created}, {"task", entry.task}, {"name", entry.name},
          {"summary", entry.summary}, {"result", Json::parse(entry.result, nullptr, false)}};
}

[[noreturn]] void no_entry(const std::string& path) { throw Problem(kNotFound, "no history entry at " + path); }

std::int64_t read_id(std::string_view text, const std::string& path) {
  std::int64_t id = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error != std::errc() || end != text.data() + text.size() || id <= 0) no_entry(path);
  return id;
}

// Stored as JSON text, so that it comes back as what it was.
std::string read_result(Fields& fields) {
  const std::string text = fields.text("result", "{}");
  if (!Json::accept(text)) throw Problem(kInvalidRequest, "field \"result\": is not JSON text");
  return text;
}

void list_entries(History& history, Fields& fields, Exchange& exchange) {
  const std::string text = fields.text("query");
  const auto before = fields.whole("before", 0, 0, std::numeric_limits<std::int64_t>::max());
  const auto limit = fields.whole("limit", kDefaultPage, 1, kMaxPage);
  fields.reject_unknown();
  Json entries = Json::array();
  for (const auto& entry : history.list(text, static_cast<std::int64_t>(before), static_cast<int>(limit))) entries.push_back(to_json(entry));
  exchange.respond(json_response({{"entries", entries}}));
}

void add_entry(History& history, Fields& fields, Exchange& exchange) {
  HistoryEntry entry;
  entry.task = fields.text("task");
  entry.name = fields.text("name");
  entry.summary = fields.text("summary");
  entry.result = read_result(fields);
  fields.reject_unknown();
  if (entry.task != "caption" && entry.task != "match" && entry.task != "ask") throw Problem(kInvalidRequest, "field \"task\": must be caption, match or ask");
  if (fields.pictures().size() != 1) throw Problem(kInvalidRequest, "one picture is needed in field \"image\"");
  const std::string& bytes = fields.pictures().front();
  const std::string type = picture_type(bytes);
  if (type.empty()) throw Problem(kInvalidImage, "the picture is neither JPEG, PNG, GIF, WebP nor BMP");
  const std::int64_t id = history.add(entry, {type, bytes});
  Response response = json_response(to_json(*history.find(id)), 201);
  response.headers.emplace_back("Location", std::string(kRoot) + "/" + std::to_string(id));
  exchange.respond(std::move(response));
}

void answer_root(History& history, Fields& fields, Exchange& exchange) {
  const std::string& method = exchange.request.method;
  if (method == "GET") return list_entries(history, fields, exchange);
  if (method == "POST") return add_entry(history, fields, exchange);
  fields.reject_unknown();
  history.clear();
  exchange.respond({204, "", ""});
}

}  // namespace

std::string picture_type(std::string_view bytes) {
  if (bytes.starts_with("\xff\xd8\xff")) return "image/jpeg";
  if (bytes.starts_with("\x89PNG\r\n\x1a\n")) return "image/png";
  if (bytes.starts_with("GIF87a") || bytes.starts_with("GIF89a")) return "image/gif";
  if (bytes.starts_with("RIFF") && bytes.size() > 12 && bytes.substr(8, 4) == "WEBP") return "image/webp";
  if (bytes.starts_with("BM")) return "image/bmp";
  return "";
}

void answer_history(History& history, const InputLimits& input_limits, Exchange& exchange) {
  const std::string& path = exchange.request.path;
  InputLimits limits = input_limits;
  limits.max_text_characters = kMaxResultCharacters;
  Fields fields(exchange.request, limits);
  std::string_view rest = std::string_view(path).substr(kRoot.size());
  if (rest.empty()) return answer_root(history, fields, exchange);
  rest.remove_prefix(1);
  const bool wants_picture = rest.ends_with("/image");
  if (wants_picture) rest.remove_suffix(6);
  const std::int64_t id = read_id(rest, path);
  const std::string& method = exchange.request.method;
  if (wants_picture) {
    fields.reject_unknown();
    auto picture = history.picture(id);
    if (!picture) no_entry(path);
    return exchange.respond({200, picture->type, std::move(picture->bytes), {{"Cache-Control", "private, max-age=31536000, immutable"}}});
  }
  if (method == "PUT") {
    const std::string summary = fields.text("summary"), result = read_result(fields);
    fields.reject_unknown();
    if (!history.update(id, summary, result)) no_entry(path);
  } else if (method == "DELETE") {
    fields.reject_unknown();
    if (!history.remove(id)) no_entry(path);
    return exchange.respond({204, "", ""});
  }
  const auto entry = history.find(id);
  if (!entry) no_entry(path);
  exchange.respond(json_response(to_json(*entry)));
}

}  // namespace blip::server
