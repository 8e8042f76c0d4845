// "host:port" as it stands in Host, Origin, an absolute request target and --allowed-host.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace blip::server {

struct Authority {
  std::string host;  // in lower case without a trailing dot; an address in its canonical form,
                     // without brackets
  std::string port;  // "" where none is given
  bool is_address = false;  // an IPv4 or IPv6 address; an IPv4-mapped one counts as IPv4

  bool operator==(const Authority&) const = default;
};

// Nothing for what is no authority of an http address: an empty host, user information, characters
// that no host has.
std::optional<Authority> parse_authority(std::string_view text);
// "http://host:port" or "https://host:port", as in Origin; the scheme's own port is filled in where
// none is given.
std::optional<Authority> parse_origin(std::string_view text);
// One spelling for each address: "::FFFF:127.0.0.1" is "127.0.0.1". Nothing for what is not an
// address.
std::optional<std::string> canonical_address(std::string_view text);
// localhost, any name below it (RFC 6761), 127.0.0.0/8 and ::1.
bool is_loopback(const Authority& authority);
// The same of an address or name to listen on (IPv6 without brackets): only programs of this
// machine reach it.
bool is_loopback(const std::string& listen_host);

}  // namespace blip::server
