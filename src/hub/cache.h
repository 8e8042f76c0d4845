// The Hugging Face cache on disk, as the huggingface_hub package lays it out:
//
//   models--ORG--NAME/refs/REVISION            holds the commit that a branch or tag was at
//   models--ORG--NAME/blobs/ETAG               a file's content, once for all commits that have it
//   models--ORG--NAME/snapshots/COMMIT/FILE    a link to the blob
//   .locks/models--ORG--NAME/ETAG.lock         held by flock() while the blob is written
//
// Readers need no lock: a blob gets its name, and a ref its content, by a rename when they are
// whole.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "blip/hub.h"
#include "hub/name.h"

namespace blip::hub {

// The folder of the options, or of the environment.
std::filesystem::path cache_folder(const HubOptions& options);

class Cache {
 public:
  explicit Cache(std::filesystem::path root) : root_(std::move(root)) {}

  const std::filesystem::path& root() const { return root_; }
  std::filesystem::path repository(const std::string& name) const;  // models--ORG--NAME
  std::filesystem::path blob(const std::string& name, const std::string& etag) const;
  std::filesystem::path lock(const std::string& name, const std::string& etag) const;
  std::filesystem::path snapshot(const std::string& name, const std::string& commit) const;

  // The commit of a revision that was downloaded; nullopt where the cache does not know the
  // revision.
  std::optional<std::string> commit_of(const Name& name) const;
  // The folder of a revision that holds a whole model.
  std::optional<std::filesystem::path> find(const Name& name) const;
  // "org/name is not in the cache at FOLDER", with what there is of it, for messages.
  std::string missing(const Name& name) const;
  // Points the revision to the commit.
  void set_ref(const Name& name, const std::string& commit) const;
  // Every snapshot with a whole model.
  std::vector<CachedModel> list() const;
  // What goes on lying in the store that newer releases of the huggingface_hub package share
  // between models is a warning.
  std::uint64_t remove(const Name& name, const WarningCallback& warning) const;

 private:
  std::filesystem::path root_;
};

// Does a folder hold a model that can be loaded? Every shard that an index names must be there, and
// the configuration beside weights of transformers' names.
bool holds_model(const std::filesystem::path& folder);

// "ORG/NAME" of a snapshot's folder; "" for any other path. Its own name says only which commit it
// is.
std::string name_of_snapshot(const std::filesystem::path& folder);

// A model that ModelScope's own program downloaded.
std::optional<std::filesystem::path> find_in_modelscope(const Name& name);

// Files of a repository that pull() takes, by their names: the configuration, the vocabulary, one
// form of the weights. Empty where there are no weights of a form that this library reads.
std::vector<std::string> wanted_files(const std::vector<std::string>& names);

// "" where the variable is unset.
std::string environment(const char* variable);
// A folder that a variable names; ~ is the home folder, as for the huggingface_hub package.
std::filesystem::path folder_in_environment(const char* variable);
std::filesystem::path home_folder();
bool offline_by_environment();
// 1, on, yes or true, in any case.
bool is_set(const char* variable);

}  // namespace blip::hub
