#include "server/access.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>

namespace blip::server {
namespace {

// Takes as long for a near miss as for any other.
bool same_secret(const std::string& a, const std::string& b) {
  if (a.size() != b.size()) return false;
  unsigned char difference = 0;
  for (std::size_t i = 0; i < a.size(); ++i) difference = static_cast<unsigned char>(difference | (a[i] ^ b[i]));
  return difference == 0;
}

}  // namespace

bool is_loopback(const std::string& host) {
  if (host == "localhost") return true;
  in_addr four = {};
  if (inet_pton(AF_INET, host.c_str(), &four) == 1) return ntohl(four.s_addr) >> 24 == IN_LOOPBACKNET;
  in6_addr six = {};
  return inet_pton(AF_INET6, host.c_str(), &six) == 1 && IN6_IS_ADDR_LOOPBACK(&six);
}

bool Access::has_key(const Request& request) const { return keys_.empty() || !key_of(request).empty(); }

std::string Access::key_of(const Request& request) const {
  const std::string& header = request.header("authorization");
  const std::string scheme = "Bearer ";
  if (keys_.empty() || !header.starts_with(scheme)) return "";
  const std::string given = header.substr(scheme.size());
  std::string found;
  for (const std::string& key : keys_)  // all of them, however soon one fits
    if (same_secret(key, given)) found = key;
  return found;
}

bool Access::listed(const std::string& origin) const {
  return std::any_of(origins_.begin(), origins_.end(), [&](const std::string& one) { return one == "*" || one == origin; });
}

bool Access::origin_allowed(const Request& request) const {
  const std::string& origin = request.header("origin");
  if (origin.empty() || listed(origin)) return true;
  const std::string& host = request.header("host");
  return origin == "http://" + host || origin == "https://" + host;
}

std::optional<Response> Access::preflight(const Request& request) const {
  if (request.method != "OPTIONS" || request.header("access-control-request-method").empty()) return std::nullopt;
  if (!listed(request.header("origin"))) return std::nullopt;
  return Response{204, "", "", {{"Access-Control-Allow-Methods", "GET, POST, PUT, DELETE"},
                                {"Access-Control-Allow-Headers", "Authorization, Content-Type, X-Request-Id"},
                                {"Access-Control-Max-Age", "600"}}};
}

void Access::add_headers(const Request& request, Response& response) const {
  if (origins_.empty()) return;
  response.headers.emplace_back("Vary", "Origin");
  const std::string& origin = request.header("origin");
  if (!origin.empty() && listed(origin)) {
    response.headers.emplace_back("Access-Control-Allow-Origin", origin);
    response.headers.emplace_back("Access-Control-Expose-Headers", "X-Request-Id, Retry-After");
  }
}

}  // namespace blip::server
