// find_model, pull and what else include/blip/hub.h promises.
#include "blip/hub.h"

#include <algorithm>
#include <filesystem>

#include "hub/cache.h"
#include "hub/pull.h"

namespace blip {
namespace {

namespace fs = std::filesystem;
using hub::Cache;
using hub::Name;

bool exists(const std::string& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

// The source that a short name stands for; else the text itself.
std::string source_of(const std::string& text) {
  for (const KnownModel& model : known_models())
    if (model.short_name == text) return model.source;
  return text;
}

bool is_address(const std::string& source) { return source.starts_with("https://"); }

// Official .pth files lie beside each other in a folder of our own.
fs::path file_of(const std::string& address) {
  const std::string cache = hub::environment("XDG_CACHE_HOME");
  const fs::path root = cache.empty() ? fs::path(hub::environment("HOME")) / ".cache" : fs::path(cache);
  return root / "blip" / fs::path(address).filename();
}

std::vector<std::string> all_names(const HubOptions& options) {
  std::vector<std::string> names;
  for (const KnownModel& model : known_models()) {
    names.push_back(model.short_name);
    if (!is_address(model.source)) names.push_back(model.source);
  }
  for (const CachedModel& model : cached_models(options)) names.push_back(model.name);
  return names;
}

[[noreturn]] void refuse_name(const std::string& text, const HubOptions& options) {
  std::string near;
  for (const std::string& name : hub::nearest(text, all_names(options))) near += (near.empty() ? "" : ", ") + name;
  throw Error(ErrorCode::kUsage, "\"" + text + "\" is no file or folder here and no model's name (ORG/NAME, ORG/NAME@REVISION)" +
                                     (near.empty() ? "; `blip models --known` lists names" : "; did you mean " + near + "?"));
}

// The hub's answer with the names that are nearest, where the name may be wrong.
std::string hub_path(const Name& name, const Cache& cache, const HubOptions& options) {
  try {
    return hub::pull_repository(name, cache, options).string();
  } catch (const Error& error) {
    const std::string message = error.what();
    if (error.code() != ErrorCode::kIo || message.find("no such model") == std::string::npos) throw;
    std::string near;
    for (const std::string& other : hub::nearest(name.repository, all_names(options)))
      if (other != name.repository) near += (near.empty() ? "; did you mean " : ", ") + other;
    throw Error(ErrorCode::kIo, message + (near.empty() ? "" : near + "?"));
  }
}

}  // namespace

std::string find_model(const std::string& text, const HubOptions& options) {
  if (text.empty() || exists(text)) return text;
  const std::string source = source_of(text);
  if (is_address(source)) return exists(file_of(source).string()) ? file_of(source).string() : "";
  const auto name = hub::parse_name(source);
  if (!name) return "";
  if (const auto folder = Cache(hub::cache_folder(options)).find(*name)) return folder->string();
  const auto folder = hub::find_in_modelscope(*name);
  return folder ? folder->string() : "";
}

std::string pull(const std::string& text, const HubOptions& options) {
  const bool local = exists(text);
  if (local && !options.update) return text;
  const std::string source = source_of(text);
  const auto name = hub::parse_name(source);
  if (!name && !is_address(source)) {
    if (local) return text;
    refuse_name(text, options);
  }
  if (!options.update || options.offline || hub::is_set("HF_HUB_OFFLINE")) {
    if (std::string path = find_model(text, options); !path.empty()) return path;
  }
  if (is_address(source)) return hub::pull_address(source, file_of(source), options).string();
  return hub_path(*name, Cache(hub::cache_folder(options)), options);
}

std::vector<CachedModel> cached_models(const HubOptions& options) { return Cache(hub::cache_folder(options)).list(); }

std::uint64_t remove_cached(const std::string& text, const HubOptions& options) {
  const std::string source = source_of(text);
  if (is_address(source)) {
    const fs::path file = file_of(source);
    std::error_code error;
    const auto bytes = fs::file_size(file, error);
    if (error || !fs::remove(file, error)) throw Error(ErrorCode::kIo, text + " is not in the cache: there is no " + file.string());
    return bytes;
  }
  const auto name = hub::parse_name(source);
  if (!name) refuse_name(text, options);
  return Cache(hub::cache_folder(options)).remove(*name);
}

}  // namespace blip
