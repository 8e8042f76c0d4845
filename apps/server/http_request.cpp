#include "server/http_request.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <boost/optional.hpp>
#include <charconv>
#include <utility>
#include <vector>

#include "base/ascii.h"
#include "server/authority.h"

namespace blip::server {
namespace {

namespace beast = boost::beast;

std::string_view view(beast::string_view text) { return {text.data(), text.size()}; }

// "%41" becomes "A". What is no escape stays as it is, and so does %00, which no text of ours has.
std::string unescape(std::string_view text, bool plus_is_space) {
  std::string result;
  result.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const int high = text[i] == '%' && i + 2 < text.size() ? hex_value(text[i + 1]) : -1;
    const int low = high >= 0 ? hex_value(text[i + 2]) : -1;
    if (low >= 0 && (high | low) != 0) {
      result += static_cast<char>(high * 16 + low);
      i += 2;
    } else {
      result += plus_is_space && text[i] == '+' ? ' ' : text[i];
    }
  }
  return result;
}

bool is_token(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return is_alphanumeric(c) ||
           std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
  });
}

// Whether the comma-separated list has the word, in whatever case.
bool lists(std::string_view list, std::string_view word) {
  while (!list.empty()) {
    const std::size_t comma = std::min(list.find(','), list.size());
    if (lower(trimmed(list.substr(0, comma))) == word) return true;
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return false;
}

}  // namespace

struct RequestReader::Head final : beast::http::basic_parser<true> {
  std::string method, target;
  int version = 0;
  std::vector<std::pair<std::string, std::string>> fields;  // names in lower case

  const std::string* only(std::string_view name, bool& repeated) const {
    const std::string* found = nullptr;
    for (const auto& [key, value] : fields)
      if (key == name) repeated = std::exchange(found, &value) != nullptr || repeated;
    return found;
  }

 private:
  using Text = beast::string_view;
  using Code = beast::error_code;
  void on_request_impl(beast::http::verb, Text name, Text address, int number,
                       Code& code) override {
    method = std::string(view(name));
    target = std::string(view(address));
    version = number;
    code = {};
  }
  void on_response_impl(int, Text, int, Code& code) override { code = {}; }
  void on_field_impl(beast::http::field, Text name, Text value, Code& code) override {
    fields.emplace_back(lower(view(name)), std::string(trimmed(view(value))));
    code = {};
  }
  void on_header_impl(Code& code) override { code = {}; }
  void on_body_init_impl(const boost::optional<std::uint64_t>&, Code& code) override { code = {}; }
  std::size_t on_body_impl(Text body, Code& code) override {
    code = {};
    return body.size();
  }
  void on_chunk_header_impl(std::uint64_t, Text, Code& code) override { code = {}; }
  std::size_t on_chunk_body_impl(std::uint64_t, Text body, Code& code) override {
    code = {};
    return body.size();
  }
  void on_finish_impl(Code& code) override { code = {}; }
};

void RequestReader::fail(int status, std::string problem) {
  state_ = State::kFailed;
  status_ = status;
  problem_ = std::move(problem);
}

std::size_t RequestReader::read(std::string_view bytes) {
  if (state_ == State::kHead) return read_head(bytes);
  return state_ == State::kBody ? read_body(bytes) : 0;
}

// Line ends and characters that readers take in different ways. Looks at every byte once, however
// the head arrives.
bool RequestReader::check_bytes(std::string_view bytes) {
  for (; checked_ < bytes.size(); ++checked_) {
    const auto c = static_cast<unsigned char>(bytes[checked_]);
    const char before = checked_ > 0 ? bytes[checked_ - 1] : '\0';
    if (before == '\r' && c != '\n')
      return fail(400, "a carriage return without a line feed"), false;
    if (c == '\n' && before != '\r')
      return fail(400, "a line feed without a carriage return"), false;
    if (before == '\n' && (c == ' ' || c == '\t'))
      return fail(400, "a header that goes on in the next line"), false;
    if ((c < ' ' && c != '\t' && c != '\r' && c != '\n') || c == 0x7f)
      return fail(400, "a control character in the headers"), false;
    if (line_end_ == 0 && c == '\n') line_end_ = checked_ + 1;
    // An empty line ends the head.
    if (c == '\n' && checked_ >= 3 && bytes[checked_ - 2] == '\n') {
      ++checked_;
      return true;
    }
  }
  return false;
}

