#include "model/source.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <set>
#include <system_error>

#include "base/file.h"
#include "blip/error.h"
#include "blip/hub.h"
#include "hub/cache.h"
#include "model/adapter_settings.h"

namespace blip::model {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxAdapterConfig = std::size_t{1} << 20;
// the largest tokenizer.json and shard index in use are a few MiB
constexpr std::size_t kMaxJson = std::size_t{64} << 20;

[[noreturn]] void fail(const std::string& message) { throw Error(ErrorCode::kModel, message); }

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

bool is_folder(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

bool ends_with(const std::string& text, std::string_view end) {
  return text.size() >= end.size() &&
         std::string_view(text).substr(text.size() - end.size()) == end;
}

std::string magic_format(const std::string& path) {
  std::array<char, 9> head{};
  std::ifstream in(path, std::ios::binary);
  if (!in)
    throw Error(ErrorCode::kIo,
                "cannot open " + path + ": " + std::generic_category().message(errno));
  in.read(head.data(), static_cast<std::streamsize>(head.size()));
  const auto got = in.gcount();
  if (got >= 4 && std::memcmp(head.data(), "GGUF", 4) == 0) return "gguf";
  if (got >= 4 && std::memcmp(head.data(), "PK\x03\x04", 4) == 0) return "torch";
  if (got >= 9 && head[8] == '{') return "safetensors";
  return "";
}

// The content decides; the extension only where the content is damaged, so that the reader can say
// what is wrong with it.
std::string file_format(const std::string& path) {
  if (ends_with(path, ".index.json"))
    return ends_with(path, ".bin.index.json") ? "torch" : "safetensors";
  std::string format = magic_format(path);
  if (!format.empty()) return format;
  if (ends_with(path, ".safetensors")) return "safetensors";
  if (ends_with(path, ".gguf")) return "gguf";
  for (const char* end : {".bin", ".pth", ".pt", ".ckpt"}) {
    if (ends_with(path, end)) return "torch";
  }
  fail(path +
       ": neither safetensors, GGUF nor a torch archive; expected a model folder, a .safetensors, "
       ".gguf, .pth, .pt, .ckpt or .bin file");
}

std::unique_ptr<io::TensorFile> open_file(const std::string& path, const std::string& format) {
  const bool index = ends_with(path, ".index.json");
  if (format == "gguf") return io::open_gguf(path);
  if (format == "safetensors")
    return index ? io::open_safetensors_index(path) : io::open_safetensors(path);
  return index ? io::open_torch_index(path) : io::open_torch(path);
}

// The files of an adapter's tensors, under the names that peft has had for them.
constexpr const char* kAdapterFiles[] = {"adapter_model.safetensors", "adapter_model.bin",
                                         "adapter_model.pt"};
constexpr const char* kAdapterConfig = "adapter_config.json";

// May a file of this name hold a model? Adapters and what a trainer leaves beside a model do not
// count.
bool may_be_model(const std::string& name) {
  constexpr std::string_view kEndings[] = {
      ".safetensors",   ".gguf", ".bin", ".pth", ".pt", ".ckpt", ".safetensors.index.json",
      ".bin.index.json"};
  constexpr std::string_view kTrainers[] = {"training_args.bin", "optimizer.pt",  "optimizer.bin",
                                            "scheduler.pt",      "scheduler.bin", "scaler.pt"};
  if (std::find(std::begin(kTrainers), std::end(kTrainers), name) != std::end(kTrainers) ||
      name.starts_with("rng_state"))
    return false;
  if (std::find(std::begin(kAdapterFiles), std::end(kAdapterFiles), name) !=
      std::end(kAdapterFiles))
    return false;
  return std::any_of(std::begin(kEndings), std::end(kEndings),
                     [&](std::string_view end) { return ends_with(name, end); });
}

// Names in a folder, sorted.
std::vector<std::string> list(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
    names.push_back(it->path().filename().string());
  if (error) throw Error(ErrorCode::kIo, "cannot list " + folder.string() + ": " + error.message());
  std::sort(names.begin(), names.end());
  return names;
}

std::string join(const std::vector<std::string>& names) {
  constexpr std::size_t kShown = 10;
  std::string text;
  for (std::size_t i = 0; i < std::min(names.size(), kShown); ++i)
    text += (i > 0 ? ", " : "") + names[i];
  return text + (names.size() > kShown ? ", ..." : "");
}

// "model-00001-of-00003.safetensors"
bool is_shard(const std::string& name) {
  const auto of = name.rfind("-of-");
  const auto digits = [&](std::size_t begin, std::size_t end) {
    return begin < end && end <= name.size() &&
           std::all_of(name.begin() + static_cast<std::ptrdiff_t>(begin),
                       name.begin() + static_cast<std::ptrdiff_t>(end),
                       [](char c) { return c >= '0' && c <= '9'; });
  };
  if (of == std::string::npos) return false;
  const auto dash = name.find_last_of("-.", of - 1);
  return dash != std::string::npos && digits(dash + 1, of) &&
         digits(of + 4, std::min(name.find('.', of), name.size()));
}

// "" where there is none.
std::string find_in_folder(const fs::path& folder) {
  for (const char* name : {"model.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
                           "pytorch_model.bin.index.json"}) {
    if (is_file(folder / name)) return (folder / name).string();
  }
  std::vector<std::string> found;
  for (const std::string& name : list(folder)) {
    if (may_be_model(name) && is_file(folder / name)) found.push_back(name);
  }
  // The shards of an index are no models of their own.
  const bool index = std::any_of(found.begin(), found.end(), [](const std::string& name) {
    return ends_with(name, ".index.json");
  });
  if (index) std::erase_if(found, is_shard);
  if (found.size() == 1) return (folder / found.front()).string();
  if (found.size() > 1) {
    fail(folder.string() + ": holds " + std::to_string(found.size()) +
         " files that may be the model (" + join(found) + "); name the file to load");
  }
  return "";
}

std::string model_in_folder(const fs::path& folder) {
  if (std::string found = find_in_folder(folder); !found.empty()) return found;
  std::vector<std::string> compiled = list(folder);
  std::erase_if(compiled, [](const std::string& name) { return !ends_with(name, ".bmodel"); });
  if (!compiled.empty())
    fail(folder.string() +
         ": no manifest.json of build-bmodels here, and no checkpoint; name the " +
         (compiled.size() == 1 ? "file: " : "file, or those of one model with commas: ") +
         join(compiled));
  fail(folder.string() +
       ": no model here; looked for model.safetensors, model.safetensors.index.json, "
       "pytorch_model.bin, pytorch_model.bin.index.json, "
       "and for one *.gguf, *.safetensors, *.pth, *.pt, *.ckpt or *.bin");
}

// The commit that a file of a hub cache's refs holds; "" where it holds none of the snapshots.
std::string commit_of(const fs::path& repository, const fs::path& ref) {
  constexpr std::size_t kMaxRef = 4096;
  if (!is_file(ref)) return "";
  std::string commit = read_text(ref.string(), kMaxRef);
  while (!commit.empty() &&
         (commit.back() == '\n' || commit.back() == '\r' || commit.back() == ' '))
    commit.pop_back();
  // A commit is the name of a snapshot; anything else could lead out of the cache.
  const bool plain = !commit.empty() && commit.front() != '.' &&
                     commit.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos;
  return plain && is_folder(repository / "snapshots" / commit) ? commit : "";
}

// A repository of the Hugging Face cache (models--ORG--NAME) stands for its snapshot: the one of
// the branch main, else the only one. Any other folder stands for itself.
fs::path resolved_folder(const fs::path& folder) {
  const fs::path snapshots = folder / "snapshots";
  if (!is_folder(snapshots) || !(is_folder(folder / "refs") || is_folder(folder / "blobs")))
    return folder;
  if (const std::string commit = commit_of(folder, folder / "refs" / "main"); !commit.empty())
    return snapshots / commit;
  std::vector<std::string> commits = list(snapshots);
  std::erase_if(commits, [&](const std::string& name) { return !is_folder(snapshots / name); });
  if (commits.size() == 1) return snapshots / commits.front();
  if (commits.empty())
    fail(folder.string() +
         ": a folder of the Hugging Face cache without a snapshot; download the model again");
  fail(folder.string() + ": a folder of the Hugging Face cache with " +
       std::to_string(commits.size()) + " snapshots (" + join(commits) +
       "), and refs/main names none of them; name one: " + (snapshots / commits.front()).string());
}

// "dir/", "." and ".." name their folder; files that every folder calls the same are named by
// theirs.
std::string model_name(const fs::path& path, bool folder) {
  std::error_code ignored;
  fs::path absolute = fs::absolute(path, ignored).lexically_normal();
  if (absolute.filename().empty()) absolute = absolute.parent_path();
  if (folder) return absolute.filename().string();
  const std::string stem = absolute.stem().string();
  const bool generic =
      stem.starts_with("model.safetensors") || stem.starts_with("pytorch_model") || stem == "model";
  return generic ? absolute.parent_path().filename().string() : stem;
}

bool is_adapter_file(const std::string& path) {
  const std::string name = fs::path(path).filename().string();
  return name == kAdapterConfig || std::find(std::begin(kAdapterFiles), std::end(kAdapterFiles),
                                             name) != std::end(kAdapterFiles);
}

fs::path folder_of(const fs::path& file) {
  return file.has_parent_path() ? file.parent_path() : ".";
}

// A file of an adapter stands for its folder.
fs::path adapter_folder(const std::string& path) {
  return is_adapter_file(path) ? folder_of(path) : resolved_folder(path);
}

// Tensors without their settings cannot be followed, nor are they ignored.
void refuse_half_adapter(const fs::path& folder) {
  if (is_there(folder / kAdapterConfig)) return;
  for (const char* name : kAdapterFiles) {
    if (is_file(folder / name))
      fail((folder / name).string() +
           ": an adapter changes the model's answers, but its adapter_config.json is missing; add "
           "it or move the file away");
  }
}

// As transformers has it, with the weights that make config.json one of a model. A GGUF file there
// was made with the adapter in it.
bool is_whole_model(const fs::path& folder) {
  if (!is_file(folder / "config.json")) return false;
  const std::string model = find_in_folder(folder);
  return !model.empty() && !ends_with(model, ".gguf");
}

fs::path given_adapter(const std::string& given) {
  const std::string found = find_model(given);
  if (found.empty()) {
    static_cast<void>(require_model(given));  // which says of a name where it was looked for
    throw Error(ErrorCode::kIo, "the adapter " + given + " is no folder here");
  }
  fs::path folder = adapter_folder(found);
  if (!is_there(folder / kAdapterConfig))
    throw Error(ErrorCode::kIo, found + " holds no adapter: there is no adapter_config.json");
  return folder;
}

// An adapter counts once: two spellings of one folder are a slip. The last of the folders is that
// of `given`.
void refuse_again(const std::vector<std::string>& folders, const std::string& given) {
  std::error_code ignored;
  for (std::size_t i = 0; i + 1 < folders.size(); ++i)
    if (fs::equivalent(folders[i], folders.back(), ignored))
      throw Error(ErrorCode::kUsage,
                  "the adapter " + given + " is given twice: it is that in " + folders[i]);
}

// Its folder's name; of one in the hub's cache, the name there.
std::string adapter_name(const fs::path& folder) {
  const std::string name = hub::name_of_snapshot(folder.lexically_normal());
  return name.empty() ? model_name(folder, true) : name;
}

std::string base_of(const fs::path& folder) {
  const std::string where = (folder / kAdapterConfig).string();
  return parse_adapter_json(read_text(where, kMaxAdapterConfig), where).base;
}

// Where the base of the adapter in a folder is.
std::string find_base(const fs::path& folder) {
  const std::string base = base_of(folder);
  const std::string instead =
      "; give the base as the model and " + folder.string() + " as its adapter";
  if (base.empty())
    throw Error(
        ErrorCode::kModel,
        folder.string() +
            " holds an adapter that does not state its base model (base_model_name_or_path)" +
            instead);
  std::string found = find_model(base);
  if (found.empty()) {
    throw Error(ErrorCode::kIo,
                "the adapter in " + folder.string() + " is for " + base + ", which is " +
                    (is_model_name(base) ? "not in the cache; `blip pull " + base + "` downloads it"
                                         : "no file or folder here" + instead));
  }
  if (is_there(adapter_folder(found) / kAdapterConfig))
    throw Error(ErrorCode::kModel,
                "the adapter in " + folder.string() + " is for " + base +
                    ", where there is another adapter; merge that first: `blip convert`");
  return found;
}

}  // namespace

std::string stated_base(const std::string& path) {
  if (is_file(path) && !is_adapter_file(path)) return "";
  const fs::path folder = adapter_folder(path);
  return is_there(folder / kAdapterConfig) && !is_whole_model(folder) ? base_of(folder) : "";
}

Location locate(const std::string& name, const std::vector<std::string>& given) {
  const std::string found = find_model(name);
  Location location;
  location.model = found.empty() ? name : found;
  for (const std::string& adapter : given) {
    std::error_code ignored;
    location.adapters.push_back(given_adapter(adapter).string());
    refuse_again(location.adapters, adapter);
    location.names.push_back(fs::exists(adapter, ignored) ? adapter_name(location.adapters.back())
                                                          : adapter);
  }
  const bool one_file = is_file(location.model) && !is_adapter_file(location.model);
  const fs::path folder = one_file ? folder_of(location.model) : adapter_folder(location.model);
  // A GGUF file stands for itself wherever it lies, and so do official weights, which need no
  // config.json.
  if (one_file && (file_format(location.model) == "gguf" || !is_file(folder / "config.json"))) {
    if (is_there(folder / kAdapterConfig)) location.ignored = (folder / kAdapterConfig).string();
    return location;
  }
  refuse_half_adapter(folder);
  if (!is_there(folder / kAdapterConfig)) return location;
  const auto same = [&](const std::string& adapter) {
    std::error_code ignored;
    return fs::equivalent(adapter, folder, ignored);
  };
  if (std::none_of(location.adapters.begin(), location.adapters.end(), same)) {
    if (!location.adapters.empty())
      throw Error(
          ErrorCode::kUsage,
          folder.string() +
              " has an adapter of its own; name it too (--adapter), or give the base model alone");
    location.adapters.push_back(folder.string());
    location.names.push_back(adapter_name(folder));
  }
  if (!one_file && !is_whole_model(folder)) location.model = find_base(folder);
  return location;
}

Source open_source(const std::string& path) {
  std::error_code error;
  const auto status = fs::status(path, error);
  if (!fs::exists(status))
    throw Error(ErrorCode::kIo, "cannot open " + path + ": " +
                                    (error ? error.message() : "No such file or directory"));
  const bool folder = fs::is_directory(status);
  if (!folder && !fs::is_regular_file(status))
    throw Error(ErrorCode::kIo, path + " is neither a file nor a folder");
  Source source;
  source.path = folder ? model_in_folder(resolved_folder(path)) : path;
  source.folder = fs::path(source.path).parent_path().string();
  if (source.folder.empty()) source.folder = ".";
  source.name = model_name(path, folder);
  source.format = file_format(source.path);
  source.files.push_back(open_file(source.path, source.format));
  return source;
}

Settings load_settings(const std::string& folder, const std::string& model_file) {
  const fs::path config = fs::path(folder) / "config.json";
  if (!is_file(config)) {
    fail(config.string() + " is missing; " + model_file +
         " has transformers' tensor names, and such a model needs its config.json beside it");
  }
  Settings settings = parse_config_json(read_text(config.string(), kMaxJson), config.string());
  // transformers 5 writes the second and reads both, 4 knows the first: they must not differ where
  // both are there.
  std::optional<Settings> first;
  for (const char* name : {"preprocessor_config.json", "processor_config.json"}) {
    const fs::path file = fs::path(folder) / name;
    if (!is_there(file)) continue;
    apply_preprocessor_json(settings, read_text(file.string(), kMaxJson), file.string());
    const auto differs = [&] {
      return first->preprocessor_size != settings.preprocessor_size ||
             first->normalization.mean != settings.normalization.mean ||
             first->normalization.std != settings.normalization.std;
    };
    if (first && differs())
      fail(file.string() + " and preprocessor_config.json state different pictures; remove one");
    first = settings;
  }
  if (const fs::path file = fs::path(folder) / "generation_config.json"; is_there(file)) {
    check_generation_json(settings, read_text(file.string(), kMaxJson), file.string());
  }
  return settings;
}

}  // namespace blip::model
