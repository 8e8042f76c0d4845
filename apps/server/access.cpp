#include "server/access.h"

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

bool Access::has_key(const Request& request) const {
  if (keys_.empty()) return true;
  const std::string& header = request.header("authorization");
  const std::string scheme = "Bearer ";
  if (!header.starts_with(scheme)) return false;
  const std::string given = header.substr(scheme.size());
  return std::count_if(keys_.begin(), keys_.end(), [&](const std::string& key) { return same_secret(key, given); }) > 0;
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
