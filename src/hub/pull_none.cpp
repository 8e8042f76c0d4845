// In place of pull.cpp where the build has no libcurl.
#include "blip/error.h"
#include "hub/pull.h"

namespace blip::hub {
namespace {

[[noreturn]] void refuse(const std::string& what, const std::string& where) {
  throw Error(ErrorCode::kUnsupported, what + " is not in " + where + ", and this build cannot download; copy the model here from another machine");
}

}  // namespace

std::filesystem::path pull_repository(const Name& name, const Cache& cache, const HubOptions&) {
  refuse(name.repository, cache.root().string());
}

std::filesystem::path pull_address(const std::string& url, const std::filesystem::path& target, const HubOptions&) {
  refuse(url, target.parent_path().string());
}

}  // namespace blip::hub
