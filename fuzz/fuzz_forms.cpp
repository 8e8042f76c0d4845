// Form bodies: the first line is the Content-Type, the rest the body; without a boundary in it, a
// urlencoded one.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "server/forms.h"
#include "server/problem.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::string_view type = input.substr(0, input.find('\n'));
  const std::string_view body = input.substr(std::min(input.size(), type.size() + 1));
  try {
    const bool multipart = type.find("boundary") != std::string_view::npos;
    std::size_t kept = 0;
    for (const auto& part :
         multipart ? blip::server::read_multipart(type, body) : blip::server::read_urlencoded(body))
      kept +=
          part.name.size() + part.filename.size() + part.content_type.size() + part.content.size();
    if (kept > body.size()) std::abort();  // every byte is kept once
  } catch (const blip::server::Problem& problem) {
    if (problem.kind().status != 400) std::abort();
  }
  return 0;
}
