#include "hub/cache.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <iomanip>
#include <set>

#include "base/ascii.h"
#include "base/file.h"
#include "base/json.h"
#include "blip/error.h"

namespace blip::hub {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxIndex = std::size_t{16} << 20;

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

// The shards that an index names; nullopt where it is damaged.
std::optional<std::set<std::string>> shards_of(const fs::path& index) {
  try {
    const auto json = read_json<nlohmann::json>(read_text(index.string(), kMaxIndex));
    std::set<std::string> shards;
    for (const auto& [tensor, shard] : json.at("weight_map").items())
      shards.insert(shard.get<std::string>());
    return shards;
  } catch (const std::exception&) {
    return std::nullopt;
  }
}

bool has_all_shards(const fs::path& index) {
  const auto shards = shards_of(index);
  return shards && !shards->empty() &&
         std::all_of(shards->begin(), shards->end(), [&](const std::string& shard) {
           return is_file(index.parent_path() / shard);
         });
}

std::vector<fs::path> entries(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    found.push_back(it->path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

std::vector<fs::path> all_files(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::recursive_directory_iterator it(folder, error), end; !error && it != end;
       it.increment(error)) {
    std::error_code ignored;
    if (!it->is_directory(ignored) || it->is_symlink(ignored)) found.push_back(it->path());
  }
  return found;
}

std::uint64_t bytes_of(const fs::path& file) {
  std::error_code error;
  const auto size = fs::file_size(file, error);
  return error ? 0 : size;
}

std::uint64_t bytes_below(const fs::path& folder) {
  std::uint64_t sum = 0;
  for (const fs::path& file : all_files(folder)) sum += bytes_of(file);
  return sum;
}

std::string read_ref(const fs::path& file) {
  std::error_code ignored;
  if (!fs::is_regular_file(file, ignored)) return "";  // a pipe would be waited for
  std::ifstream in(file);
  std::string commit;
  in >> std::setw(64) >> commit;  // of a file without an end no more than that
  return is_commit(commit) ? commit : "";
}

// Blobs that the snapshots of a repository point to, less one snapshot.
std::set<fs::path> used_blobs(const fs::path& repository, const std::string& without) {
  std::set<fs::path> used;
  for (const fs::path& snapshot : entries(repository / "snapshots")) {
    if (snapshot.filename() == without) continue;
    for (const fs::path& file : all_files(snapshot)) {
      std::error_code error;
      const fs::path target = fs::canonical(file, error);
      if (!error) used.insert(target);
    }
  }
  return used;
}

// "ORG/NAME" of models--ORG--NAME; "" for anything else.
std::string name_of_repository(const fs::path& folder) {
  std::string name = folder.filename().string();
  if (!name.starts_with("models--")) return "";
  name.erase(0, 8);
  const std::size_t dashes = name.find("--");
  return dashes == std::string::npos ? "" : name.replace(dashes, 2, "/");
}

void remove_refs(const fs::path& repository, const std::string& commit) {
  for (const fs::path& ref : all_files(repository / "refs")) {
    std::error_code ignored;
    if (read_ref(ref) == commit) fs::remove(ref, ignored);
  }
}

}  // namespace

std::string environment(const char* variable) {
  // NOLINTNEXTLINE(concurrency-mt-unsafe): nothing here writes the environment.
  const char* value = std::getenv(variable);
  return value == nullptr ? "" : value;
}

bool is_set(const char* variable) {
  const std::string value = lower(environment(variable));
  return value == "1" || value == "on" || value == "yes" || value == "true";
}

fs::path home_folder() {
  return environment("HOME").empty() ? fs::path("/") : fs::path(environment("HOME"));
}

fs::path folder_in_environment(const char* variable) {
  const std::string folder = environment(variable);
  if (folder == "~") return home_folder();
  return folder.starts_with("~/") ? home_folder() / folder.substr(2) : fs::path(folder);
}

bool offline_by_environment() { return is_set("HF_HUB_OFFLINE") || is_set("TRANSFORMERS_OFFLINE"); }

fs::path cache_folder(const HubOptions& options) {
  if (!options.cache.empty()) return options.cache;
  for (const char* variable : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"}) {
    if (fs::path folder = folder_in_environment(variable); !folder.empty()) return folder;
  }
  if (const fs::path folder = folder_in_environment("HF_HOME"); !folder.empty())
    return folder / "hub";
  const std::string cache = environment("XDG_CACHE_HOME");
  return (cache.empty() ? home_folder() / ".cache" : fs::path(cache)) / "huggingface" / "hub";
}

fs::path Cache::repository(const std::string& name) const {
  std::string folder = "models--" + name;
  folder.replace(folder.find('/'), 1, "--");
  return root_ / folder;
}

fs::path Cache::blob(const std::string& name, const std::string& etag) const {
  return repository(name) / "blobs" / etag;
}

fs::path Cache::lock(const std::string& name, const std::string& etag) const {
  return root_ / ".locks" / repository(name).filename() / (etag + ".lock");
}

fs::path Cache::snapshot(const std::string& name, const std::string& commit) const {
  return repository(name) / "snapshots" / commit;
}

std::optional<std::string> Cache::commit_of(const Name& name) const {
  if (is_commit(name.revision)) return name.revision;
  const std::string commit =
      read_ref(repository(name.repository) / "refs" / name.revision_or_main());
  return commit.empty() ? std::nullopt : std::optional(commit);
}

std::optional<fs::path> Cache::find(const Name& name) const {
  const auto commit = commit_of(name);
  if (!commit) return std::nullopt;
  const fs::path folder = snapshot(name.repository, *commit);
  return holds_model(folder) ? std::optional(folder) : std::nullopt;
}

std::string Cache::missing(const Name& name) const {
  const std::string what = name.repository + (name.revision.empty() ? "" : "@" + name.revision);
  std::string text = what + " is not in the cache at " + root_.string();
  const auto commit = commit_of(name);
  std::error_code ignored;
  if (commit && fs::exists(snapshot(name.repository, *commit), ignored))
    return text + " (of its files some are, others are missing)";
  const auto blobs = entries(repository(name.repository) / "blobs");
  const bool part = std::any_of(blobs.begin(), blobs.end(), [](const fs::path& blob) {
    return blob.extension() == ".incomplete";
  });
  return part ? text + " (a download of it was broken off)" : text;
}

void Cache::set_ref(const Name& name, const std::string& commit) const {
  if (is_commit(name.revision)) return;
  const fs::path ref = repository(name.repository) / "refs" / name.revision_or_main();
  if (read_ref(ref) == commit) return;
  fs::create_directories(ref.parent_path());
  AtomicFile file(ref.string());
  file.write(commit);
  file.commit();
}

std::vector<CachedModel> Cache::list() const {
  std::vector<CachedModel> models;
  for (const fs::path& folder : entries(root_)) {
    const std::string name = name_of_repository(folder);
    if (name.empty()) continue;
    for (const fs::path& snapshot : entries(folder / "snapshots")) {
      const std::string commit = snapshot.filename().string();
      if (!is_commit(commit) || !holds_model(snapshot)) continue;
      CachedModel model{name, commit, "", snapshot.string(), bytes_below(snapshot)};
      for (const fs::path& ref : all_files(folder / "refs")) {
        if (read_ref(ref) == commit)
          model.revision = ref.lexically_relative(folder / "refs").string();
      }
      models.push_back(std::move(model));
    }
  }
  return models;
}

std::uint64_t Cache::remove(const Name& name, const WarningCallback& warning) const {
  const fs::path folder = repository(name.repository);
  std::error_code error;
  const auto snapshots = entries(folder / "snapshots");
  const auto commit = commit_of(name);
  const bool one = !name.revision.empty();
  if (snapshots.empty() ||
      (one && (!commit || !fs::exists(snapshot(name.repository, *commit), error)))) {
    const std::string what = name.repository + (one ? "@" + name.revision : "");
    throw Error(ErrorCode::kIo, what + " is not in the cache at " + root_.string() +
                                    "; `blip models` lists what is");
  }
  std::uint64_t shared = 0;
  const auto tell_shared = [&] {
    if (shared == 0 || !warning) return;
    warning(std::to_string(shared) + " bytes of " + name.repository + " stay in " +
            (root_ / "blobs").string() +
            ", which all models share; `hf cache prune` removes what none needs");
  };
  if (!one || snapshots.size() == 1) {
    std::uint64_t bytes = bytes_below(folder / "refs");
    for (const fs::path& blob : all_files(folder / "blobs"))
      (fs::is_symlink(blob, error) ? shared : bytes) += bytes_of(blob);
    fs::remove_all(folder, error);
    if (error)
      throw Error(ErrorCode::kIo, "cannot remove " + folder.string() + ": " + error.message());
    fs::remove_all(root_ / ".locks" / folder.filename(), error);
    tell_shared();
    return bytes;
  }
  // The ref goes first: a reader that comes between finds no revision rather than half of one.
  remove_refs(folder, *commit);
  const auto used = used_blobs(folder, *commit);
  fs::remove_all(snapshot(name.repository, *commit), error);
  if (error)
    throw Error(ErrorCode::kIo, "cannot remove " + folder.string() + ": " + error.message());
  std::uint64_t bytes = 0;
  for (const fs::path& blob : entries(folder / "blobs")) {
    const fs::path whole = fs::canonical(blob, error);
    if (error || used.contains(whole) || blob.extension() == ".incomplete") continue;
    const bool link = fs::is_symlink(blob, error);
    const std::uint64_t size = bytes_of(blob);
    if (fs::remove(blob, error)) (link ? shared : bytes) += size;
  }
  fs::remove_all(folder / ".no_exist" / *commit, error);
  tell_shared();
  return bytes;
}

bool holds_model(const fs::path& folder) {
  const bool configured = is_file(folder / "config.json");
  for (const char* name : {"model.safetensors", "pytorch_model.bin"}) {
    if (is_file(folder / name)) return configured;
  }
  for (const char* name : {"model.safetensors.index.json", "pytorch_model.bin.index.json"}) {
    if (is_file(folder / name)) return configured && has_all_shards(folder / name);
  }
  const auto files = entries(folder);
  return std::any_of(files.begin(), files.end(), [](const fs::path& file) {
    constexpr std::array kForms{".gguf", ".safetensors", ".pth", ".pt", ".ckpt", ".bin"};
    return is_file(file) &&
           std::find(kForms.begin(), kForms.end(), file.extension()) != kForms.end();
  });
}

std::string name_of_snapshot(const fs::path& folder) {
  if (!is_commit(folder.filename().string()) || folder.parent_path().filename() != "snapshots")
    return "";
  return name_of_repository(folder.parent_path().parent_path());
}

std::optional<fs::path> find_in_modelscope(const Name& name) {
  if (!name.revision.empty()) return std::nullopt;  // its folders do not tell revisions apart
  const fs::path given = folder_in_environment("MODELSCOPE_CACHE");
  const fs::path root = given.empty() ? home_folder() / ".cache" / "modelscope" : given;
  std::string escaped = name.repository;  // as its program writes dots
  for (std::size_t dot; (dot = escaped.find('.')) != std::string::npos;)
    escaped.replace(dot, 1, "___");
  for (const char* below : {"hub/models", "models", "hub", "."}) {
    for (const std::string& repository : {name.repository, escaped}) {
      const fs::path folder = (root / below / repository).lexically_normal();
      if (holds_model(folder)) return folder;
    }
  }
  return std::nullopt;
}

std::vector<std::string> wanted_files(const std::vector<std::string>& names) {
  const auto has = [&](const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  const auto ending = [&](std::string_view start, std::string_view end) {
    std::vector<std::string> found;
    for (const std::string& name : names) {
      const bool adapter = start.empty() && name.starts_with("adapter_model.");
      if (name.find('/') == std::string::npos && name.starts_with(start) && name.ends_with(end) &&
          !adapter) {
        found.push_back(name);
      }
    }
    return found;
  };
  std::vector<std::string> weights;
  for (const auto& [start, end] :
       {std::pair{"model", ".safetensors"}, std::pair{"pytorch_model", ".bin"}}) {
    const std::string whole = std::string(start) + end, index = whole + ".index.json";
    if (!weights.empty()) break;
    if (has(whole)) {
      weights = {whole};
    } else if (has(index)) {
      weights = ending(std::string(start) + "-", end);
      weights.insert(weights.begin(), index);
    }
  }
  for (const char* form : {".gguf", ".safetensors", ".pth", ".pt", ".ckpt", ".bin"}) {
    if (!weights.empty()) break;
    if (const auto one = ending("", form); one.size() == 1) weights = one;
  }
  // An adapter by itself, or beside the model that it changes.
  for (const char* name : {"adapter_model.safetensors", "adapter_model.bin"}) {
    if (!has("adapter_config.json") || !has(name)) continue;
    weights.push_back(name);
    break;
  }
  if (weights.empty()) return {};
  std::vector<std::string> wanted;
  for (const char* name :
       {"config.json", "generation_config.json", "preprocessor_config.json",
        "processor_config.json", "tokenizer.json", "tokenizer_config.json",
        "special_tokens_map.json", "added_tokens.json", "vocab.txt", "adapter_config.json"}) {
    if (has(name)) wanted.push_back(name);
  }
  wanted.insert(wanted.end(), weights.begin(), weights.end());
  return wanted;
}

}  // namespace blip::hub
