// Copies of archives with captions in them: a.txt behind a.jpg, as WebDataset's shards have it.
#pragma once

#include <cstddef>
#include <functional>
#include <string>

#include "jobs/sidecar.h"

namespace blip::cli {

struct ShardOptions {
  std::string folder;           // the copies lie in it, under the names of the archives
  std::string ending = ".txt";  // of the members that are added
  jobs::Existing existing = jobs::Existing::kSkip;  // what becomes of members of that name
};

// The captions of pictures by their names, ARCHIVE/MEMBER.
struct Captions {
  std::function<bool(const std::string& name)> contains;
  std::function<std::string(const std::string& name)> text;
};

// The copy's path.
std::string shard_path(const ShardOptions& options, const std::string& archive);

// Copies a tar, compressed as it is, member by member; captions become members behind their
// pictures. The file appears whole or not at all. Returns how many captions had no place, as two
// pictures would share a member. Throws Error(kIo); Exit when interrupted.
std::size_t write_shard(const ShardOptions& options, const std::string& archive,
                        const Captions& captions);

}  // namespace blip::cli
