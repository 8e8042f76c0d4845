// Who may ask: the names under which this server is reached, API keys and the origins of web pages.
#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "server/authority.h"
#include "server/http.h"

namespace blip::server {

// One value of --allowed-host: "name" (any port), "name:port", ".example.org" or "*.example.org"
// (the name and all below it), "*" (any).
class HostPattern {
 public:
  // Throws Error(kUsage).
  explicit HostPattern(const std::string& text);
  bool fits(const Authority& authority) const;
  // The same of a page's origin, whose port must be the one given or, without one, http's or
  // https's own.
  bool fits_origin(const Authority& origin) const;

 private:
  bool any_ = false, below_ = false;
  Authority wanted_;
};

struct AccessOptions {
  std::vector<std::string> keys;           // empty = no key needed
  std::vector<std::string> origins;        // whose pages may use the server; "*" = any
  std::vector<std::string> allowed_hosts;  // beside loopback names and this machine's addresses
  std::string listen_host;                 // what --host says is a name of ours too
};

class Access {
 public:
  // Throws Error(kUsage) for a host or an origin that is none.
  explicit Access(const AccessOptions& options);

  // The client means this server: Host (and the authority of an absolute address) is a name or
  // address of ours. A web page whose name suddenly leads to this machine (DNS rebinding) gives its
  // own name.
  bool host_allowed(const Request& request) const;
  // The request carries one of the keys, or none is needed.
  bool has_key(const Request& request) const;
  // The one of the keys that the request carries; "" where none is needed.
  std::string key_of(const Request& request) const;
  bool needs_key() const;
  // From any thread; requests that are checked from now on need the new ones.
  void set_keys(std::vector<std::string> keys);
  // No web page of a foreign origin sent it, as far as browsers tell. navigates: links from other
  // pages may lead here.
  bool origin_allowed(const Request& request, bool navigates) const;
  // The answer to a browser's question whether a page may send its request.
  std::optional<Response> preflight(const Request& request) const;
  // Lets the page read the answer.
  void add_headers(const Request& request, Response& response) const;

 private:
  bool listed(const std::string& origin) const;
  bool is_ours(const Authority& authority, const Request& request) const;
  bool is_own_address(const std::string& address) const;

  mutable std::mutex mutex_;
  std::vector<std::string> keys_;
  std::vector<std::string> origins_;
  std::vector<HostPattern> hosts_;
  std::optional<HostPattern> listen_host_;
  mutable std::vector<std::string> own_addresses_;
  mutable std::chrono::steady_clock::time_point own_addresses_at_;
};

}  // namespace blip::server
