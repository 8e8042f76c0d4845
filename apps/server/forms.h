// Bodies of HTML forms.
//
// Why not a library: the bodies lie in memory, whole, when they are read. Neither Boost.Beast nor
// another HTTP library of Debian reads multipart bodies from memory (libmicrohttpd's and Poco's
// readers are bound to their own servers' connections).
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace blip::server {

struct FormPart {
  std::string name, filename, content_type, content;
};

// Of a multipart/form-data body. Throws Problem(invalid_request) on anything malformed.
std::vector<FormPart> read_multipart(std::string_view content_type, std::string_view body);
// Of an application/x-www-form-urlencoded body.
std::vector<FormPart> read_urlencoded(std::string_view body);

}  // namespace blip::server