std::size_t RequestReader::read_head(std::string_view bytes) {
  if (checked_ == 0 && bytes.starts_with("\r\n")) return 2;  // some clients end their bodies so
  if (bytes == "\r") return 0;
  const bool complete = check_bytes(bytes);
  if (state_ == State::kFailed) return 0;
  constexpr std::size_t kMaxLine = kMaxTarget + 64;  // with method and version
  if (line_end_ > kMaxLine || (line_end_ == 0 && bytes.size() > kMaxLine))
    return fail(414, "the address has more than " + std::to_string(kMaxTarget) +
                         " bytes; send them in the body"),
           0;
  if (checked_ > kMaxHead)
    return fail(431, "the headers have more than " + std::to_string(kMaxHead) + " bytes"), 0;
  if (!complete) return 0;
  const std::size_t size = checked_;
  take_head(bytes.substr(0, size));
  return state_ == State::kFailed ? 0 : size;
}

void RequestReader::take_head(std::string_view bytes) {
  const std::string_view line = bytes.substr(0, line_end_ - 2);
  const std::string_view version = line.substr(line.rfind(' ') + 1);
  if (version.size() == 8 && version.starts_with("HTTP/") && is_digit(version[5]) &&
      version[6] == '.' && is_digit(version[7]) && version != "HTTP/1.0" && version != "HTTP/1.1")
    return fail(505, std::string(version) + "; this server speaks HTTP/1.1 and HTTP/1.0");
  Head head;
  head.header_limit(static_cast<std::uint32_t>(2 * kMaxHead));
  head.skip(true);  // the body is read here
  beast::error_code code;
  const std::size_t used = head.put(boost::asio::const_buffer(bytes.data(), bytes.size()), code);
  if (code || used != bytes.size() || !head.is_done()) {
    if (code == beast::http::error::bad_content_length)
      return fail(400, "a senseless Content-Length");
    if (code == beast::http::error::bad_transfer_encoding)
      return fail(400, "a senseless Transfer-Encoding");
    return fail(400, "this is no HTTP request: " +
                         (code ? code.message() : "it does not end where it should"));
  }
  if (!is_token(head.method)) return fail(400, "a method that is no word");
  if (head.fields.size() > kMaxFields)
    return fail(431, "more than " + std::to_string(kMaxFields) + " headers");
  if (!take_framing(head) || !take_fields(head) || !take_target(head)) return;
  request_.head_only = head.method == "HEAD";
  request_.method = request_.head_only ? "GET" : head.method;
  left_ = content_length_;
  state_ = chunked_ || left_ > 0 ? State::kBody : State::kDone;
}

// Where the body ends. Two readers that disagree about it take each other's requests apart.
bool RequestReader::take_framing(const Head& head) {
  is_http_1_0_ = head.version == 10;
  bool repeated = false;
  const std::string* length = head.only("content-length", repeated);
  const std::string* coding = head.only("transfer-encoding", repeated);
  if (repeated) return fail(400, "Content-Length or Transfer-Encoding comes twice"), false;
  if (length != nullptr && coding != nullptr)
    return fail(400, "Content-Length and Transfer-Encoding exclude each other"), false;
  if (coding != nullptr) {
    if (lower(*coding) != "chunked")
      return fail(400, "a transfer coding other than chunked"), false;
    if (is_http_1_0_) return fail(400, "Transfer-Encoding in HTTP/1.0"), false;
    chunked_ = true;
  }
  if (length != nullptr) {
    const char* end = length->data() + length->size();
    const auto [stop, error] = std::from_chars(length->data(), end, content_length_);
    if (error != std::errc() || stop != end ||
        !std::all_of(length->begin(), length->end(), is_digit))
      return fail(400, "a Content-Length that is no number of bytes"), false;
  }
  return true;
}

bool RequestReader::take_fields(const Head& head) {
  bool repeated = false;
  const std::string* host = head.only("host", repeated);
  if (repeated) return fail(400, "Host comes twice"), false;
  if (host == nullptr && !is_http_1_0_) return fail(400, "the header Host is missing"), false;
  if (host != nullptr && !parse_authority(*host))
    return fail(400, "Host is no name or address"), false;
  for (const auto& [name, value] : head.fields) {
    std::string& all = request_.headers[name];
    all += (all.empty() ? "" : ", ") + value;
  }
  const std::string& connection = request_.header("connection");
  keep_alive_ = is_http_1_0_ ? lists(connection, "keep-alive") : !lists(connection, "close");
  expects_continue_ = !is_http_1_0_ && lower(request_.header("expect")) == "100-continue";
  if (host != nullptr) request_.authorities.push_back(*host);
  return true;
}

