#include "model/source.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "blip/error.h"
#include "io/file.h"

namespace blip::model {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxJson = std::size_t{64} << 20;  // the largest tokenizer.json and shard index in use are a few MiB

[[noreturn]] void fail(const std::string& message) { throw Error(ErrorCode::kModel, message); }

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

bool ends_with(const std::string& text, std::string_view end) {
  return text.size() >= end.size() && std::string_view(text).substr(text.size() - end.size()) == end;
}

// A pytorch_model.bin.index.json: {"weight_map": {tensor: shard}}. Returns the shards, each once.
std::vector<std::string> read_shards(const std::string& index) {
  using Json = nlohmann::json;
  const std::string text = io::read_text(index, kMaxJson);
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded() || !json.is_object() || !json.contains("weight_map") || !json["weight_map"].is_object()) {
    fail(index + ": not a shard index: expected a JSON object with \"weight_map\"");
  }
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : json["weight_map"].items()) {
    const std::string name = shard.is_string() ? shard.get<std::string>() : "";
    // A shard lies beside its index; anything else could read files the user never named.
    if (name.empty() || name.find('/') != std::string::npos || name.find('\\') != std::string::npos || name == "." || name == "..") {
      fail(index + ": the shard of " + tensor + " is not the name of a file beside the index");
    }
    shards.insert(name);
  }
  if (shards.empty()) fail(index + ": names no shards");
  return {shards.begin(), shards.end()};
}

std::string magic_format(const std::string& path) {
  std::array<char, 9> head{};
  std::ifstream in(path, std::ios::binary);
  if (!in) throw Error(ErrorCode::kIo, "cannot open " + path + ": " + std::strerror(errno));
  in.read(head.data(), static_cast<std::streamsize>(head.size()));
  const auto got = in.gcount();
  if (got >= 4 && std::memcmp(head.data(), "GGUF", 4) == 0) return "gguf";
  if (got >= 4 && std::memcmp(head.data(), "PK\x03\x04", 4) == 0) return "torch";
  if (got >= 9 && head[8] == '{') return "safetensors";
  return "";
}

// The content decides; the extension only where the content is damaged, so that the reader can say what is wrong with it.
std::string file_format(const std::string& path) {
  if (ends_with(path, ".index.json")) return ends_with(path, ".bin.index.json") ? "torch" : "safetensors";
  std::string format = magic_format(path);
  if (!format.empty()) return format;
  if (ends_with(path, ".safetensors")) return "safetensors";
  if (ends_with(path, ".gguf")) return "gguf";
  if (ends_with(path, ".bin") || ends_with(path, ".pth") || ends_with(path, ".pt")) return "torch";
  fail(path + ": neither safetensors, GGUF nor a torch archive; expected a model folder, a .safetensors, .gguf, .pth or .bin file");
}

void open_files(Source& source) {
  const bool index = ends_with(source.path, ".index.json");
  if (source.format == "gguf") {
    source.files.push_back(io::open_gguf(source.path));
  } else if (source.format == "safetensors") {
    source.files.push_back(index ? io::open_safetensors_index(source.path) : io::open_safetensors(source.path));
  } else if (!index) {
    source.files.push_back(io::open_torch(source.path));
  } else {
    for (const std::string& shard : read_shards(source.path)) {
      const fs::path file = fs::path(source.path).parent_path() / shard;
      if (!is_file(file)) throw Error(ErrorCode::kIo, "the shard " + file.string() + " that " + source.path + " names is missing");
      source.files.push_back(io::open_torch(file.string()));
    }
  }
}

// Files of a folder with one extension, sorted.
std::vector<std::string> with_extension(const fs::path& folder, const char* extension) {
  std::vector<std::string> found;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    if (it->path().extension() == extension && is_file(it->path())) found.push_back(it->path().string());
  }
  if (error) throw Error(ErrorCode::kIo, "cannot list " + folder.string() + ": " + error.message());
  std::sort(found.begin(), found.end());
  return found;
}

