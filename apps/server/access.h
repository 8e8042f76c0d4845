// Who may ask: API keys and the origins of web pages.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "server/http.h"

namespace blip::server {

// The address, or the name localhost, reaches programs of this machine alone.
bool is_loopback(const std::string& host);

class Access {
 public:
  Access(std::vector<std::string> keys, std::vector<std::string> origins) : keys_(std::move(keys)), origins_(std::move(origins)) {}

  // The request carries one of the keys, or none is needed.
  bool has_key(const Request& request) const;
  // The one of the keys that the request carries; "" where none is needed.
  std::string key_of(const Request& request) const;
  // A page may send requests to any server its user can reach; one of a foreign origin must be on the list to change or
  // compute anything here.
  bool origin_allowed(const Request& request) const;
  // The answer to a browser's question whether a page may send its request.
  std::optional<Response> preflight(const Request& request) const;
  // Lets the page read the answer.
  void add_headers(const Request& request, Response& response) const;

 private:
  bool listed(const std::string& origin) const;

  std::vector<std::string> keys_, origins_;
};

}  // namespace blip::server
