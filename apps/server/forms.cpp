#include "server/forms.h"

#include <algorithm>

#include "base/ascii.h"
#include "server/problem.h"

namespace blip::server {
namespace {

constexpr std::size_t kMaxParts = 4096;

[[noreturn]] void malformed(const std::string& what) {
  throw Problem(kInvalidRequest, "malformed form: " + what);
}

bool same_word(std::string_view a, std::string_view b) {
  return a.size() == b.size() && lower(a) == lower(b);
}

// `name` of a header value's parameters: form-data; name="image"; filename="cat.jpg"
std::string parameter(std::string_view value, std::string_view name) {
  std::size_t at = value.find(';');
  while (at != std::string_view::npos) {
    std::string_view rest = trimmed(value.substr(at + 1));
    const std::size_t equals = rest.find('=');
    if (equals == std::string_view::npos) return "";
    const std::string_view key = trimmed(rest.substr(0, equals));
    rest.remove_prefix(equals + 1);
    std::string text;
    std::size_t used = 0;
    if (rest.starts_with('"')) {
      for (used = 1; used < rest.size() && rest[used] != '"'; ++used) {
        if (rest[used] == '\\' && used + 1 < rest.size() &&
            (rest[used + 1] == '"' || rest[used + 1] == '\\'))
          ++used;
        text += rest[used];
      }
    } else {
      used = std::min(rest.find(';'), rest.size());
      text = trimmed(rest.substr(0, used));
    }
    if (same_word(key, name)) return text;
    at = rest.find(';', used);
    value = rest;
  }
  return "";
}

FormPart read_part(std::string_view part) {
  const std::size_t end = part.find("\r\n\r\n");
  if (end == std::string_view::npos) malformed("a part without a blank line after its headers");
  FormPart result;
  std::string_view headers = part.substr(0, end);
  while (!headers.empty()) {
    const std::size_t line_end = std::min(headers.find("\r\n"), headers.size());
    const std::string_view line = headers.substr(0, line_end);
    headers.remove_prefix(std::min(line_end + 2, headers.size()));
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) malformed("a part's header without a colon");
    const std::string_view value = trimmed(line.substr(colon + 1));
    if (same_word(line.substr(0, colon), "content-disposition")) {
      result.name = parameter(value, "name");
      result.filename = parameter(value, "filename");
    } else if (same_word(line.substr(0, colon), "content-type")) {
      result.content_type = value;
    }
  }
  if (result.name.empty()) malformed("a part without a name");
  result.content = part.substr(end + 4);
  return result;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::string percent_decoded(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      result += text[i] == '+' ? ' ' : text[i];
      continue;
    }
    const int high = i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
    const int low = i + 2 < text.size() ? hex_digit(text[i + 2]) : -1;
    if (high < 0 || low < 0) malformed("a % without two hexadecimal digits");
    result += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return result;
}

}  // namespace

std::vector<FormPart> read_multipart(std::string_view content_type, std::string_view body) {
  const std::string boundary = parameter(content_type, "boundary");
  if (boundary.empty() || boundary.size() > 70)
    malformed("Content-Type needs a boundary of 1 to 70 characters");
  const std::string first = "--" + boundary, next = "\r\n" + first;
  std::vector<FormPart> parts;
  std::size_t at = 0;
  if (!body.starts_with(first)) {
    at = body.find(next);
    if (at == std::string_view::npos) malformed("its boundary is nowhere in the body");
    at += 2;
  }
  for (at += first.size(); !body.substr(at).starts_with("--");) {
    const std::size_t line_end = body.find("\r\n", at);
    const std::size_t end =
        line_end == std::string_view::npos ? line_end : body.find(next, line_end);
    if (end == std::string_view::npos) malformed("it ends without its closing boundary");
    if (parts.size() == kMaxParts) malformed("more than " + std::to_string(kMaxParts) + " parts");
    // A part without headers starts with the blank line itself.
    const std::size_t start =
        body.substr(line_end).starts_with("\r\n\r\n") ? line_end : line_end + 2;
    parts.push_back(read_part(body.substr(start, end > start ? end - start : 0)));
    at = end + next.size();
  }
  return parts;
}

std::vector<FormPart> read_urlencoded(std::string_view body) {
  std::vector<FormPart> parts;
  while (!body.empty()) {
    const std::size_t end = std::min(body.find('&'), body.size());
    const std::string_view pair = body.substr(0, end);
    body.remove_prefix(std::min(end + 1, body.size()));
    if (pair.empty()) continue;
    if (parts.size() == kMaxParts) malformed("more than " + std::to_string(kMaxParts) + " fields");
    const std::size_t equals = std::min(pair.find('='), pair.size());
    parts.push_back({percent_decoded(pair.substr(0, equals)), "", "",
                     equals < pair.size() ? percent_decoded(pair.substr(equals + 1)) : ""});
  }
  return parts;
}

}  // namespace blip::server
