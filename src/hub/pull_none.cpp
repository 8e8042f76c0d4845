// In place of pull.cpp where the build has no libcurl.
#include "blip/error.h"
#include "hub/pull.h"

namespace blip::hub {
namespace {

[[noreturn]] void refuse(const std::string& missing) {
  throw NotFound(
      ErrorCode::kUnsupported,
      missing +
          ", and this build cannot download; copy the model here from another machine, or let the "
          "huggingface_hub package fetch it (`hf download`)");
}

}  // namespace

std::filesystem::path pull_repository(const Name& name, const Cache& cache, const HubOptions&) {
  refuse(cache.missing(name));
}

std::filesystem::path pull_address(const std::string& url, const std::filesystem::path& target,
                                   const HubOptions&) {
  refuse(url + " is not in the cache: there is no " + target.string());
}

}  // namespace blip::hub
