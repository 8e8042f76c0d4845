// manifest.json of a folder of compiled networks: what tools/sophon/build-bmodels writes
// (tools/sophon/NETWORKS.md).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "image/image.h"

namespace blip::backend::sophon {

enum class Part {
  kVision,
  kTextCross,
  kMatch,
  kText,
  kQuestionCross,
  kQuestion,
  kCaptionCross,
  kCaptionPrefill,
  kCaptionStep,
  kAnswerStep,
};
constexpr std::size_t kParts = 10;
const char* to_string(Part part);  // "caption_step"

struct Manifest {
  struct Entry {
    Part part;
    std::string name;  // inside the bmodel
    std::string file;  // in the folder
    std::uint64_t bytes;
    int rows;  // B
    // SHA-256 of the file, and of what in it comes before the weights; "" in folders that were
    // compiled before there were any.
    std::string digest{}, head_digest{};
  };

  std::string path;  // of the file, for messages
  std::string folder;
  std::string chip, dtype;
  int cores = 1;
  // The letters are those of NETWORKS.md.
  std::string checkpoint, digest;                         // name, SHA-256 of its tensors
  std::string vocabulary_file, vocabulary_digest;         // in the folder
  int vocabulary_size = 0;                                // V
  int image_size = 0, image_tokens = 0, image_width = 0;  // S, N, Dv
  image::Normalization normalization;
  int width = 0, layers = 0, heads = 0;  // D, L, H of the text towers
  int text_length = 0, embed = 0;        // T, E
  int slots = 0, prompt_length = 0;      // C, P
  int pad = 0, cls = 0, sep = 0, dec = 0, enc = 0;
  bool caption = false, itm = false, itc = false, ask = false;
  std::string prompt;
  std::vector<Entry> networks;

  int head_width() const { return width / heads; }       // h
  int cache_rows() const { return 2 * layers * heads; }  // K
  bool has(Part part) const;
};

constexpr const char* kManifestFile = "manifest.json";

bool is_compiled_folder(const std::string& path);

// Every field checked. where: the manifest's path. Throws Error(kModel).
Manifest parse_manifest(std::string_view json, const std::string& where);
// Throws Error(kIo | kModel).
Manifest read_manifest(const std::string& folder);

// The tokens of the folder's vocabulary. Throws Error(kIo), and Error(kModel) for a file that is
// not the one compiled for.
std::vector<std::string> read_vocabulary(const Manifest& manifest);

}  // namespace blip::backend::sophon
