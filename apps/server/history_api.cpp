#include "server/history_api.h"

#include <charconv>
#include <limits>
#include <optional>
#include <span>

#include "blip/blip.h"

namespace blip::server {
namespace {

constexpr std::string_view kRoot = "/v1/history";

[[noreturn]] void no_entry(const std::string& path) {
  throw Problem(kNotFound, "no history entry at " + quote(path));
}

std::int64_t read_id(std::string_view text, const std::string& path) {
  std::int64_t id = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error != std::errc() || end != text.data() + text.size() || id <= 0) no_entry(path);
  return id;
}

// Stored as JSON text, so that it comes back as what it was.
std::string read_result(Fields& fields) {
  std::string text = fields.text("result", "{}", History::kMaxResult / kHistoryBytesPerCharacter);
  try {
    read_json<Json>(text, kHistoryResultLimits);
  } catch (const JsonError& error) {
    throw Problem(kInvalidRequest,
                  std::string("field \"result\": is not JSON text: ") + error.what());
  }
  return text;
}

std::string read_summary(Fields& fields) {
  return fields.text("summary", "", History::kMaxSummary / kHistoryBytesPerCharacter);
}

// Pictures and results are somebody's own: no copy stays in a browser or proxy.
void respond(Exchange& exchange, Response response) {
  response.headers.emplace_back("Cache-Control", "no-store");
  exchange.respond(std::move(response));
}

void respond_changed(Exchange& exchange, const History::Change& change, int status) {
  std::string text = entry_text(change.entry);
  if (change.dropped > 0) {
    text.pop_back();
    text += ",\"dropped\":" + std::to_string(change.dropped) + "}";
  }
  Response response{status, "application/json", text + "\n"};
  if (status == 201)
    response.headers.emplace_back("Location",
                                  std::string(kRoot) + "/" + std::to_string(change.entry.id));
  respond(exchange, std::move(response));
}

void list_entries(History& history, const std::string& owner, Fields& fields, Exchange& exchange) {
  const std::string text = fields.text("query");
  const auto before = fields.whole("before", 0, 0, std::numeric_limits<std::int64_t>::max());
  const auto limit = fields.whole("limit", kHistoryPage, 1, kMaxHistoryPage);
  fields.reject_unknown();
  const auto page =
      history.list(owner, text, static_cast<std::int64_t>(before), static_cast<int>(limit));
  const HistoryUsage usage = history.usage(owner);
  const Json about{{"next", page.next > 0 ? Json(page.next) : Json()},
                   {"shared", owner.empty()},
                   {"usage",
                    {{"entries", usage.entries},
                     {"bytes", usage.bytes},
                     {"max_entries", history.limits().max_entries},
                     {"max_bytes", history.limits().max_bytes}}}};
  // Entry by entry into text: as values, all together could take many times as much memory.
  std::string body = "{\"entries\":[";
  for (const auto& entry : page.entries)
    body += (&entry == &page.entries.front() ? "" : ",") + entry_text(entry);
  body += "]," + json_text(about).substr(1) + "\n";
  respond(exchange, {200, "application/json", std::move(body)});
}

// "JPEG, PNG, ...": those that have a media type.
std::string picture_formats() {
  std::string list;
  for (const ImageFormat& format : image_formats())
    if (!format.media_types.empty()) list += (list.empty() ? "" : ", ") + format.name;
  return list;
}

void add_entry(History& history, const std::string& owner, Fields& fields, Exchange& exchange) {
  HistoryEntry entry;
  entry.task = fields.text("task");
  entry.name = fields.text("name", "", History::kMaxName / kHistoryBytesPerCharacter);
  entry.summary = read_summary(fields);
  entry.result = read_result(fields);
  fields.reject_unknown();
  if (entry.task != "caption" && entry.task != "match" && entry.task != "ask")
    throw Problem(kInvalidRequest, "field \"task\": must be caption, match or ask");
  if (fields.pictures().size() != 1)
    throw Problem(kInvalidRequest, "one picture is needed in field \"image\"");
  const std::string& bytes = fields.pictures().front();
  const std::string type = picture_type(bytes);
  if (type.empty()) throw Problem(kInvalidImage, "the picture is none of " + picture_formats());
  respond_changed(exchange, history.add(owner, std::move(entry), {type, bytes}), 201);
}

void answer_root(History& history, const std::string& owner, Fields& fields, Exchange& exchange) {
  const std::string& method = exchange.request.method;
  if (method == "GET") return list_entries(history, owner, fields, exchange);
  if (method == "POST") return add_entry(history, owner, fields, exchange);
  fields.reject_unknown();
  history.clear(owner);
  respond(exchange, {204, "", ""});
}

// What the bytes are decides, not what the file says of them: as a document, a picture of another
// kind could run scripts.
void answer_picture(std::int64_t id, const std::optional<HistoryPicture>& picture,
                    Exchange& exchange) {
  if (!picture) no_entry(exchange.request.path);
  const std::string type = picture_type(picture->bytes);
  if (type.empty())
    throw Problem(kInvalidImage, "the stored picture is none of " + picture_formats());
  const std::string file = "picture-" + std::to_string(id) + "." + type.substr(type.find('/') + 1);
  respond(exchange, {200,
                     type,
                     picture->bytes,
                     {{"Content-Security-Policy", "default-src 'none'; sandbox"},
                      {"Content-Disposition", "attachment; filename=\"" + file + "\""}}});
}

// The stored text as far as it may go, and what is wrong with it.
std::string readable(const std::string& text, std::size_t limit, const char* what,
                     std::string& problems) {
  if (text.size() <= limit) return text;
  problems += std::string(problems.empty() ? "" : "; ") + "the " + what + " is longer than " +
              std::to_string(limit) + " bytes and cut";
  return text.substr(0, limit);
}

}  // namespace

