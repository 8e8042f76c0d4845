// Requests as they come from a socket: the first byte says in how large pieces, the rest is what
// was sent. However the bytes are cut, the requests and what is wrong with them are the same.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "server/authority.h"
#include "server/http_request.h"

namespace {

using namespace blip::server;

void require(bool condition) {
  if (!condition) std::abort();
}

struct Result {
  std::vector<std::string> requests;
  int status = 0;
  bool operator==(const Result&) const = default;
};

void check(RequestReader& reader) {
  const Request& request = reader.request();
  require(!request.method.empty() && !request.path.empty());
  require(request.path[0] == '/' || request.path == "*");
  require(request.query.size() <= kMaxParameters && request.headers.size() <= kMaxFields);
  for (const auto& authority : request.authorities) require(parse_authority(authority).has_value());
  require(reader.is_http_1_0() || !request.authorities.empty());
  for (const auto& [name, value] : request.headers) {
    require(!name.empty() && name.find_first_of(" \r\n:") == std::string::npos &&
            name.find('\0') == std::string::npos);
    require(value.find_first_of("\r\n") == std::string::npos &&
            value.find('\0') == std::string::npos);
  }
  const bool both = request.headers.count("content-length") != 0 &&
                    request.headers.count("transfer-encoding") != 0;
  require(!both);
}

// Feeds the bytes as a connection does: what was not used up comes again with more behind it.
Result read_all(std::string_view bytes, std::size_t step) {
  Result result;
  std::string body, input;
  RequestReader reader([&](std::string_view piece) { body += piece; });
  for (std::size_t at = 0; at < bytes.size() || !input.empty();) {
    const std::string_view piece = bytes.substr(std::min(at, bytes.size()), step);
    at += piece.size();
    input += piece;
    std::size_t used = 1;
    while (used > 0 && reader.state() != RequestReader::State::kFailed) {
      const bool was_head = reader.state() == RequestReader::State::kHead;
      used = reader.read(input);
      require(used <= input.size());
      input.erase(0, used);
      if (was_head && (reader.state() == RequestReader::State::kBody ||
                       reader.state() == RequestReader::State::kDone))
        check(reader);
      if (reader.state() != RequestReader::State::kDone) continue;
      const Request& request = reader.request();
      result.requests.push_back(request.method + " " + request.path + " " + body);
      require(reader.is_chunked() || body.size() == reader.content_length());
      body.clear();
      reader = RequestReader([&](std::string_view more) { body += more; });
      used = 1;
      if (input.empty()) break;
    }
    if (reader.state() == RequestReader::State::kFailed) {
      result.status = reader.status();
      require(result.status == 400 || result.status == 414 || result.status == 431 ||
              result.status == 501 || result.status == 505);
      require(!reader.problem().empty());
      break;
    }
    if (piece.empty()) break;
  }
  return result;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  constexpr std::size_t kMostPieces = 64;  // so that long inputs stay quick
  const std::size_t step = std::max<std::size_t>(1 + data[0] % 61, bytes.size() / kMostPieces);
  const Result whole = read_all(bytes, bytes.size() + 1);
  require(read_all(bytes, step) == whole);
  return 0;
}
