// Models by name: the Hugging Face cache, downloads into it, and what is there.
//
//   std::string path = blip::find_model("Salesforce/blip-image-captioning-base");  // no network
//   if (path.empty()) path = blip::pull("Salesforce/blip-image-captioning-base");
//   blip::Engine engine = blip::Engine::load(path);
//
// A name is ORG/NAME or ORG/NAME@REVISION (a branch, a tag or a commit; "main" where none is
// given), or one of the short names of known_models(). The cache is shared with the huggingface_hub
// package: each side finds what the other left. All functions may be called from any thread and
// process at a time, and throw blip::Error.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "blip/error.h"
#include "blip/options.h"

#pragma GCC visibility push(default)
namespace blip {

// Bytes of one file of a model that are there, of all that it has.
using DownloadCallback =
    std::function<void(const std::string& file, std::uint64_t done, std::uint64_t total)>;

// Every field's default is what the environment says, by the variables of the huggingface_hub
// package.
struct HubOptions {
  // The cache's folder. "": $HF_HUB_CACHE, $HF_HOME/hub, $XDG_CACHE_HOME/huggingface/hub or
  // ~/.cache/huggingface/hub, the first that is set.
  std::string cache{};
  // Where models are asked for, "https://host". "": $HF_ENDPOINT, else the hub of Hugging Face.
  std::string endpoint{};
  // The access token, sent to the endpoint alone. "": $HF_TOKEN, the file $HF_TOKEN_PATH or
  // $HF_HOME/token (unless $HF_HUB_DISABLE_IMPLICIT_TOKEN is set); none of them: no token is
  // sent.
  std::string token{};
  // Never use the network. Also where $HF_HUB_OFFLINE or $TRANSFORMERS_OFFLINE is set.
  bool offline = false;
  // pull() asks whether the revision has moved on, also where the cache holds it, and fetches
  // what other programs left out.
  bool update = false;
  // Milliseconds before the first retry of what failed in passing; doubled each time, five times
  // in all.
  int retry_ms = 1000;
  DownloadCallback progress{};  // from the thread that calls pull(); unset = silent
  CancelCallback cancel{};      // polled about ten times a second; unset = never cancelled
  WarningCallback warning{};    // unset = dropped
};

// A published checkpoint that people ask for by a short name.
struct KnownModel {
  std::string short_name;  // "caption-base"
  std::string
      source;  // "Salesforce/blip-image-captioning-base", or the address of an official .pth file
  std::string task;     // "caption", "match", "ask"
  std::string licence;  // SPDX identifier
  std::uint64_t bytes;  // of the download, about
};
const std::vector<KnownModel>& known_models();

// A revision of a repository in the cache that holds a model's weights.
struct CachedModel {
  std::string name;      // "ORG/NAME"
  std::string commit;    // 40 hexadecimal digits
  std::string revision;  // the branch or tag that points to it, "" where none does
  std::string path;      // what Engine::load takes
  std::uint64_t bytes = 0;
};

// Is this text of the form of a model's name? (Nothing is said about whether there is one.)
bool is_model_name(const std::string& text);

// What Engine::load takes for `name`: the name itself where it is a path that exists; else the
// revision's folder in the cache of Hugging Face or ModelScope; "" where neither is there. Never
// uses the network and never writes.
std::string find_model(const std::string& name, const HubOptions& options = {});

// As find_model, for those who need the model: throws Error(kIo) where it is in no cache, with
// what was looked for and where, the nearest known name and how to get it; Error(kUnsupported)
// for the vendor's compiled models, which cannot be had this way. What can only be a path comes
// back as it is: opening it tells what is wrong. Engine::load does this.
std::string require_model(const std::string& name, const HubOptions& options = {});

// As find_model, and downloads what is missing into the cache: the configuration, the vocabulary
// and one form of the weights. Interrupted downloads go on where they were; whatever arrives is
// checked against the hub's checksums before it gets its name. Throws Error(kUsage) for what is
// no name, Error(kIo) where the model cannot be had, which says what was looked for, where, and
// what to do, Error(kCancelled), and Error(kUnsupported) in builds without downloads.
std::string pull(const std::string& name, const HubOptions& options = {});

// The base model, a name or a path, that the LoRA adapter in a folder states and that
// Engine::load will look for; "" where there is no adapter, where it states none, and where the
// base lies beside it. Throws Error(kModel) for a damaged one.
std::string adapter_base(const std::string& folder);

// Which files of a repository pull() takes, by their names: for programs with a downloader of
// their own. All false: there are no weights of a form that this library reads.
std::vector<bool> wanted_files(const std::vector<std::string>& names);

// The models in the cache, by name.
std::vector<CachedModel> cached_models(const HubOptions& options = {});

// Removes a model's revision from the cache (all revisions where none is named) and what no other
// revision needs. Returns the bytes that became free; what stays in a store that models share is
// a warning. Throws Error(kIo) where it is not there.
std::uint64_t remove_cached(const std::string& name, const HubOptions& options = {});

}  // namespace blip
#pragma GCC visibility pop
