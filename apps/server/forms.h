// Bodies of HTML forms.
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
