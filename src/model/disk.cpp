#include "model/disk.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "blip/error.h"

namespace blip::model {
namespace {

[[noreturn]] void fail(const std::string& message) { throw Error(ErrorCode::kModel, message); }

bool starts_with(std::string_view text, std::string_view start) {
  return text.substr(0, start.size()) == start;
}

// Dimension `axis` of a tensor if it is there with the rank it should have, and of a size an int
// holds.
std::optional<int> dimension(const DiskTensors& disk, const std::string& name, std::size_t rank,
                             std::size_t axis) {
  const io::TensorView* view = disk.find(name);
  if (view == nullptr) return std::nullopt;
  const auto shape = squeezed(view->shape, rank);
  if (shape.size() != rank || shape[axis] < 1 || shape[axis] > kMaxVocab) return std::nullopt;
  return static_cast<int>(shape[axis]);
}

// A dimension that a size may be read off.
struct Dimension {
  std::string tensor;
  std::size_t rank, axis;
};

// Reads sizes off tensors. A configuration that contradicts them is an error: one of the two is of
// another model.
class Sizes {
 public:
  // where: the configuration's file; part: the object in it that states the tower's sizes, "" for
  // the outermost.
  Sizes(const DiskTensors& disk, std::string where, std::string part)
      : disk_(disk), where_(std::move(where)), part_(std::move(part)) {}

  // The value most of the dimensions have; among equals the stated one, then the first. A single
  // tensor that differs is left to the check against the tensor table, which then names it.
  // `otherwise` where nothing says.
  int settle(const char* key, std::optional<int> stated, const std::vector<Dimension>& dimensions,
             int otherwise) const {
    std::vector<std::optional<int>> values;
    for (const Dimension& one : dimensions)
      values.push_back(dimension(disk_, one.tensor, one.rank, one.axis));
    std::optional<std::size_t> best;
    long best_votes = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (!values[i]) continue;
      const long votes =
          2 * std::count(values.begin(), values.end(), values[i]) + (values[i] == stated ? 1 : 0);
      if (votes > best_votes) {
        best = i;
        best_votes = votes;
      }
    }
    if (!best) return stated.value_or(otherwise);
    if (stated && *stated != *values[*best])
      contradict(key, *stated, *values[*best], "tensor " + shape_of(dimensions[*best].tensor));
    return *values[*best];
  }

  // Layers stated that the file lacks are then reported as missing tensors.
  int layers(std::optional<int> stated, const std::string& prefix) const {
    const int found = disk_.count_layers(prefix);
    if (stated && *stated < found)
      contradict("num_hidden_layers", *stated, found,
                 "the tensors " + prefix + "0 to " + std::to_string(found - 1));
    return std::max(std::max(1, stated.value_or(0)), found);
  }

 private:
  [[noreturn]] void contradict(const char* key, int stated, int found,
                               const std::string& by) const {
    fail(where_ + ": " + part_ + key + " is " + std::to_string(stated) + ", but " +
         std::to_string(found) + " by " + by + " of " + disk_.where() +
         "; put the model's own config.json beside it");
  }

  std::string shape_of(const std::string& tensor) const {
    std::string text;
    for (const std::int64_t size : disk_.find(tensor)->shape)
      text += (text.empty() ? "" : ", ") + std::to_string(size);
    return tensor + " [" + text + "]";
  }

