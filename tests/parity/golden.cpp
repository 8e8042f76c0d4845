#include "golden.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <limits>
#include <stdexcept>

#include "reference_backend/reference_backend.h"

namespace blip::parity {
namespace {

const backend::Registration kReference(reference::backend());

std::string shown(const std::vector<std::int32_t>& ids) { return Json(ids).dump(); }

GenerateOptions generate_options(const Json& o) {
  GenerateOptions options;
  options.beams = o.at("beams");
  options.min_length = o.at("min_length");
  options.max_length = o.at("max_length");
  options.length_penalty = o.at("length_penalty");
  options.repetition_penalty = o.at("repetition_penalty");
  options.num_return = o.at("num_return");
  return options;
}

std::string environment(const char* name) {
  // NOLINTNEXTLINE(concurrency-mt-unsafe): nothing here writes the environment.
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// One model's comparison.
class Comparer {
 public:
  Comparer(const Golden& golden, Session& session,
           const std::map<std::string, EncodedImage>& encoded, const Tolerance& tolerance,
           Findings& findings)
      : golden_(golden),
        session_(session),
        encoded_(encoded),
        tolerance_(tolerance),
        found_(findings) {}

  void all() {
    for (const auto& [name, entry] : items("pixels")) pixels(name, entry);
    for (const auto& [name, entry] : items("vision"))
      tensor("hidden", entry, session_.dump(Stage::kVision, golden_.image(name)),
             "vision of " + name);
    for (const Json& item : list("text_states")) states(item, Stage::kText);
    for (const Json& item : list("question_states")) states(item, Stage::kQuestion);
    for (const auto& [name, entry] : items("image_vectors"))
      vector(entry, session_.embed(encoded_.at(name)), "vector of " + name);
    for (const auto& [text, entry] : items("text_vectors"))
      vector(entry, session_.embed(std::span(&text, 1)).front(), "vector of " + text);
    for (const Json& item : list("matches")) match(item);
    if (!tolerance_.texts) return;
    for (const Json& item : list("captions")) captions(item);
    for (const Json& item : list("answers")) answer(item);
    for (const Json& item : list("ranks")) rank(item);
    if (!tolerance_.attentions) return;
    for (const Json& item : list("attentions")) attention(item);
  }

 private:
  std::map<std::string, Json> items(const char* key) const {
    return golden_.json().contains(key) ? golden_.json().at(key).get<std::map<std::string, Json>>()
                                        : std::map<std::string, Json>{};
  }
  std::vector<Json> list(const char* key) const {
    return golden_.json().contains(key) ? golden_.json().at(key).get<std::vector<Json>>()
                                        : std::vector<Json>{};
  }

  void pixels(const std::string& name, const Json& entry) {
    const Tensor got = session_.dump(Stage::kPixels, golden_.image(name));
    const auto want = golden_.values(entry);
    if (!same_shape(got.shape, entry, "pixels of " + name)) return;
    double worst = 0;
    for (std::size_t i = 0; i < want.size(); ++i)
      worst = std::max(worst, std::abs(double{got.values[i]} - want[i]));
    found_.count("pictures");
    found_.error("pixel", worst, tolerance_.pixels, "pixels of " + name);
  }

  bool same_shape(const std::vector<std::int64_t>& got, const Json& entry,
                  const std::string& where) {
    if (got == golden_.shape(entry)) return true;
    found_.fail(where, "shape " + Json(got).dump() + ", expected " + entry.at("shape").dump());
    return false;
  }

  void tensor(const std::string& kind, const Json& entry, const Tensor& got,
              const std::string& where) {
    if (!same_shape(got.shape, entry, where)) return;
    const Difference d = difference(got.values, golden_.values(entry));
    found_.count(kind + "_tensors");
    found_.error(kind + "_norm", d.norm, tolerance_.hidden, where);
    found_.error(kind + "_max", d.max, tolerance_.hidden, where);
  }

  void states(const Json& item, Stage stage) {
    const std::string image = item.at("image"), text = item.at("text");
    tensor("hidden", item.at("states"), session_.dump(stage, golden_.image(image), text),
           "states of \"" + text + "\" over " + image);
  }

  void vector(const Json& entry, const std::vector<float>& got, const std::string& where) {
    if (!same_shape({static_cast<std::int64_t>(got.size())}, entry, where)) return;
    found_.count("itc_vectors");
    found_.error("itc_vector_norm", difference(got, golden_.values(entry)).norm, tolerance_.hidden,
                 where);
  }

  void match(const Json& item) {
    const std::string image = item.at("image"), text = item.at("text");
    const Match got = session_.match(encoded_.at(image), {text}).front();
    found_.count("matches");
    found_.error("probability",
                 std::abs(got.match_probability.value() - item.at("probability").get<double>()),
                 tolerance_.probability, "match of " + image + " with \"" + text + "\"");
    found_.error("cosine", std::abs(got.cosine.value() - item.at("cosine").get<double>()),
                 tolerance_.cosine, "cosine of " + image + " with \"" + text + "\"");
  }

  // A near tie may fall either way: arithmetic differs in the last bits between any two programs.
  void texts(const Json& want, const Generation& got, bool stable, const std::string& where) {
    if (got.all.size() != want.size())
      return found_.fail(where, std::to_string(got.all.size()) + " texts, expected " +
                                    std::to_string(want.size()));
    for (std::size_t i = 0; i < want.size(); ++i) {
      const Text& text = got.all[i];
      const bool same = text.token_ids == want[i].at("ids").get<std::vector<std::int32_t>>();
      found_.count(stable ? "texts" : "near_tie_texts");
      if (!same && !stable) {
        found_.count("near_tie_texts_different");
        continue;
      }
      if (!same) {
        found_.count("texts_different");
        found_.fail(where, shown(text.token_ids) + ", expected " + want[i].at("ids").dump());
        continue;
      }
      if (text.text != want[i].at("text"))
        found_.fail(where, "\"" + text.text + "\", expected " + want[i].at("text").dump());
      score(text.score, want[i].at("score"), where);
    }
  }

  void score(double got, double want, const std::string& where) {
    found_.error("score", std::abs(got - want) / std::max(1.0, std::abs(want)), tolerance_.score,
                 where);
  }

  // The batch, and each picture by itself.
  void captions(const Json& item) {
    const auto names = item.at("images").get<std::vector<std::string>>();
    std::vector<EncodedImage> images;
    for (const auto& name : names) images.push_back(encoded_.at(name));
    const CaptionOptions options = caption_options(item);
    const auto batch = session_.caption(images, options);
    for (std::size_t i = 0; i < names.size(); ++i) {
      const std::string where = "caption of " + names[i] + " after \"" +
                                options.prompt.value_or("") + "\" with " +
                                item.at("options").dump();
      texts(item.at("results")[i], batch[i], item.at("stable"),
            where + " (batch of " + std::to_string(names.size()) + ")");
      if (names.size() > 1)
        texts(item.at("results")[i], session_.caption(images[i], options), item.at("stable"),
              where);
    }
  }

  void answer(const Json& item) {
    const std::string image = item.at("image"), question = item.at("question");
    texts(item.at("results"), session_.ask(encoded_.at(image), question, ask_options(item)),
          item.at("stable"),
          "answer of " + image + " to \"" + question + "\" with " + item.at("options").dump());
  }

  void rank(const Json& item) {
    const std::string image = item.at("image"), question = item.at("question");
    const std::string where =
        "ranking of " + image + " for \"" + question + "\" among " + item.at("answers").dump();
    AskOptions options;
    options.rank_candidates = item.at("keep");
    const auto got = session_.rank(encoded_.at(image), question,
                                   item.at("answers").get<std::vector<std::string>>(), options);
    const Json& want = item.at("ranking");
    const bool stable = item.at("stable");
    found_.count(stable ? "rankings" : "near_tie_rankings");
    if (got.all.size() != want.size())
      return found_.fail(where,
                         std::to_string(got.all.size()) + " answers, expected " + want.dump());
    for (std::size_t i = 0; i < want.size(); ++i) {
      if (got.all[i].text != want[i].at("answer")) {
        found_.count(stable ? "rankings_different" : "near_tie_rankings_different");
        if (stable)
          found_.fail(where, "place " + std::to_string(i) + " is \"" + got.all[i].text +
                                 "\", expected " + want[i].dump());
        return;
      }
      score(-got.all[i].score, want[i].at("loss"), where);
    }
  }

  void words(const std::vector<WordAttention>& got, const Json& want, const Json& entry,
             const std::string& where) {
    const auto weights = golden_.values(entry);
    if (got.size() != want.size())
      return found_.fail(where, std::to_string(got.size()) + " words, expected " + want.dump());
    for (std::size_t i = 0; i < got.size(); ++i) {
      const std::size_t patches = weights.size() / got.size();
      if (got[i].word != want[i])
        return found_.fail(where, "word \"" + got[i].word + "\", expected " + want[i].dump());
      if (got[i].weights.size() != patches)
        return found_.fail(where, std::to_string(got[i].weights.size()) + " patches");
      double worst = 0;
      for (std::size_t p = 0; p < patches; ++p)
        worst = std::max(worst, std::abs(double{got[i].weights[p]} - weights[i * patches + p]));
      found_.count("word_maps");
      found_.error("attention", worst, tolerance_.attention,
                   where + ", word \"" + got[i].word + "\"");
    }
  }

  void attention(const Json& item) {
    const std::string where = "attention of " + item.at("image").get<std::string>() + " for \"" +
                              item.at("text").get<std::string>() + "\"";
    const EncodedImage& image = encoded_.at(item.at("image"));
    const Text text{item.at("text"), item.at("ids"), 0};
    AttentionOptions options;
    options.layers = item.at("layers");
    const bool asked = item.contains("question");
    if (!asked) options.prompt = item.at("prompt").get<std::string>();
    const Attention got = asked ? session_.attention(image, item.at("question"), text, options)
                                : session_.attention(image, text, options);
    words(got.words, item.at("words"), item.at("weights"), where);
    if (asked)
      words(got.question, item.at("question_words"), item.at("question_weights"),
            where + ", question");
  }

  const Golden& golden_;
  Session& session_;
  const std::map<std::string, EncodedImage>& encoded_;
  const Tolerance& tolerance_;
  Findings& found_;
};

}  // namespace

Golden::Golden(const std::filesystem::path& folder) : folder_(folder) {
  std::ifstream text(folder / "golden.json");
  if (!text) throw std::runtime_error("cannot open " + (folder / "golden.json").string());
  json_ = Json::parse(text);
  std::ifstream raw(folder / "golden.f32", std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(raw), {}};
  values_.resize(bytes.size() / sizeof(float));
  std::copy_n(bytes.data(), values_.size() * sizeof(float),
              reinterpret_cast<char*>(values_.data()));
}

std::string Golden::model_path() const {
  if (const std::string models = environment("BLIP_TEST_MODELS"); !models.empty())
    return (std::filesystem::path(models) / folder_.filename()).string();
  return (folder_ / json_.at("path").get<std::string>()).string();
}

std::vector<std::string> Golden::adapters() const {
  std::vector<std::string> paths;
  for (const Json& path : json_.value("adapters", Json::array()))
    paths.push_back((folder_ / path.get<std::string>()).lexically_normal().string());
  return paths;
}

std::span<const float> Golden::values(const Json& entry) const {
  std::size_t count = 1;
  for (const std::int64_t n : shape(entry)) count *= static_cast<std::size_t>(n);
  const std::size_t offset = entry.at("offset");
  if (offset + count > values_.size())
    throw std::runtime_error("golden.f32 is shorter than golden.json says");
  return std::span(values_).subspan(offset, count);
}

void Findings::error(const std::string& kind, double value, double limit,
                     const std::string& where) {
  double& worst = max_errors["max_" + kind];
  worst = std::max(worst, std::isnan(value) ? std::numeric_limits<double>::infinity() : value);
  if (!(value <= limit))
    fail(where, kind + " error " + std::to_string(value) + ", allowed " + std::to_string(limit));
}

std::string device() {
  const std::string given = environment("BLIP_TEST_DEVICE");
  return given.empty() ? EngineOptions().device : given;
}

Tolerance tolerance() {
  Tolerance tolerance;
  const std::string given = environment("BLIP_TEST_TOLERANCE");
  if (given.empty()) return tolerance;
  const double factor = std::stod(given);
  for (double* value : {&tolerance.hidden, &tolerance.probability, &tolerance.cosine,
                        &tolerance.attention, &tolerance.score})
    *value *= factor;
  return tolerance;
}

Engine load(const std::string& path, int threads, const std::vector<std::string>& adapters) {
  EngineOptions options;
  options.adapters = adapters;
  options.device = device();
  options.dtype = device_dtypes(device()).empty() ? DType::kAuto : DType::kF32;
  options.threads = threads;
  return Engine::load(path, options);
}

CaptionOptions caption_options(const Json& item) {
  CaptionOptions options;
  options.prompt = item.at("prompt").get<std::string>();
  options.generate = generate_options(item.at("options"));
  return options;
}

AskOptions ask_options(const Json& item) {
  AskOptions options;
  options.generate = generate_options(item.at("options"));
  return options;
}

Difference difference(std::span<const float> got, std::span<const float> want) {
  double error = 0, norm = 0, worst = 0, largest = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    const double d = double{got[i]} - want[i];
    if (std::isnan(d)) return {d, d};
    error += d * d;
    norm += double{want[i]} * want[i];
    worst = std::max(worst, std::abs(d));
    largest = std::max(largest, std::abs(double{want[i]}));
  }
  return {std::sqrt(error / norm), worst / largest};
}

std::map<std::string, EncodedImage> encode_all(const Golden& golden, Session& session) {
  std::vector<Image> images;
  for (const auto& name : golden.image_names()) images.push_back(golden.image(name));
  const auto encoded = session.encode(images);
  std::map<std::string, EncodedImage> by_name;
  for (std::size_t i = 0; i < images.size(); ++i)
    by_name.emplace(golden.image_names()[i], encoded[i]);
  return by_name;
}

void compare(const Golden& golden, Session& session,
             const std::map<std::string, EncodedImage>& encoded, const Tolerance& tolerance,
             Findings& findings) {
  Comparer(golden, session, encoded, tolerance, findings).all();
}

}  // namespace blip::parity
