#include "server/access.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netinet/in.h>

#include <algorithm>

#include "base/ascii.h"
#include "blip/error.h"

namespace blip::server {
namespace {

constexpr auto kAddressesLast = std::chrono::seconds(5);
constexpr const char* kUsualHeaders = "Authorization, Content-Type, X-Request-Id";
constexpr const char* kUsualMethods = "GET, POST, PUT, DELETE";

// Takes as long for a near miss as for any other.
bool same_secret(const std::string& a, const std::string& b) {
  if (a.size() != b.size()) return false;
  unsigned char difference = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    difference = static_cast<unsigned char>(difference | (a[i] ^ b[i]));
  return difference == 0;
}

std::vector<std::string> addresses_of_this_machine() {
  std::vector<std::string> result;
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) return result;
  for (const ifaddrs* one = list; one != nullptr; one = one->ifa_next) {
    if (one->ifa_addr == nullptr) continue;
    char text[INET6_ADDRSTRLEN] = "";
    if (one->ifa_addr->sa_family == AF_INET)
      inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(one->ifa_addr)->sin_addr, text,
                sizeof text);
    else if (one->ifa_addr->sa_family == AF_INET6)
      inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6*>(one->ifa_addr)->sin6_addr, text,
                sizeof text);
    if (auto address = canonical_address(text)) result.push_back(std::move(*address));
  }
  freeifaddrs(list);
  return result;
}

// What a browser may ask to send: names of headers, with commas between.
bool is_header_list(const std::string& text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return is_alphanumeric(c) || c == '-' || c == '_' || c == ',' || c == ' ';
  });
}

}  // namespace

HostPattern::HostPattern(const std::string& text) {
  any_ = text == "*";
  if (any_) return;
  std::string name = text;
  if (name.starts_with("*.")) name.erase(0, 1);
  below_ = name.starts_with('.');
  if (below_) name.erase(0, 1);
  // An IPv6 address may come without brackets.
  if (canonical_address(name) && name.find(':') != std::string::npos) name = "[" + name + "]";
  auto authority = parse_authority(name);
  if (!authority)
    throw Error(
        ErrorCode::kUsage,
        "\"" + text + "\" is no host; give NAME, NAME:PORT, .NAME (with all below it) or *");
  wanted_ = std::move(*authority);
}

bool HostPattern::fits(const Authority& authority) const {
  if (any_) return true;
  if (!wanted_.port.empty() && wanted_.port != authority.port) return false;
  return authority.host == wanted_.host || (below_ && authority.host.ends_with("." + wanted_.host));
}

bool HostPattern::fits_origin(const Authority& origin) const {
  if (any_ || !fits(origin)) return false;
  return !wanted_.port.empty() || origin.port == "80" || origin.port == "443";
}

Access::Access(const AccessOptions& options) : keys_(options.keys) {
  for (const std::string& origin : options.origins) {
    // As browsers write it: in lower case, without the scheme's own port and without a path.
    std::string written = lower(origin);
    if (written.ends_with('/')) written.pop_back();
    if (written != "*" && written != "null" && written.find("://") == std::string::npos)
      throw Error(ErrorCode::kUsage,
                  "\"" + origin + "\" is no origin; give https://NAME[:PORT] or *");
    origins_.push_back(std::move(written));
  }
  for (const std::string& host : options.allowed_hosts) hosts_.emplace_back(host);
  // Browsers are sent to the address that the server prints, whatever it is.
  const std::string& own = options.listen_host;
  if (parse_authority(own) || canonical_address(own)) listen_host_.emplace(own);
}

bool Access::is_own_address(const std::string& address) const {
  const std::lock_guard lock(mutex_);
  const auto now = std::chrono::steady_clock::now();
  if (own_addresses_.empty() || now - own_addresses_at_ > kAddressesLast) {
    own_addresses_ = addresses_of_this_machine();
    own_addresses_at_ = now;
  }
  return std::find(own_addresses_.begin(), own_addresses_.end(), address) != own_addresses_.end();
}