  const DiskTensors& disk_;
  std::string where_, part_;
};

int heads_of(const TowerSettings& settings, int width) {
  if (settings.heads) return *settings.heads;
  if (settings.default_heads > 0 && width % settings.default_heads == 0)
    return settings.default_heads;
  return std::max(1, width / 64);
}

VisionConfig infer_vision(const DiskTensors& disk, Layout layout, const std::string& prefix,
                          const Settings& all) {
  const TowerSettings& settings = all.vision;
  const Sizes sizes(disk, all.where, "vision_config.");
  const auto name = [&](const char* suffix) {
    return tower_tensor(layout, Part::kVision, prefix, suffix);
  };
  const std::string patches = name("patch.weight"), position = name("position");
  VisionConfig vision;
  vision.width = sizes.settle("hidden_size", settings.width,
                              {{patches, 4, 0},
                               {name("patch.bias"), 1, 0},
                               {name("class_token"), 1, 0},
                               {position, 2, 1},
                               {name("norm.weight"), 1, 0}},
                              vision.width);
  vision.patch_size = sizes.settle("patch_size", settings.patch_size,
                                   {{patches, 4, 2}, {patches, 4, 3}}, vision.patch_size);
  vision.mlp = sizes.settle(
      "intermediate_size", settings.mlp,
      {{name("#.fc1.weight"), 2, 0}, {name("#.fc1.bias"), 1, 0}, {name("#.fc2.weight"), 2, 1}},
      vision.mlp);
  vision.layers = sizes.layers(settings.layers, layer_prefix(layout, Part::kVision, prefix));
  vision.heads = heads_of(settings, vision.width);
  vision.eps = settings.eps;
  // No contradiction: positions are interpolated to the size asked for, as the official code does.
  if (all.preprocessor_size) {
    vision.image_size = *all.preprocessor_size;
  } else if (settings.image_size) {
    vision.image_size = *settings.image_size;
  } else if (const auto rows = dimension(disk, position, 2, 0)) {
    const auto side =
        static_cast<std::int64_t>(std::lround(std::sqrt(static_cast<double>(*rows - 1))));
    vision.image_size =
        static_cast<int>(std::clamp<std::int64_t>(side * vision.patch_size, 1, kMaxImage));
  }
  return vision;
}

TextConfig infer_text(const DiskTensors& disk, Layout layout, Part part, const std::string& prefix,
                      const Settings& all, int cross_width) {
  const TowerSettings& settings = all.text;
  const Sizes sizes(disk, all.where, "text_config.");
  const auto name = [&](const char* suffix) { return tower_tensor(layout, part, prefix, suffix); };
  TextConfig text;
  text.width = sizes.settle("hidden_size", settings.width,
                            {{name("word"), 2, 1},
                             {name("position"), 2, 1},
                             {name("norm.weight"), 1, 0},
                             {name("#.self.q.bias"), 1, 0}},
                            text.width);
  text.mlp = sizes.settle(
      "intermediate_size", settings.mlp,
      {{name("#.fc1.weight"), 2, 0}, {name("#.fc1.bias"), 1, 0}, {name("#.fc2.weight"), 2, 1}},
      text.mlp);
  std::vector<Dimension> rows{{name("word"), 2, 0}};
  if (is_decoder(part)) {
    const std::string head = prefix + ".cls.predictions.";
    rows.insert(
        rows.end(),
        {{head + "bias", 1, 0}, {head + "decoder.bias", 1, 0}, {head + "decoder.weight", 2, 0}});
  }
  text.vocab = sizes.settle("vocab_size", settings.vocab, rows, text.vocab);
  text.max_positions = sizes.settle("max_position_embeddings", settings.positions,
                                    {{name("position"), 2, 0}}, text.max_positions);
  text.layers = sizes.layers(settings.layers, layer_prefix(layout, part, prefix));
  text.heads = heads_of(settings, text.width);
  text.vision_width = cross_width;
  text.eps = settings.eps;
  return text;
}

void check_tower(int width, int heads, const std::string& tower, const std::string& where) {
  if (width % heads != 0) {
    fail(where + ": " + tower + " is " + std::to_string(width) + " wide, which its " +
         std::to_string(heads) + " attention heads do not divide");
  }
}

// What stands before the first of the names that only a BLIP has; nullopt where the name has none.
std::optional<std::string> wrapper_of(std::string_view name) {
  for (const std::string_view root : {"vision_model.", "visual_encoder.", "vision.patch."}) {
    for (auto at = name.find(root); at != std::string_view::npos; at = name.find(root, at + 1)) {
      if (at == 0 || name[at - 1] == '.') return std::string(name.substr(0, at));
    }
  }
  return std::nullopt;
}

// A tensor of another part of a BLIP, under its plain name.
bool is_of_blip(std::string_view name) {
  constexpr std::string_view kParts[] = {"text_encoder.",   "text_decoder.", "question_encoder.",
                                         "answer_decoder.", "itm_head.",     "vision_proj.",
                                         "text_proj.",      "text_model.",   "cls_head."};
  return std::any_of(std::begin(kParts), std::end(kParts),
                     [&](std::string_view part) { return starts_with(name, part); });
}

// The name without the levels that torch's own wrappers put inside a model, at any depth.
std::string unwrapped(std::string_view name) {
  std::string result;
  while (!name.empty()) {
    const std::string_view level = name.substr(0, std::min(name.find('.'), name.size() - 1) + 1);
    const bool wrapper = level == "_orig_mod." || level == "module." ||
                         level == "_fsdp_wrapped_module." || level == "_checkpoint_wrapped_module.";
    if (!wrapper) result += level;
    name.remove_prefix(level.size());
  }
  return result;
}

// BLIP-NLVR's text encoder, which has two cross-attentions in a layer.
bool has_twins(const DiskTensors& disk) {
  return std::any_of(disk.all().begin(), disk.all().end(), [](const auto& tensor) {
    return starts_with(tensor.first, "text_encoder.") &&
           tensor.first.find(".crossattention.self0.") != std::string::npos;
  });
}

}  // namespace