std::string model_in_folder(const fs::path& folder) {
  for (const char* name : {"model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"}) {
    if (is_file(folder / name)) return (folder / name).string();
  }
  for (const char* extension : {".gguf", ".pth", ".safetensors"}) {
    const auto found = with_extension(folder, extension);
    if (found.size() == 1) return found.front();
    if (found.size() > 1) {
      fail(folder.string() + ": holds " + std::to_string(found.size()) + " " + extension + " files (" +
           fs::path(found[0]).filename().string() + ", " + fs::path(found[1]).filename().string() + (found.size() > 2 ? ", ..." : "") +
           "); name the file to load");
    }
  }
  fail(folder.string() +
       ": no model here; looked for model.safetensors, model.safetensors.index.json, pytorch_model.bin, "
       "pytorch_model.bin.index.json, one *.gguf, one *.pth, one *.safetensors");
}

// "dir/", "." and ".." name their folder; files that every folder calls the same are named by theirs.
std::string model_name(const fs::path& path, bool folder) {
  std::error_code ignored;
  fs::path absolute = fs::absolute(path, ignored).lexically_normal();
  if (absolute.filename().empty()) absolute = absolute.parent_path();
  if (folder) return absolute.filename().string();
  const std::string stem = absolute.stem().string();
  const bool generic = stem.starts_with("model.safetensors") || stem.starts_with("pytorch_model") || stem == "model";
  return generic ? absolute.parent_path().filename().string() : stem;
}

}  // namespace

Source open_source(const std::string& path) {
  std::error_code error;
  const auto status = fs::status(path, error);
  if (!fs::exists(status)) throw Error(ErrorCode::kIo, "cannot open " + path + ": " + (error ? error.message() : "No such file or directory"));
  const bool folder = fs::is_directory(status);
  if (!folder && !fs::is_regular_file(status)) throw Error(ErrorCode::kIo, path + " is neither a file nor a folder");
  Source source;
  source.path = folder ? model_in_folder(path) : path;
  source.folder = fs::path(source.path).parent_path().string();
  if (source.folder.empty()) source.folder = ".";
  source.name = model_name(path, folder);
  source.format = file_format(source.path);
  open_files(source);
  return source;
}

void refuse_adapter(const std::string& folder) {
  for (const char* name : {"adapter_config.json", "adapter_model.safetensors", "adapter_model.bin", "adapter_model.pt"}) {
    const fs::path file = fs::path(folder) / name;
    if (is_file(file)) {
      fail(file.string() + ": an adapter changes the model's answers, and none can be applied; merge it into the weights (peft's "
                           "merge_and_unload) or move it away");
    }
  }
}

Settings load_settings(const std::string& folder, const std::string& model_file) {
  const fs::path config = fs::path(folder) / "config.json";
  if (!is_file(config)) {
    fail(config.string() + " is missing; " + model_file + " has transformers' tensor names, and such a model needs its config.json beside it");
  }
  refuse_adapter(folder);
  Settings settings = parse_config_json(io::read_text(config.string(), kMaxJson), config.string());
  // transformers 5 writes the second and reads both, 4 knows the first: they must not differ where both are there.
  std::optional<Settings> first;
  for (const char* name : {"preprocessor_config.json", "processor_config.json"}) {
    const fs::path file = fs::path(folder) / name;
    if (!is_file(file)) continue;
    apply_preprocessor_json(settings, io::read_text(file.string(), kMaxJson), file.string());
    const auto differs = [&] {
      return first->preprocessor_size != settings.preprocessor_size || first->normalization.mean != settings.normalization.mean ||
             first->normalization.std != settings.normalization.std;
    };
    if (first && differs()) fail(file.string() + " and preprocessor_config.json state different pictures; remove one");
    first = settings;
  }
  if (const fs::path file = fs::path(folder) / "generation_config.json"; is_file(file)) {
    check_generation_json(settings, io::read_text(file.string(), kMaxJson), file.string());
  }
  return settings;
}

}  // namespace blip::model