std::string entry_text(const HistoryEntry& entry) {
  std::string problems;
  Json json{{"id", entry.id},
            {"created", readable(entry.created, History::kMaxWord, "date", problems)},
            {"task", readable(entry.task, History::kMaxWord, "task", problems)},
            {"name", readable(entry.name, History::kMaxName, "name", problems)},
            {"summary", readable(entry.summary, History::kMaxSummary, "summary", problems)},
            {"result", nullptr}};
  try {
    if (entry.result.size() > History::kMaxResult)
      throw JsonError("longer than " + std::to_string(History::kMaxResult) + " bytes");
    json["result"] = read_json<Json>(entry.result, kHistoryResultLimits);
  } catch (const JsonError& error) {
    problems += std::string(problems.empty() ? "" : "; ") +
                "the stored result cannot be shown: " + error.what();
  }
  if (!problems.empty()) json["error"] = problems;
  return json_text(json);
}

std::string picture_type(std::string_view bytes) {
  const std::optional<ImageFormat> format = image_format_of(std::as_bytes(std::span(bytes)));
  return format && !format->media_types.empty() ? format->media_types.front() : "";
}

void answer_history(History& history, const std::string& owner, const InputLimits& limits,
                    Exchange& exchange) {
  const std::string& path = exchange.request.path;
  Fields fields(exchange.request, limits);
  std::string_view rest = std::string_view(path).substr(kRoot.size());
  if (rest.empty()) return answer_root(history, owner, fields, exchange);
  rest.remove_prefix(1);
  const bool wants_picture = rest.ends_with("/image");
  if (wants_picture) rest.remove_suffix(6);
  const std::int64_t id = read_id(rest, path);
  const std::string& method = exchange.request.method;
  if (method == "PUT") {
    const std::string summary = read_summary(fields), result = read_result(fields);
    fields.reject_unknown();
    const auto change = history.update(owner, id, summary, result);
    if (!change) no_entry(path);
    return respond_changed(exchange, *change, 200);
  }
  fields.reject_unknown();
  if (wants_picture) return answer_picture(id, history.picture(owner, id), exchange);
  if (method == "DELETE") {
    if (!history.remove(owner, id)) no_entry(path);
    return respond(exchange, {204, "", ""});
  }
  const auto entry = history.find(owner, id);
  if (!entry) no_entry(path);
  respond(exchange, {200, "application/json", entry_text(*entry) + "\n"});
}

void answer_no_history(Exchange&) {
  throw Problem(kNotFound, "this server keeps no history; blip serve --history FILE keeps one");
}

}  // namespace blip::server