void DiskTensors::add(const io::TensorFile& file) {
  for (const io::TensorView& view : file.tensors()) {
    if (!tensors_.emplace(view.name, view).second)
      fail(where_ + ": two files hold a tensor " + view.name);
  }
}

void DiskTensors::replace(Tensors tensors) {
  tensors_.clear();
  for (auto& [name, view] : tensors) {
    const std::string plain = unwrapped(name);
    if (!tensors_.emplace(plain, view).second)
      fail(where_ + ": two tensors are called " + plain + " without their wrappers, one of them " +
           view.name);
  }
}

void DiskTensors::strip_wrappers() {
  std::set<std::string> wrappers;
  for (const auto& [name, view] : tensors_) {
    if (const auto wrapper = wrapper_of(name)) wrappers.insert(unwrapped(*wrapper));
    if (wrappers.size() > kMaxLayers) break;
  }
  // Names that need nothing taken off say what the model is; whatever lies beside it is then found
  // unexpected.
  if (wrappers.empty() || wrappers.contains("")) return replace(std::exchange(tensors_, {}));
  if (wrappers.size() > 1) {
    std::string list;
    std::size_t shown = 0;
    for (const std::string& wrapper : wrappers) {
      if (++shown <= 8) list += (shown > 1 ? ", " : "") + wrapper + "*";
    }
    fail(where_ + ": holds several models (" + list + (shown > 8 ? ", ..." : "") +
         "); save the one you want alone");
  }
  // What lies beside the wrapped model (optimizer state, epoch) is no part of it.
  const std::string& wrapper = *wrappers.begin();
  Tensors inside;
  for (const auto& [name, view] : tensors_) {
    const std::string plain = unwrapped(name);
    if (starts_with(plain, wrapper)) {
      inside.emplace(plain.substr(wrapper.size()), view);
    } else if (is_of_blip(plain)) {
      fail(where_ + ": tensor " + name + " lies outside " + wrapper +
           "*, where the picture's tower is; expected one prefix for all");
    }
  }
  replace(std::move(inside));
}

const io::TensorView* DiskTensors::find(std::string_view name) const {
  const auto it = tensors_.find(name);
  return it == tensors_.end() ? nullptr : &it->second;
}

bool DiskTensors::any_with_prefix(std::string_view prefix) const {
  const auto it = tensors_.lower_bound(prefix);
  return it != tensors_.end() && starts_with(it->first, prefix);
}

int DiskTensors::count_layers(const std::string& prefix) const {
  int layers = 0;
  for (auto it = tensors_.lower_bound(prefix);
       it != tensors_.end() && starts_with(it->first, prefix); ++it) {
    int number = 0;
    std::size_t at = prefix.size();
    for (; at < it->first.size() && it->first[at] >= '0' && it->first[at] <= '9' &&
           number <= kMaxLayers;
         ++at) {
      number = number * 10 + (it->first[at] - '0');
    }
    if (at == prefix.size()) continue;
    if (number >= kMaxLayers)
      fail(where_ + ": tensor " + it->first + ": more than " + std::to_string(kMaxLayers) +
           " layers");
    layers = std::max(layers, number + 1);
  }
  return layers;
}

std::vector<std::int64_t> squeezed(const std::vector<std::int64_t>& shape, std::size_t rank) {
  std::size_t skip = 0;
  while (shape.size() - skip > rank && shape[skip] == 1) ++skip;
  return {shape.begin() + static_cast<std::ptrdiff_t>(skip), shape.end()};
}

Layout detect_layout(const DiskTensors& disk) {
  if (disk.any_with_prefix("vision_model.")) {
    if (disk.any_with_prefix("text_model.")) {
      fail(disk.where() +
           ": holds transformers' BlipModel (text_model.*), which has no captioning, matching or "
           "question-answering "
           "head; expected a BlipForConditionalGeneration, BlipForImageTextRetrieval or "
           "BlipForQuestionAnswering");
    }
    return Layout::kHuggingFace;
  }
  if (disk.any_with_prefix("visual_encoder.")) return Layout::kOfficial;
  const std::string example =
      disk.all().empty() ? "no tensors" : "for example " + disk.all().begin()->first;
  fail(disk.where() + ": not a BLIP checkpoint: found " + example +
       "; expected tensors named vision_model.* (transformers) or visual_encoder.* "
       "(salesforce/BLIP)");
}