bool Access::is_ours(const Authority& authority, const Request& request) const {
  if (is_loopback(authority) || (listen_host_ && listen_host_->fits(authority))) return true;
  if (std::any_of(hosts_.begin(), hosts_.end(),
                  [&](const HostPattern& one) { return one.fits(authority); }))
    return true;
  return authority.is_address &&
         (authority.host == request.local || is_own_address(authority.host));
}

bool Access::host_allowed(const Request& request) const {
  // Only clients of HTTP/1.0 may leave the name out, and no browser is among them.
  return std::all_of(request.authorities.begin(), request.authorities.end(),
                     [&](const std::string& text) {
                       const auto authority = parse_authority(text);
                       return authority && is_ours(*authority, request);
                     });
}

bool Access::needs_key() const {
  const std::lock_guard lock(mutex_);
  return !keys_.empty();
}

void Access::set_keys(std::vector<std::string> keys) {
  const std::lock_guard lock(mutex_);
  keys_ = std::move(keys);
}

bool Access::has_key(const Request& request) const {
  return !needs_key() || !key_of(request).empty();
}

std::string Access::key_of(const Request& request) const {
  const std::string& header = request.header("authorization");
  const std::string scheme = "bearer";
  if (header.size() <= scheme.size() || lower(header.substr(0, scheme.size())) != scheme) return "";
  const std::size_t start = header.find_first_not_of(' ', scheme.size());
  if (start == scheme.size() || start == std::string::npos) return "";
  const std::string given = header.substr(start);
  std::string found;
  const std::lock_guard lock(mutex_);
  for (const std::string& key : keys_)  // all of them, however soon one fits
    if (same_secret(key, given)) found = key;
  return found;
}

bool Access::listed(const std::string& origin) const {
  return std::any_of(origins_.begin(), origins_.end(),
                     [&](const std::string& one) { return one == "*" || one == lower(origin); });
}

bool Access::origin_allowed(const Request& request, bool navigates) const {
  const std::string& text = request.header("origin");
  if (text.empty()) {
    // Pictures, scripts and links of other pages come without Origin; newer browsers say that they
    // are other pages'.
    const std::string& site = request.header("sec-fetch-site");
    if (site != "cross-site" && site != "same-site") return true;
    return listed("*") || (navigates && request.header("sec-fetch-mode") == "navigate");
  }
  if (listed(text)) return true;
  const auto origin = parse_origin(text);
  if (!origin) return false;
  const std::string& own_port = text.starts_with("https") ? "443" : "80";
  for (const std::string& name : request.authorities) {
    auto authority = parse_authority(name);
    if (authority && authority->port.empty()) authority->port = own_port;
    if (authority == origin) return true;
  }
  // A proxy may ask in its own name for pages of ours that have another: the one in --allowed-host.
  return std::any_of(hosts_.begin(), hosts_.end(),
                     [&](const HostPattern& one) { return one.fits_origin(*origin); });
}

std::optional<Response> Access::preflight(const Request& request) const {
  if (request.method != "OPTIONS" || request.header("access-control-request-method").empty())
    return std::nullopt;
  if (!listed(request.header("origin"))) return std::nullopt;
  const std::string& wanted = request.header("access-control-request-headers");
  Response response{
      204,
      "",
      "",
      {{"Access-Control-Allow-Methods", kUsualMethods},
       {"Access-Control-Allow-Headers", is_header_list(wanted) ? wanted : kUsualHeaders},
       {"Access-Control-Max-Age", "600"}}};
  if (request.header("access-control-request-private-network") == "true")
    response.headers.emplace_back("Access-Control-Allow-Private-Network", "true");
  return response;
}

void Access::add_headers(const Request& request, Response& response) const {
  if (origins_.empty()) return;
  const bool asks = request.method == "OPTIONS";
  response.headers.emplace_back(
      "Vary",
      asks ? "Origin, Access-Control-Request-Method, Access-Control-Request-Headers" : "Origin");
  const std::string& origin = request.header("origin");
  if (!origin.empty() && listed(origin)) {
    response.headers.emplace_back("Access-Control-Allow-Origin", origin);
    response.headers.emplace_back("Access-Control-Expose-Headers", "X-Request-Id, Retry-After");
  }
}

}  // namespace blip::server
