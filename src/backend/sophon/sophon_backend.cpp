// SOPHON chips as a backend: device strings and device options in, compiled models out.
#include <filesystem>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "backend/sophon/digests.h"
#include "backend/sophon/sophon_model.h"
#include "blip/error.h"
#include "model/tokenizer_files.h"
#include "model/vocabulary.h"

namespace blip::backend::sophon {
namespace {

// Device options: a file of a compiled model, any number of times, and its vocabulary.
constexpr const char *kFile = "file", *kTokenizer = "tokenizer";

bool is_bmodel(const std::string& path) { return path.ends_with(".bmodel"); }

text::Vocabulary given_vocabulary(const std::string& path) {
  if (path.empty()) return text::official_vocabulary(text::bundled_tokens());
  text::Vocabulary vocabulary;
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    auto folder = model::load_vocabulary(path);
    if (!folder) throw Error(ErrorCode::kModel, path + " has neither vocab.txt nor tokenizer.json");
    vocabulary = std::move(folder->vocabulary);
  } else {
    vocabulary = model::read_vocabulary_file(path);
  }
  text::add_blip_tokens(vocabulary);
  return vocabulary;
}

std::unique_ptr<text::Tokenizer> tokenizer_of(const std::string& path) {
  text::Vocabulary vocabulary = given_vocabulary(path);
  try {
    return std::make_unique<text::Tokenizer>(std::move(vocabulary));
  } catch (const Error& error) {
    throw Error(error.code(), (path.empty() ? "" : path + ": ") + error.what());
  }
}

// The vocabulary of a compiled folder; one given besides must say the same.
std::unique_ptr<text::Tokenizer> folder_tokenizer(const Manifest& m, const std::string& given) {
  auto tokenizer = std::make_unique<text::Tokenizer>(text::official_vocabulary(read_vocabulary(m)));
  const auto& special = tokenizer->special();
  const auto refuse = [&](const std::string& what, int got, int expected) {
    throw Error(ErrorCode::kModel, m.path + ": " + what + " is " + std::to_string(expected) +
                                       ", but " + std::to_string(got) + " by " + m.vocabulary_file);
  };
  if (tokenizer->size() != m.vocabulary_size)
    refuse("vocabulary.size", tokenizer->size(), m.vocabulary_size);
  for (const auto& [name, got, expected] : {std::tuple{"pad", special.pad, m.pad},
                                            {"cls", special.cls, m.cls},
                                            {"sep", special.sep, m.sep},
                                            {"dec", special.dec, m.dec},
                                            {"enc", special.enc, m.enc}})
    if (got != expected) refuse(std::string("special.") + name, got, expected);
  if (!given.empty() && given_vocabulary(given) != tokenizer->vocabulary())
    throw Error(ErrorCode::kModel, given + " is another vocabulary than the one " + m.folder +
                                       " was compiled with; leave it out");
  return tokenizer;
}

backend::Loaded load_folder(const LoadRequest& request, const std::string& tokenizer) {
  const auto manifest = read_manifest(request.path);
  const DType dtype = request.options.dtype;
  if (dtype != DType::kAuto && to_string(dtype) != manifest.dtype)
    throw Error(ErrorCode::kUsage, request.path + " is compiled in " + manifest.dtype + ", not " +
                                       to_string(dtype) +
                                       "; leave the type out or compile another");
  backend::Loaded loaded;
  loaded.tokenizer = folder_tokenizer(manifest, tokenizer);
  auto on_chips = load(manifest, request.device.text);
  loaded.info = std::move(on_chips.info);
  loaded.info.vocab_size = loaded.tokenizer->size();
  loaded.config.normalization = manifest.normalization;
  loaded.config.prompt = manifest.prompt;
  loaded.config.tokens = {manifest.dec, manifest.sep, manifest.pad, manifest.enc};
  loaded.model = std::move(on_chips.model);
  return loaded;
}

backend::Loaded load_bmodels(const LoadRequest& request, const std::vector<std::string>& bmodels,
                             const std::string& tokenizer) {
  if (request.options.dtype != DType::kAuto)
    throw Error(ErrorCode::kUsage,
                bmodels.front() + " is compiled: its number type is fixed, and " +
                    to_string(request.options.dtype) + " cannot be asked for; leave the type out");
  backend::Loaded loaded;
  auto words = tokenizer_of(tokenizer);
  const auto& special = words->special();
  auto on_chips =
      load(bmodels, request.device.text, {special.dec, special.sep, special.pad, words->size()});
  loaded.info = std::move(on_chips.info);
  loaded.info.vocab_size = words->size();
  loaded.config.tokens = {special.dec, special.sep, special.pad, special.enc};
  model::describe_tokens(loaded.config, loaded.info);
  loaded.model = std::move(on_chips.model);
  loaded.tokenizer = std::move(words);
  return loaded;
}

class SophonBackend final : public Backend {
 public:
  const DeviceKind& kind() const override {
    static const DeviceKind kind{
        .name = kDeviceKind,
        .forms = "sophon:N, sophon:N,M, sophon:all",
        .numbered = true,
        .options = {{.name = kFile,
                     .help = "A file of a compiled model that has several, or that is not called "
                             "*.bmodel; any number of times, in any order, in place of the path",
                     .names_model = true},
                    {.name = kTokenizer,
                     .help = "vocab.txt, tokenizer.json or a folder with one; not given: "
                             "bert-base-uncased, built in"}},
        .on_host = false,
        .prints = true};
    return kind;
  }
  std::vector<DeviceInfo> devices() const override { return list_devices(); }

  std::string device_for(const std::string& path) const override {
    return is_bmodel(path) || is_compiled_folder(path) ? "sophon:0" : "";
  }
  std::optional<ModelInfo> inspect(const std::string& path) const override {
    if (!is_compiled_folder(path)) return std::nullopt;
    return info_of(read_manifest(path));
  }

  std::optional<std::vector<FileCheck>> verify(const std::string& path) const override {
    if (!is_compiled_folder(path)) return std::nullopt;
    const Manifest manifest = read_manifest(path);
    for (const Manifest::Entry& entry : manifest.networks)
      if (entry.digest.empty())
        throw Error(ErrorCode::kUnsupported,
                    manifest.path + " has no SHA-256 of " + entry.file +
                        ": the folder was compiled before there were any; compile it again");
    return check_files(manifest);
  }

  backend::Loaded load(const LoadRequest& request) const override {
    if (!request.options.adapters.empty())
      throw Error(ErrorCode::kUnsupported,
                  "a compiled model takes no adapter; merge it before: `blip convert --adapter`, "
                  "then compile that");
    const auto tokenizers = request.values_of(kTokenizer);
    const std::string tokenizer = tokenizers.empty() ? "" : tokenizers.back();
    std::vector<std::string> files = request.values_of(kFile);
    if (files.empty()) {
      if (is_compiled_folder(request.path)) return load_folder(request, tokenizer);
      if (!is_bmodel(request.path))
        throw Error(ErrorCode::kUnsupported,
                    request.device.text +
                        " runs compiled models (.bmodel, or a folder with manifest.json), not " +
                        request.path + "; see docs/SOPHON.md");
      files.push_back(request.path);
    }
    return load_bmodels(request, files, tokenizer);
  }
};

}  // namespace

const Backend& backend() {
  static const SophonBackend one;
  return one;
}

}  // namespace blip::backend::sophon
