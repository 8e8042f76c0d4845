#include "backend/sophon/manifest.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "backend/backend.h"
#include "base/file.h"
#include "base/sha256.h"
#include "blip/error.h"
#include "io/json_object.h"
#include "model/config.h"
#include "model/settings.h"
#include "text/vocabulary.h"

namespace blip::backend::sophon {
namespace {

using io::JsonObject;

constexpr std::size_t kMaxManifestBytes = std::size_t{16} << 20,
                      kMaxVocabularyBytes = std::size_t{64} << 20;
constexpr int kMaxCores = 64, kMaxRows = 1024, kMaxNetworks = 1024;
constexpr std::size_t kDigestInName = 12;

// Those that build-bmodels compiles for.
const std::vector<std::string> kChips = {"bm1684", "bm1684x", "bm1688", "cv186x"};

constexpr std::array<const char*, kParts> kPartNames = {
    "vision",   "text_cross",    "match",           "text",         "question_cross",
    "question", "caption_cross", "caption_prefill", "caption_step", "answer_step"};

// One of the words.
std::string choice(const JsonObject& object, const char* key,
                   const std::vector<std::string>& words) {
  std::string word = object.required_string(key);
  if (std::find(words.begin(), words.end(), word) != words.end()) return word;
  std::string list;
  for (const std::string& one : words) list += (list.empty() ? "" : ", ") + one;
  object.refuse(key, object.required(key), "one of " + list);
}

std::string digest(const JsonObject& object, const char* key) {
  std::string text = object.required_string(key);
  if (text.size() != 64 || text.find_first_not_of("0123456789abcdef") != std::string::npos)
    object.refuse(key, object.required(key), "a SHA-256: 64 digits, 0 to 9 and a to f");
  return text;
}

// A file of the folder itself: a manifest from elsewhere must not reach out of it.
std::string file_name(const JsonObject& object, const char* key) {
  std::string name = object.required_string(key);
  if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos ||
      name.find('\0') != std::string::npos)
    object.refuse(key, object.required(key), "the name of a file in this folder");
  return name;
}

void read_sizes(const JsonObject& root, Manifest& m) {
  using model::kMaxImage, model::kMaxLayers, model::kMaxPositions, model::kMaxVocab,
      model::kMaxWidth;
  const JsonObject vocabulary = root.required_object("vocabulary");
  m.vocabulary_file = file_name(vocabulary, "file");
  m.vocabulary_digest = digest(vocabulary, "sha256");
  m.vocabulary_size = vocabulary.required_integer("size", 1, kMaxVocab);
  const JsonObject image = root.required_object("image");
  m.image_size = image.required_integer("size", 1, kMaxImage);
  m.image_tokens = image.required_integer("tokens", 1, model::kMaxSide * model::kMaxSide + 1);
  m.image_width = image.required_integer("width", 1, kMaxWidth);
  m.normalization.mean = image.required_triple("mean");
  m.normalization.std = image.required_triple("std");
  for (const float deviation : m.normalization.std)
    if (!(deviation > 0)) image.refuse("std", image.required("std"), "three numbers above 0");
  const JsonObject text = root.required_object("text");
  m.width = text.required_integer("width", 1, kMaxWidth);
  m.layers = text.required_integer("layers", 1, kMaxLayers);
  m.heads = text.required_integer("heads", 1, kMaxWidth);
  if (m.width % m.heads != 0)
    text.refuse("heads", text.required("heads"),
                "a divisor of the width, " + std::to_string(m.width));
  m.text_length = text.required_integer("length", kShortestText, kMaxPositions);
  m.embed = text.required_integer("embed", 0, kMaxWidth);
  const JsonObject decoder = root.required_object("decoder");
  m.slots = decoder.required_integer("slots", 0, kMaxPositions);
  m.prompt_length = decoder.required_integer("prompt", 0, m.slots);
  const JsonObject special = root.required_object("special");
  for (const auto& [key, id] : {std::pair{"pad", &m.pad},
                                {"cls", &m.cls},
                                {"sep", &m.sep},
                                {"dec", &m.dec},
                                {"enc", &m.enc}})
    *id = special.required_integer(key, 0, m.vocabulary_size - 1);
}

Manifest::Entry read_network(const JsonObject& object, const std::string& model_digest) {
  const std::string part = choice(object, "role", {kPartNames.begin(), kPartNames.end()});
  Manifest::Entry entry;
  entry.part =
      static_cast<Part>(std::find(kPartNames.begin(), kPartNames.end(), part) - kPartNames.begin());
  entry.name = object.required_string("name");
  std::string ending = model_digest.substr(0, kDigestInName);
  ending.insert(ending.begin(), '_');
  if (!entry.name.ends_with(ending))
    object.refuse("name", object.required("name"),
                  "a name that ends with " + ending +
                      ", the checkpoint's digest: this network is of another model");
  entry.file = file_name(object, "file");
  entry.bytes = object.required_size("bytes");
  entry.rows = object.required_integer("rows", 1, kMaxRows);
  if (object.find("sha256")) entry.digest = digest(object, "sha256");
  if (object.find("head_sha256")) entry.head_digest = digest(object, "head_sha256");
  const bool batched = entry.part == Part::kMatch || entry.part == Part::kText ||
                       entry.part == Part::kCaptionStep || entry.part == Part::kAnswerStep;
  if (!batched && entry.rows != 1)
    object.refuse("rows", object.required("rows"), "1 for a " + part + " network");
  return entry;
}

void read_networks(const JsonObject& root, Manifest& m) {
  std::set<std::pair<Part, int>> seen;
  for (const JsonObject& object : root.required_objects("networks")) {
    if (m.networks.size() == kMaxNetworks)
      root.refuse("networks", root.required("networks"),
                  "at most " + std::to_string(kMaxNetworks) + " networks");
    m.networks.push_back(read_network(object, m.digest));
    const Manifest::Entry& entry = m.networks.back();
    for (const Manifest::Entry& other : m.networks)
      if (other.file == entry.file &&
          (other.digest != entry.digest || other.head_digest != entry.head_digest))
        root.refuse("networks", root.required("networks"),
                    "one SHA-256 of " + entry.file + " in all its networks");
    if (!seen.emplace(entry.part, entry.rows).second)
      object.refuse("role", object.required("role"),
                    "one network of this role with " + std::to_string(entry.rows) + " rows");
  }
}

void read_tasks(const JsonObject& root, Manifest& m) {
  const std::vector<std::string> tasks = root.required_strings("tasks");
  const auto need = [&](const std::string& task, std::initializer_list<Part> parts) {
    for (const Part part : parts)
      if (!m.has(part))
        throw Error(ErrorCode::kModel, m.path + ": the task \"" + task + "\" needs the network " +
                                           to_string(part) + "; there is none");
  };
  if (tasks.empty())
    root.refuse("tasks", root.required("tasks"), "at least one of caption, itm, itc, ask");
  for (const std::string& task : tasks) {
    need(task, {Part::kVision});
    if (task == "caption") {
      m.caption = true;
      need(task, {Part::kCaptionCross, Part::kCaptionStep});
      if (m.prompt_length > 0) need(task, {Part::kCaptionPrefill});
    } else if (task == "itm") {
      m.itm = true;
      need(task, {Part::kTextCross, Part::kMatch});
    } else if (task == "itc") {
      m.itc = true;
      need(task, {Part::kText});
    } else if (task == "ask") {
      m.ask = true;
      need(task, {Part::kQuestionCross, Part::kQuestion, Part::kAnswerStep});
    } else {
      root.refuse("tasks", root.required("tasks"), "a list of caption, itm, itc, ask");
    }
  }
  if (m.itc != (m.embed > 0))
    throw Error(ErrorCode::kModel, m.path + ": text.embed is " + std::to_string(m.embed) +
                                       (m.itc ? "; expected 1 or more for the task \"itc\""
                                              : "; expected 0 without the task \"itc\""));
  if ((m.caption || m.ask) && m.slots < 2)
    throw Error(ErrorCode::kModel,
                m.path + ": decoder.slots is " + std::to_string(m.slots) + "; expected 2 or more");
}

}  // namespace