Roles detect_roles(const DiskTensors& disk, Layout layout, Architecture architecture) {
  Roles roles;
  roles.itm = disk.any_with_prefix("itm_head.") || architecture == Architecture::kRetrieval;
  const bool nlvr = layout == Layout::kOfficial && has_twins(disk);
  roles.itc = disk.any_with_prefix("vision_proj.") || disk.any_with_prefix("text_proj.") ||
              architecture == Architecture::kRetrieval;
  const bool encoder = (disk.any_with_prefix("text_encoder.") && !nlvr) || roles.itm || roles.itc ||
                       architecture == Architecture::kQuestionAnswering;
  const bool decoder = disk.any_with_prefix("text_decoder.") ||
                       architecture == Architecture::kCaption ||
                       architecture == Architecture::kQuestionAnswering;
  // Our combined layout names the question-answering towers; otherwise an encoder without matching
  // heads beside a decoder is a question encoder (BLIP-VQA), and one with them is the ITM/ITC
  // encoder (retrieval, pre-training).
  const bool question = disk.any_with_prefix("question_encoder."),
             answer = disk.any_with_prefix("answer_decoder.");
  const bool vqa = encoder && decoder && !roles.itm && !roles.itc && !question && !answer;
  PartPrefixes& prefixes = roles.prefixes;
  prefixes.vision = layout == Layout::kHuggingFace ? "vision_model" : "visual_encoder";
  if (encoder) (vqa ? prefixes.question : prefixes.text) = "text_encoder";
  if (decoder) (vqa ? prefixes.answer : prefixes.caption) = "text_decoder";
  if (question) prefixes.question = "question_encoder";
  if (answer) prefixes.answer = "answer_decoder";
  if (nlvr) prefixes.nlvr = "text_encoder";
  return roles;
}

ModelConfig infer_config(const DiskTensors& disk, Layout layout, const Roles& roles,
                         const Settings& settings) {
  const PartPrefixes& prefixes = roles.prefixes;
  ModelConfig config;
  config.vision = infer_vision(disk, layout, prefixes.vision, settings);
  const auto text = [&](Part part, int cross) -> std::optional<TextConfig> {
    if (prefixes.of(part).empty()) return std::nullopt;
    return infer_text(disk, layout, part, prefixes.of(part), settings, cross);
  };
  config.text_encoder = text(Part::kText, config.vision.width);
  config.caption_decoder = text(Part::kCaption, config.vision.width);
  config.question_encoder = text(Part::kQuestion, config.vision.width);
  // The answer decoder reads the question's states, not the picture's.
  config.answer_decoder =
      text(Part::kAnswer,
           config.question_encoder ? config.question_encoder->width : config.vision.width);
  config.nlvr_encoder = text(Part::kNlvr, config.vision.width);
  config.has_itm_head = roles.itm;
  if (roles.itc) {
    config.embed_dim = Sizes(disk, settings.where, "")
                           .settle("image_text_hidden_size", settings.embed,
                                   {{"vision_proj.weight", 2, 0},
                                    {"vision_proj.bias", 1, 0},
                                    {"text_proj.weight", 2, 0},
                                    {"text_proj.bias", 1, 0}},
                                   256);
  }
  config.normalization = settings.normalization;
  // The official code reads statements about two pictures whole.
  config.max_text = config.nlvr_encoder ? config.nlvr_encoder->max_positions : settings.max_text;
  config.prompt = settings.prompt;
  config.tokens = {settings.bos.value_or(-1), settings.eos.value_or(-1), settings.pad.value_or(-1),
                   -1};
  return config;
}

void validate(const ModelConfig& config, const std::string& where) {
  const VisionConfig& vision = config.vision;
  if (vision.patch_size > vision.image_size) {
    fail(where + ": the image size " + std::to_string(vision.image_size) +
         " is smaller than the patch size " + std::to_string(vision.patch_size));
  }
  if (vision.image_size / vision.patch_size > kMaxSide) {
    fail(where + ": image size " + std::to_string(vision.image_size) + " with patches of " +
         std::to_string(vision.patch_size) + " makes more than " + std::to_string(kMaxSide) +
         " x " + std::to_string(kMaxSide) + " patches");
  }
  check_tower(vision.width, vision.heads, "the vision tower", where);
  const std::pair<const std::optional<TextConfig>*, const char*> towers[] = {
      {&config.text_encoder, "the text encoder"},
      {&config.caption_decoder, "the caption decoder"},
      {&config.question_encoder, "the question encoder"},
      {&config.answer_decoder, "the answer decoder"},
      {&config.nlvr_encoder, "the NLVR encoder"}};
  for (const auto& [tower, name] : towers) {
    if (*tower) check_tower((*tower)->width, (*tower)->heads, name, where);
  }
}

}  // namespace blip::model
