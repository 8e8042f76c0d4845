// A row of the history that another program wrote, as the page gets it.
// The first line is the columns' types: t(ext), b(lob), i(nteger) or r(eal). Then a line each: the
// date, the task, the name, the summary, the picture's type, the picture; the rest is the result.
#include <sqlite3.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "server/history_api.h"

namespace {

using namespace blip::server;

sqlite3* g_database = nullptr;

void require(bool condition) {
  if (!condition) std::abort();
}

// History has its database in memory; SQLite tells of every one that is opened.
int on_open(sqlite3* database, char**, const void*) {
  g_database = database;
  return SQLITE_OK;
}

History& history() {
  static History* kept = [] {
    sqlite3_auto_extension(reinterpret_cast<void (*)()>(on_open));
    return new History(":memory:");
  }();
  return *kept;
}

void bind(sqlite3_stmt* statement, int place, char type, std::string_view bytes) {
  const std::string text(bytes);
  const int size = static_cast<int>(text.size());
  switch (type) {
    case 'b':
      sqlite3_bind_blob(statement, place, text.data(), size, SQLITE_TRANSIENT);
      break;
    case 'i':
      sqlite3_bind_int64(statement, place, std::strtoll(text.c_str(), nullptr, 10));
      break;
    case 'r':
      sqlite3_bind_double(statement, place, std::strtod(text.c_str(), nullptr));
      break;
    default:
      sqlite3_bind_text(statement, place, text.data(), size, SQLITE_TRANSIENT);
  }
}

void write_row(std::string_view types, const std::array<std::string_view, 7>& values) {
  static sqlite3_stmt* insert = [] {
    sqlite3_stmt* statement = nullptr;
    sqlite3_prepare_v2(g_database,
                       "INSERT OR REPLACE INTO entries (id, created, task, name, summary, "
                       "picture_type, picture, result) "
                       "VALUES (1, ?, ?, ?, ?, ?, ?, ?)",
                       -1, &statement, nullptr);
    return statement;
  }();
  for (std::size_t i = 0; i < values.size(); ++i)
    bind(insert, static_cast<int>(i) + 1, i < types.size() ? types[i] : 't', values[i]);
  require(sqlite3_step(insert) == SQLITE_DONE);
  sqlite3_reset(insert);
}

// The answer to a GET request; one that is refused has status 4xx.
Response get(const std::string& path) {
  Request request;
  request.method = "GET";
  request.path = path;
  Response got;
  const auto exchange = std::make_shared<Exchange>(std::move(request));
  exchange->set_finisher([&got](Response response) { return got = std::move(response); });
  try {
    answer_history(history(), "", {}, *exchange);
  } catch (const Problem& problem) {
    return to_response(problem.kind(), problem.what(), "id");
  }
  return got;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  history();
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  const auto take_line = [&rest] {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    return line;
  };
  const std::string_view types = take_line();
  std::array<std::string_view, 7> values;
  for (std::size_t i = 0; i < 6; ++i) values[i] = take_line();
  values[6] = rest;
  write_row(types, values);

  const Response list = get("/v1/history");
  require(list.status == 200);
  // throws unless it is JSON, UTF-8 included
  const Json entry = Json::parse(list.body).at("entries").at(0);
  require(entry.at("id") == 1 && entry.at("name").is_string() && entry.contains("result"));
  if (values[5].empty()) return 0;
  const Response picture = get("/v1/history/1/image");
  require(picture.status == 422 ||
          (picture.status == 200 && picture.content_type.starts_with("image/") &&
           picture.content_type != "image/svg+xml"));
  return 0;
}
