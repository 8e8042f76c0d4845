// find_model, pull and what else include/blip/hub.h promises.
#include "blip/hub.h"

#include <algorithm>
#include <filesystem>

#include "hub/cache.h"
#include "hub/pull.h"
#include "hub/vendor.h"

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
  const fs::path root = cache.empty() ? hub::home_folder() / ".cache" : fs::path(cache);
  return root / "blip" / fs::path(address).filename();
}

std::vector<std::string> all_names(const HubOptions& options) {
  std::vector<std::string> names;
  for (const KnownModel& model : known_models()) {
    names.push_back(model.short_name);
    if (!is_address(model.source)) names.push_back(model.source);
  }
  for (const std::string& chip : hub::vendor_names()) names.push_back(chip);
  for (const CachedModel& model : cached_models(options)) names.push_back(model.name);
  return names;
}

// "; did you mean A, B?" with the names nearest to a text; "" where none is near, or it is one of
// them.
std::string did_you_mean(const std::string& text, const HubOptions& options) {
  const auto names = all_names(options);
  if (std::find(names.begin(), names.end(), text) != names.end()) return "";
  std::string near;
  for (const std::string& name : hub::nearest(text, names))
    near += (near.empty() ? "; did you mean " : ", ") + name;
  return near.empty() ? "" : near + "?";
}

[[noreturn]] void refuse_name(const std::string& text, const HubOptions& options) {
  const std::string near = did_you_mean(text, options);
  throw Error(ErrorCode::kUsage,
              "\"" + text +
                  "\" is no file or folder here and no model's name (ORG/NAME, ORG/NAME@REVISION)" +
                  (near.empty() ? "; `blip models --known` lists names" : near));
}

// With the names that are nearest, where the name may be what is wrong.
std::string hub_path(const std::string& text, const Name& name, const HubOptions& options) {
  try {
    return hub::pull_repository(name, Cache(hub::cache_folder(options)), options).string();
  } catch (const hub::NotFound& error) {
    throw Error(error.code(), text + " is no file or folder here; " + error.what() +
                                  did_you_mean(name.repository, options));
  }
}

// Where a source that is in no cache was looked for.
std::string looked_for(const std::string& source, const Name& name, const HubOptions& options) {
  if (is_address(source)) return "there is no " + file_of(source).string();
  return Cache(hub::cache_folder(options)).missing(name) + ", nor in ModelScope's";
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

std::string require_model(const std::string& text, const HubOptions& options) {
  if (std::string path = find_model(text, options); !path.empty() || text.empty()) return path;
  const std::string source = source_of(text);
  const auto name = hub::parse_name(source);
  if (!name && !is_address(source)) {
    const std::string near = did_you_mean(text, options);
    // The file's own error says why it cannot be opened.
    if (near.empty()) return text;
    throw Error(ErrorCode::kIo, "cannot open " + text + ": No such file or directory" + near);
  }
  if (name) hub::refuse_vendor_model(*name);
  throw Error(ErrorCode::kIo, text + " is no file or folder here, and " +
                                  looked_for(source, name.value_or(Name{}), options) +
                                  "; `blip pull " + text + "` downloads it" +
                                  (name ? did_you_mean(name->repository, options) : ""));
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
  if (!options.update || options.offline || hub::offline_by_environment()) {
    if (std::string path = find_model(text, options); !path.empty()) return path;
  }
  if (is_address(source)) return hub::pull_address(source, file_of(source), options).string();
  hub::refuse_vendor_model(*name);
  return hub_path(text, *name, options);
}

std::vector<bool> wanted_files(const std::vector<std::string>& names) {
  const std::vector<std::string> wanted = hub::wanted_files(names);
  std::vector<bool> marks;
  for (const std::string& name : names)
    marks.push_back(std::find(wanted.begin(), wanted.end(), name) != wanted.end());
  return marks;
}

std::vector<CachedModel> cached_models(const HubOptions& options) {
  return Cache(hub::cache_folder(options)).list();
}

std::uint64_t remove_cached(const std::string& text, const HubOptions& options) {
  const std::string source = source_of(text);
  if (is_address(source)) {
    const fs::path file = file_of(source);
    std::error_code error;
    const auto bytes = fs::file_size(file, error);
    if (error || !fs::remove(file, error))
      throw Error(ErrorCode::kIo, text + " is not in the cache: there is no " + file.string());
    return bytes;
  }
  const auto name = hub::parse_name(source);
  if (!name) refuse_name(text, options);
  return Cache(hub::cache_folder(options)).remove(*name, options.warning);
}

}  // namespace blip