const char* to_string(Part part) { return kPartNames[static_cast<std::size_t>(part)]; }

bool Manifest::has(Part part) const {
  return std::any_of(networks.begin(), networks.end(),
                     [part](const Entry& entry) { return entry.part == part; });
}

bool is_compiled_folder(const std::string& path) {
  std::error_code error;
  return std::filesystem::is_regular_file(std::filesystem::path(path) / kManifestFile, error);
}

Manifest parse_manifest(std::string_view json, const std::string& where) {
  const io::Json tree = io::parse_json(json, where);
  const JsonObject root(tree, where);
  choice(root, "format", {"blip-bmodels"});
  constexpr int kVersion = 1;
  if (const int version = root.required_integer("version", 1, 1 << 30); version != kVersion)
    throw Error(ErrorCode::kModel, where + ": version " + std::to_string(version) +
                                       " of these folders is newer than this blip, which knows " +
                                       std::to_string(kVersion) + ": a newer one reads it");
  Manifest m;
  m.path = where;
  m.chip = choice(root, "chip", kChips);
  m.cores = root.required_integer("cores", 1, kMaxCores);
  m.dtype = choice(root, "dtype", {"f32", "f16", "bf16", "int8"});
  const JsonObject checkpoint = root.required_object("checkpoint");
  m.checkpoint = checkpoint.required_string("name");
  m.digest = digest(checkpoint, "sha256");
  read_sizes(root, m);
  m.prompt = root.required_string("prompt");
  if (m.prompt.empty()) m.prompt = model::kCaptionPrompt;  // the checkpoint names none
  read_networks(root, m);
  read_tasks(root, m);
  return m;
}

Manifest read_manifest(const std::string& folder) {
  const std::string path = (std::filesystem::path(folder) / kManifestFile).string();
  Manifest manifest = parse_manifest(read_text(path, kMaxManifestBytes), path);
  manifest.folder = folder;
  return manifest;
}

std::vector<std::string> read_vocabulary(const Manifest& manifest) {
  const std::string path =
      (std::filesystem::path(manifest.folder) / manifest.vocabulary_file).string();
  const std::vector<std::byte> file = read_file(path, kMaxVocabularyBytes);
  if (const std::string got = sha256(file); got != manifest.vocabulary_digest)
    throw Error(
        ErrorCode::kModel,
        path + " is not the vocabulary that these networks were compiled for: its SHA-256 is " +
            got + ", expected " + manifest.vocabulary_digest);
  return text::parse_vocab_txt({reinterpret_cast<const char*>(file.data()), file.size()});
}

}  // namespace blip::backend::sophon
