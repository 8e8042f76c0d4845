#include "model/checkpoint.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>
#include <set>

#include "model/adapter.h"
#include "model/disk.h"
#include "model/gguf_config.h"
#include "model/position.h"
#include "model/tensor_table.h"
#include "model/vocabulary.h"

namespace blip::model {
namespace {

[[noreturn]] void fail(const std::string& message) { throw Error(ErrorCode::kModel, message); }

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i)
    text += (i > 0 ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

bool is_number(io::ElementType type) {
  using io::ElementType;
  return type == ElementType::f32 || type == ElementType::f16 || type == ElementType::bf16 ||
         type == ElementType::f64 || type == ElementType::q8_0;
}

bool is_vision_position(const TensorSpec& spec) {
  return spec.part == Part::kVision && spec.name == "vision.position";
}

// Patches along one side of a position table of `rows` rows; 0 where that is no whole number.
int table_side(std::int64_t rows) {
  if (rows < 2 || rows > std::int64_t{kMaxSide} * kMaxSide + 1) return 0;
  const auto side =
      static_cast<std::int64_t>(std::lround(std::sqrt(static_cast<double>(rows - 1))));
  return side * side == rows - 1 ? static_cast<int>(side) : 0;
}

// The view in canonical shape. A vision position table may be of another image size; everything
// else must fit exactly.
io::TensorView checked_view(const io::TensorView& on_disk, const TensorSpec& spec,
                            const std::string& where) {
  io::TensorView view = on_disk;
  view.shape = squeezed(on_disk.shape, spec.shape.size());
  bool fits = view.shape == spec.shape;
  std::string expected = shape_text(spec.shape);
  if (is_vision_position(spec)) {
    fits =
        view.shape.size() == 2 && view.shape[1] == spec.shape[1] && table_side(view.shape[0]) > 0;
    expected = "[n x n + 1, " + std::to_string(spec.shape[1]) + "]";
  }
  if (!fits)
    fail(where + ": tensor " + on_disk.name + ": expected shape " + expected + ", got " +
         shape_text(on_disk.shape));
  if (!is_number(view.type)) {
    fail(where + ": tensor " + on_disk.name + ": expected floating-point values, got " +
         io::to_string(view.type));
  }
  return view;
}

// Finds every tensor of the table. `used` collects the on-disk names.
TensorMap resolve(const std::vector<TensorSpec>& table, const DiskTensors& disk,
                  std::set<std::string, std::less<>>& used) {
  TensorMap tensors;
  std::vector<const TensorSpec*> missing;
  for (const TensorSpec& spec : table) {
    const io::TensorView* view = disk.find(spec.on_disk);
    const io::TensorView* tied = spec.alias.empty() ? nullptr : disk.find(spec.alias);
    used.insert(spec.on_disk);
    used.insert(spec.alias);
    if (tied != nullptr && (view == nullptr || spec.alias_wins)) view = tied;
    if (view != nullptr) {
      tensors.emplace(spec.name, checked_view(*view, spec, disk.where()));
    } else if (!spec.optional) {
      missing.push_back(&spec);
    }
  }
  if (!missing.empty()) {
    const TensorSpec& first = *missing.front();
    const std::string others =
        missing.size() > 1 ? " (and " + std::to_string(missing.size() - 1) + " more)" : "";
    fail(disk.where() + ": tensor " + first.on_disk + " is missing; expected shape " +
         shape_text(first.shape) + others);
  }
  return tensors;
}

// Silently dropping a tensor could change answers, so only what is known to be unused may be left
// over.
void refuse_unexpected(const DiskTensors& disk, const std::set<std::string, std::less<>>& used) {
  std::string names;
  std::size_t count = 0;
  for (const auto& [name, view] : disk.all()) {
    if (used.contains(name) || is_ignorable(name)) continue;
    if (++count <= 3) names += (count > 1 ? ", " : "") + name + " " + shape_text(view.shape);
  }
  if (count > 0) {
    fail(disk.where() + ": " + std::to_string(count) +
         (count == 1 ? " unexpected tensor: " : " unexpected tensors: ") + names +
         (count > 3 ? ", ..." : "") + "; this is not a BLIP of a kind this program knows");
  }
}

bool same_values(const io::TensorView& a, const io::TensorView& b) {
  if (a.type == b.type) {
    return a.data.data() == b.data.data() ||
           (a.data.size() == b.data.size() &&
            std::memcmp(a.data.data(), b.data.data(), a.data.size()) == 0);
  }
  std::vector<float> x(a.count()), y(b.count());
  a.to_f32(x);
  b.to_f32(y);
  return x == y;
}

// An output matrix equal to the word embeddings is a tied one saved twice.
void drop_tied_heads(TensorMap& tensors) {
  for (const Part part : {Part::kCaption, Part::kAnswer}) {
    const std::string tower = canonical_prefix(part);
    const auto head = tensors.find(tower + ".head.weight");
    if (head != tensors.end() && same_values(head->second, tensors.at(tower + ".word")))
      tensors.erase(head);
  }
}

// "f16" where all matrices of a part have that type. The convolution is left out: its rows are too
// short for q8_0.
std::string type_of(const std::set<io::ElementType>& types) {
  return types.size() == 1 ? io::to_string(*types.begin()) : types.empty() ? "" : "mixed";
}

PartInfo describe(Part part, const std::vector<TensorSpec>& table, const TensorMap& tensors) {
  PartInfo info;
  info.name = part_name(part);
  std::set<io::ElementType> types;
  for (const TensorSpec& spec : table) {
    if (spec.part != part) continue;
    const auto it = tensors.find(spec.name);
    if (it == tensors.end()) continue;
    info.parameters += it->second.count();
    if (spec.kind == TensorKind::kMatrix && spec.shape.size() == 2) types.insert(it->second.type);
  }
  info.type = type_of(types);
  return info;
}

ModelInfo make_info(const ModelConfig& config, const std::vector<TensorSpec>& table,
                    const TensorMap& tensors) {
  ModelInfo info;
  info.image_size = config.vision.image_size;
  info.patch_size = config.vision.patch_size;
  info.embed_dim = config.embed_dim;
  describe_tokens(config, info);
  describe_texts(config, info);
  info.can_caption = config.caption_decoder.has_value();
  info.can_match_itm = config.has_itm_head;
  info.can_match_itc = config.embed_dim > 0;
  info.can_ask = config.question_encoder && config.answer_decoder;
  info.can_rank = info.can_ask;
  info.can_nlvr = config.nlvr_encoder.has_value();
  info.can_attend = info.can_caption || info.can_ask;
  for (const auto* decoder : {&config.caption_decoder, &config.answer_decoder})
    if (*decoder)
      info.max_length = info.max_length == 0 ? (*decoder)->max_positions
                                             : std::min(info.max_length, (*decoder)->max_positions);
  info.parts.push_back(describe(Part::kVision, table, tensors));
  info.parts.back().layers = config.vision.layers;
  info.parts.back().width = config.vision.width;
  info.parts.back().heads = config.vision.heads;
  info.parts.back().mlp = config.vision.mlp;
  const std::pair<Part, const std::optional<TextConfig>*> towers[] = {
      {Part::kText, &config.text_encoder},
      {Part::kCaption, &config.caption_decoder},
      {Part::kQuestion, &config.question_encoder},
      {Part::kAnswer, &config.answer_decoder},
      {Part::kNlvr, &config.nlvr_encoder}};
  for (const auto& [part, tower] : towers) {
    if (!*tower) continue;
    PartInfo text = describe(part, table, tensors);
    text.layers = (*tower)->layers;
    text.width = (*tower)->width;
    text.heads = (*tower)->heads;
    text.mlp = (*tower)->mlp;
    info.parts.push_back(std::move(text));
    if (info.vocab_size == 0) info.vocab_size = (*tower)->vocab;
  }
  for (const PartInfo& part : info.parts) info.parameters += part.parameters;
  return info;
}

std::string metadata_name(const Metadata& metadata, const std::string& fallback) {
  const auto it = metadata.find("general.name");
  const auto* name = it == metadata.end() ? nullptr : std::get_if<std::string>(&it->second);
  return name == nullptr || name->empty() ? fallback : *name;
}

// What a file turned out to hold.
struct Plan {
  Layout layout = Layout::kCanonical;
  PartPrefixes prefixes{"vision", "text", "caption", "question", "answer", "nlvr"};
  ModelConfig config;
  std::vector<std::string> warnings;
};

// Without a matrix of its own, a decoder whose words are not tied has none at all: transformers
// fills it with noise.
void refuse_untied(const DiskTensors& disk, const PartPrefixes& prefixes,
                   const Settings& settings) {
  for (const std::string& prefix : {prefixes.caption, prefixes.answer}) {
    const std::string matrix = prefix + ".cls.predictions.decoder.weight";
    if (settings.tied_words || prefix.empty() || disk.find(matrix) != nullptr) continue;
    fail(settings.where + ": tie_word_embeddings is false, but the tensor " + matrix +
         " is missing");
  }
}

Plan make_plan(const Source& source, const DiskTensors& disk) {
  Plan plan;
  std::string where = source.path;
  if (source.format == "gguf") {
    plan.config = read_config(source.files.front()->metadata(), where);
  } else {
    plan.layout = detect_layout(disk);
    const Settings settings = plan.layout == Layout::kOfficial
                                  ? official_settings()
                                  : load_settings(source.folder, source.path);
    const Roles roles = detect_roles(disk, plan.layout, settings.architecture);
    plan.prefixes = roles.prefixes;
    plan.config = infer_config(disk, plan.layout, roles, settings);
    if (!settings.where.empty()) where = settings.where;
    plan.warnings = settings.warnings;
    refuse_untied(disk, plan.prefixes, settings);
  }
  validate(plan.config, where);
  if (const int positions = plan.config.max_positions(); positions > 0)
    plan.config.max_text = std::min(plan.config.max_text, positions);
  return plan;
}

// Returns what the merged tensors are views of.
std::vector<std::vector<float>> merge_adapters(const Location& location, Plan& plan,
                                               const std::vector<TensorSpec>& table,
                                               TensorMap& tensors) {
  if (location.adapters.empty()) return {};
  // transformers names a model's towers by their kind; files in its layout may call them otherwise.
  const PartPrefixes usual{"vision_model", "text_encoder", "text_decoder",
                           "text_encoder", "text_decoder", "text_encoder"};
  const bool hugging_face = plan.layout == Layout::kHuggingFace;
  const std::vector<TensorSpec> named =
      hugging_face ? table : tensor_table(plan.config, Layout::kHuggingFace, usual);
  AdapterMerger merger(tensors, named, plan.warnings);
  std::vector<std::unique_ptr<Adapter>> adapters;
  for (const std::string& folder : location.adapters) {
    adapters.push_back(std::make_unique<Adapter>(folder));
    merger.merge(*adapters.back());
  }
  return merger.take_values();
}

}  // namespace

Checkpoint Checkpoint::open(const std::string& path, const std::vector<std::string>& adapters) {
  Location location = locate(path, adapters);
  Source source = open_source(location.model);
  DiskTensors disk(source.path);
  for (const auto& file : source.files) disk.add(*file);
  disk.strip_wrappers();
  Plan plan = make_plan(source, disk);
  Checkpoint checkpoint;
  const std::vector<TensorSpec> table = tensor_table(plan.config, plan.layout, plan.prefixes);
  std::set<std::string, std::less<>> used;
  checkpoint.tensors_ = resolve(table, disk, used);
  refuse_unexpected(disk, used);
  drop_tied_heads(checkpoint.tensors_);
  const Metadata& metadata = source.files.front()->metadata();
  checkpoint.vocabulary_ = settle_vocabulary(source, plan.layout, plan.config, plan.warnings);
  // The types are those of the file, before anything is merged.
  checkpoint.info_ = make_info(plan.config, table, checkpoint.tensors_);
  checkpoint.info_.adapters = merged_before(metadata, source.path);
  if (!location.ignored.empty() && checkpoint.info_.adapters.empty())
    plan.warnings.push_back(
        location.ignored + ": not followed; " + source.path +
        " is a model by itself, and this adapter is merged where it is asked for");
  checkpoint.merged_ = merge_adapters(location, plan, table, checkpoint.tensors_);
  checkpoint.info_.adapters.insert(checkpoint.info_.adapters.end(), location.names.begin(),
                                   location.names.end());
  for (const TensorSpec& spec : table) {
    if (!checkpoint.has(spec.name)) continue;
    checkpoint.names_.push_back(spec.name);
    if (spec.kind == TensorKind::kMatrix) checkpoint.matrices_.insert(spec.name);
  }
  checkpoint.info_.warnings = std::move(plan.warnings);
  checkpoint.info_.path = path;
  checkpoint.info_.format = source.format;
  checkpoint.info_.name = metadata_name(metadata, source.name);
  checkpoint.config_ = std::move(plan.config);
  checkpoint.files_ = std::move(source.files);
  checkpoint.location_ = std::move(location);
  return checkpoint;
}

bool Checkpoint::has(std::string_view name) const { return tensors_.find(name) != tensors_.end(); }

const io::TensorView& Checkpoint::tensor(std::string_view name) const {
  const auto it = tensors_.find(name);
  assert(it != tensors_.end() && "not a tensor of this model");
  return it->second;
}

void Checkpoint::release(std::string_view name) const {
  for (const auto& file : files_) file->release(tensor(name).data);
}

void Checkpoint::check_unchanged() const {
  for (const auto& file : files_) file->check_unchanged();
}

std::vector<float> Checkpoint::values(std::string_view name) const {
  const io::TensorView& view = tensor(name);
  std::vector<float> values(view.count());
  view.to_f32(values);
  if (name != "vision.position" || view.shape[0] == config_.vision.tokens()) return values;
  const int side = config_.vision.image_size / config_.vision.patch_size;
  return interpolate_positions(values, table_side(view.shape[0]), side, config_.vision.width);
}

}  // namespace blip::model
