// One file from an address to its place on disk: resumed, checked, and renamed when it is whole.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "blip/hub.h"
#include "hub/http_client.h"

namespace blip::hub {

// What is known of a file before it is asked for.
struct RemoteFile {
  std::string name;  // for messages and progress
  std::string url;
  std::string etag;  // 64 hexadecimal digits: its SHA-256; 40: git's SHA-1 of it; else nothing that
                     // can be checked
  std::uint64_t size = 0;
  bool size_known = false;
};

// Performs a request again after failures that pass (no connection, 408, 429, 5xx), waiting longer
// each time or as long as Retry-After says. `progressed` says whether the try before got any
// further: then it counts as the first.
Reply with_retries(const HubOptions& options, const std::function<Reply()>& request,
                   const std::function<bool()>& progressed = {});

// An exclusive lock on a file (flock, as the filelock package's), waited for while nobody cancels.
class FileLock {
 public:
  FileLock(const std::filesystem::path& path, const CancelCallback& cancel);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  int fd_ = -1;
};

// Downloads into `target` by way of target + ".incomplete". The caller holds the file's lock.
// Throws Error(kIo).
void download_file(HttpClient& client, const RemoteFile& file, const std::filesystem::path& target,
                   const HubOptions& options);

// Throws the Error(kIo) that an answer of failure means, in the words of somebody who wanted
// `what`.
[[noreturn]] void refuse(const Reply& reply, const std::string& what, const std::string& endpoint);

}  // namespace blip::hub
