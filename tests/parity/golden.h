// A folder of goldens (a model, golden.json, golden.f32; pictures in ../images) and its comparison
// with the library.
#pragma once

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "blip/blip.h"

namespace blip::parity {

using Json = nlohmann::json;

// What transformers and torch say of one model. Throws std::runtime_error where the files do not
// fit together.
class Golden {
 public:
  explicit Golden(const std::filesystem::path& folder);

  const Json& json() const { return json_; }
  // Where BLIP_TEST_MODELS is set, the folder of this golden's name in it: the same model in a
  // device's own form.
  std::string model_path() const;
  // LoRA adapters that the goldens are of; none where they are of the model alone.
  std::vector<std::string> adapters() const;
  std::vector<std::string> image_names() const {
    return json_.at("images").get<std::vector<std::string>>();
  }
  Image image(const std::string& name) const {
    return Image::from_file((folder_.parent_path() / "images" / name).string());
  }
  std::span<const float> values(const Json& entry) const;
  std::vector<std::int64_t> shape(const Json& entry) const {
    return entry.at("shape").get<std::vector<std::int64_t>>();
  }

 private:
  std::filesystem::path folder_;
  Json json_;
  std::vector<float> values_;
};

// How far an answer may be from the reference. Looser where weights were stored in fewer bits.
struct Tolerance {
  double hidden =
      1e-4;  // of hidden states: |a - b| / |b|, and the largest difference over the largest value
  double pixels = 1e-6;       // absolute
  double probability = 1e-4;  // absolute
  double cosine = 1e-5;       // absolute
  double attention = 1e-4;    // absolute
  double score = 1e-4;        // relative to the score, absolute below 1
  bool texts = true;          // false: texts are not compared
  bool attentions = true;     // false: the device does not tell them
};

// Where the goldens are computed: $BLIP_TEST_DEVICE, else the CPU. "reference" is the backend of
// tests/reference_backend.
std::string device();
// What that device may be off: Tolerance's own values, $BLIP_TEST_TOLERANCE times over.
Tolerance tolerance();
// In f32, or the type that the model is compiled in, on this many threads of that device.
Engine load(const std::string& path, int threads, const std::vector<std::string>& adapters = {});

struct Findings {
  std::map<std::string, int> counts;         // what was compared
  std::map<std::string, double> max_errors;  // "max_hidden_norm", ...
  std::vector<std::string> failures;

  void count(const std::string& what) { ++counts[what]; }
  // Notes the error; a failure above the limit (or where it is no number).
  void error(const std::string& kind, double value, double limit, const std::string& where);
  void fail(const std::string& where, const std::string& what) {
    failures.push_back(where + ": " + what);
  }
};

CaptionOptions caption_options(const Json& item);
AskOptions ask_options(const Json& item);

// Everything in the goldens. encoded: the pictures of image_names(), by this session's engine.
void compare(const Golden& golden, Session& session,
             const std::map<std::string, EncodedImage>& encoded, const Tolerance& tolerance,
             Findings& findings);
std::map<std::string, EncodedImage> encode_all(const Golden& golden, Session& session);

// Difference of two tensors: relative in norm, and the largest over the largest value of `want`.
struct Difference {
  double norm, max;
};
Difference difference(std::span<const float> got, std::span<const float> want);

}  // namespace blip::parity
