// The web page's files and the API's description, embedded when the program is built
// (cmake/EmbedFiles.cmake).
#pragma once

#include <span>
#include <string_view>

namespace blip::server {

struct Asset {
  std::string_view name;  // "index.html"
  std::string_view bytes;
};

std::span<const Asset> assets();

}  // namespace blip::server
