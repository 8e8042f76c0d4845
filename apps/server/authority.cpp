#include "server/authority.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstring>

#include "base/ascii.h"

namespace blip::server {
namespace {

constexpr std::size_t kMaxHost = 255;

bool is_port(std::string_view text) {
  if (text.empty() || text.size() > 5 || !std::all_of(text.begin(), text.end(), is_digit))
    return false;
  return std::stoi(std::string(text)) <= 65535;
}

bool is_name(std::string_view text) {
  const auto fits = [](char c) { return is_alphanumeric(c) || c == '-' || c == '.' || c == '_'; };
  return !text.empty() && text.size() <= kMaxHost && text.front() != '.' &&
         text.find("..") == std::string_view::npos && std::all_of(text.begin(), text.end(), fits);
}

}  // namespace

std::optional<std::string> canonical_address(std::string_view text) {
  if (text.size() > INET6_ADDRSTRLEN) return std::nullopt;
  // A link-local address may name its interface.
  const std::string address(text.substr(0, text.find('%')));
  char canonical[INET6_ADDRSTRLEN];
  in_addr four = {};
  if (inet_pton(AF_INET, address.c_str(), &four) == 1)
    return inet_ntop(AF_INET, &four, canonical, sizeof canonical);
  in6_addr six = {};
  if (inet_pton(AF_INET6, address.c_str(), &six) != 1) return std::nullopt;
  if (IN6_IS_ADDR_V4MAPPED(&six)) {
    std::memcpy(&four, six.s6_addr + 12, sizeof four);
    return inet_ntop(AF_INET, &four, canonical, sizeof canonical);
  }
  return inet_ntop(AF_INET6, &six, canonical, sizeof canonical);
}

std::optional<Authority> parse_authority(std::string_view text) {
  Authority result;
  std::string_view host = text, rest;
  const bool bracketed = text.starts_with('[');
  if (bracketed) {
    const std::size_t end = text.find(']');
    if (end == std::string_view::npos) return std::nullopt;
    host = text.substr(1, end - 1);
    rest = text.substr(end + 1);
  } else if (const std::size_t colon = text.find(':'); colon != std::string_view::npos) {
    host = text.substr(0, colon);
    rest = text.substr(colon);
  }
  if (!rest.empty() && (rest[0] != ':' || (rest.size() > 1 && !is_port(rest.substr(1)))))
    return std::nullopt;
  if (rest.size() > 1) result.port = std::to_string(std::stoi(std::string(rest.substr(1))));
  if (host.ends_with('.') && !bracketed) host.remove_suffix(1);
  if (auto address = canonical_address(host);
      address && bracketed == (host.find(':') != std::string_view::npos)) {
    result.host = std::move(*address);
    result.is_address = true;
    return result;
  }
  if (bracketed || !is_name(host)) return std::nullopt;
  result.host = lower(host);
  return result;
}

std::optional<Authority> parse_origin(std::string_view text) {
  const std::string origin = lower(text);
  const bool secure = origin.starts_with("https://");
  if (!secure && !origin.starts_with("http://")) return std::nullopt;
  auto authority = parse_authority(std::string_view(origin).substr(secure ? 8 : 7));
  if (authority && authority->port.empty()) authority->port = secure ? "443" : "80";
  return authority;
}

bool is_loopback(const Authority& authority) {
  if (authority.is_address) return authority.host == "::1" || authority.host.starts_with("127.");
  return authority.host == "localhost" || authority.host.ends_with(".localhost");
}

bool is_loopback(const std::string& listen_host) {
  const auto authority = parse_authority(
      listen_host.find(':') == std::string::npos ? listen_host : "[" + listen_host + "]");
  return authority && is_loopback(*authority);
}

}  // namespace blip::server
