// What a hub is asked over HTTP, by libcurl: redirects are followed here, so that the token stays
// with the endpoint.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>

#include "blip/options.h"

namespace blip::hub {

struct Reply {
  long status = 0;
  std::string url;                             // that answered, after redirects
  std::map<std::string, std::string> headers;  // names in lower case; of the last answer
  // Of all answers on the way, the first that has it: a redirect to a store tells of the file it
  // leads to.
  std::map<std::string, std::string> first_headers;
  std::string body;        // as far as it is kept
  double retry_after = 0;  // seconds, by Retry-After; 0 = not told

  const std::string& header(const std::string& lower_case_name) const;
};

// No answer came, or it broke off: worth another try.
class ConnectionError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// An address as messages may show it.
std::string without_password(const std::string& url);

// One connection at a time; reuses it. Belongs to one thread.
class HttpClient {
 public:
  // The token goes to addresses that begin with `endpoint` ("https://host[:port]") alone.
  HttpClient(std::string endpoint, std::string token, CancelCallback cancel);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // Follows redirects within the endpoint's host alone: what a redirect elsewhere tells is the
  // answer. Throws ConnectionError and Error(kCancelled), as all of these.
  Reply head(const std::string& url);
  // A small answer, such as a listing. Throws ConnectionError where it is larger than max_bytes.
  Reply get(const std::string& url, std::size_t max_bytes);
  // A file's bytes from `offset` on. `start` sees each final answer's status and headers and says
  // whether its body is wanted; then `sink` gets the body, and ends the download by returning
  // false.
  Reply download(const std::string& url, std::uint64_t offset,
                 const std::function<bool(const Reply&)>& start,
                 const std::function<bool(std::string_view)>& sink);

 private:
  struct Transfer;
  Reply follow(Transfer& transfer, std::string url, bool is_head);
  void perform(Transfer& transfer, const std::string& url, bool is_head);

  std::string endpoint_, token_;
  CancelCallback cancel_;
  struct Handle;
  std::unique_ptr<Handle> handle_;
};

}  // namespace blip::hub