bool RequestReader::take_target(const Head& head) {
  std::string_view target = head.target;
  if (head.method == "CONNECT")
    return fail(501, "this server is no proxy: it takes no CONNECT"), false;
  if (target == "*" && head.method == "OPTIONS") return request_.path = "*", true;
  if (const std::size_t colon = target.find("://");
      !target.starts_with('/') && colon != std::string_view::npos) {
    const std::string scheme = lower(target.substr(0, colon));
    target.remove_prefix(colon + 3);
    const std::size_t end = std::min(target.find_first_of("/?"), target.size());
    const std::string authority(target.substr(0, end));
    target.remove_prefix(end);
    if ((scheme != "http" && scheme != "https") || !parse_authority(authority))
      return fail(400, "the address is none of this server's: it starts with " + scheme + "://" +
                           authority),
             false;
    request_.authorities.push_back(authority);
  } else if (!target.starts_with('/')) {
    return fail(400, "the address must start with / or http://"), false;
  }
  const std::size_t question = std::min(target.find('?'), target.size());
  request_.path = question == 0 ? "/" : unescape(target.substr(0, question), false);
  std::string_view query = target.substr(std::min(question + 1, target.size()));
  if (std::count(query.begin(), query.end(), '&') >= static_cast<std::ptrdiff_t>(kMaxParameters))
    return fail(400, "the address has more than " + std::to_string(kMaxParameters) +
                         " parameters; send them in the body"),
           false;
  while (!query.empty()) {
    const std::string_view one = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(one.size() + 1, query.size()));
    const std::size_t equals = std::min(one.find('='), one.size());
    if (!one.empty())
      request_.query.emplace_back(unescape(one.substr(0, equals), true),
                                  unescape(one.substr(std::min(equals + 1, one.size())), true));
  }
  return true;
}

std::size_t RequestReader::read_body(std::string_view bytes) {
  std::size_t used = 0;
  if (chunked_) {
    while (state_ == State::kBody) {
      const std::size_t some = read_chunk(bytes.substr(used));
      if (some == 0) break;
      used += some;
    }
    return used;
  }
  used = static_cast<std::size_t>(std::min<std::uint64_t>(left_, bytes.size()));
  left_ -= used;
  if (used > 0) take_body_(bytes.substr(0, used));
  if (left_ == 0) state_ = State::kDone;
  return used;
}

std::size_t RequestReader::read_chunk(std::string_view bytes) {
  if (chunk_ == Chunk::kData) {
    const auto used = static_cast<std::size_t>(std::min<std::uint64_t>(left_, bytes.size()));
    left_ -= used;
    if (used > 0) take_body_(bytes.substr(0, used));
    if (left_ == 0) chunk_ = Chunk::kEnd;
    return used;
  }
  // The other parts are lines.
  const std::string_view part = bytes.substr(0, kMaxChunkLine);
  const std::size_t feed = part.find('\n');
  if (feed == std::string_view::npos) {
    if (bytes.size() >= kMaxChunkLine || (chunk_ == Chunk::kEnd && bytes.size() >= 2))
      fail(400, "a chunk without its line");
    return 0;
  }
  if (feed == 0 || part[feed - 1] != '\r')
    return fail(400, "a line feed without a carriage return"), 0;
  take_chunk_line(part.substr(0, feed - 1));
  return state_ == State::kFailed ? 0 : feed + 1;
}

void RequestReader::take_chunk_line(std::string_view line) {
  const auto bad = [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte < ' ' && c != '\t') || byte == 0x7f;
  };
  if (std::any_of(line.begin(), line.end(), bad))
    return fail(400, "a control character between chunks");
  if (chunk_ == Chunk::kEnd) {
    if (!line.empty()) return fail(400, "a chunk that is longer than it says");
    chunk_ = Chunk::kSize;
  } else if (chunk_ == Chunk::kSize) {
    const std::string_view digits = line.substr(0, line.find(';'));
    constexpr std::size_t kMaxDigits = 15;  // no sum of chunks comes near the end of 64 bits
    const char* end = digits.data() + digits.size();
    const auto [stop, error] = std::from_chars(digits.data(), end, left_, 16);
    if (digits.size() > kMaxDigits || error != std::errc() || stop != end)
      return fail(400, "a chunk's size that is no hexadecimal number");
    chunk_ = left_ > 0 ? Chunk::kData : Chunk::kTrailer;
  } else if (line.empty()) {
    state_ = State::kDone;
  } else {  // trailers are checked and forgotten
    trailer_ += line.size();
    if (!is_token(line.substr(0, line.find(':'))) || line.find(':') == std::string_view::npos)
      return fail(400, "a line of the trailer that is no header");
    if (trailer_ > kMaxTrailer) return fail(431, "the trailer is too long");
  }
}

}  // namespace blip::server
