// Downloads of whole models. With BLIP_DOWNLOADS=OFF (pull_none.cpp) they are Error(kUnsupported).
#pragma once

#include <filesystem>
#include <string>

#include "blip/error.h"
#include "blip/hub.h"
#include "hub/cache.h"

namespace blip::hub {

// There is no such model where it was looked for: its name may be wrong.
class NotFound : public Error {
 public:
  using Error::Error;
};

// The revision's folder in the cache, with everything that wanted_files() names.
std::filesystem::path pull_repository(const Name& name, const Cache& cache,
                                      const HubOptions& options);

// A single file from an address.
std::filesystem::path pull_address(const std::string& url, const std::filesystem::path& target,
                                   const HubOptions& options);

}  // namespace blip::hub
