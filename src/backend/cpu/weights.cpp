#include "backend/cpu/weights.h"

#include <algorithm>
#include <atomic>
#include <initializer_list>
#include <span>
#include <utility>

#include "blip/error.h"
#include "core/large_memory.h"
#include "io/finite.h"
#include "kernels/vector.h"

namespace blip::backend::cpu {
namespace {

// Reads tensors by canonical name and counts them.
class Loader {
 public:
  Loader(const model::Checkpoint& checkpoint, ops::NumberType type, ThreadPool& pool,
         const std::function<void(std::size_t, std::size_t)>& progress)
      : checkpoint_(checkpoint), type_(type), pool_(pool), progress_(progress) {}

  ops::NumberType type() const { return type_; }
  // bfloat16 keys and values halve what attention reads; only where the layers are rounded anyway.
  ops::NumberType cache_type() const {
    return type_ != ops::NumberType::kF32 ? ops::NumberType::kBf16 : ops::NumberType::kF32;
  }

  std::vector<float> values(const std::string& name) {
    count();
    auto values = checkpoint_.values(name);
    if (!io::fits(values, io::ElementType::f32))
      refuse({&checkpoint_.tensor(name)}, io::ElementType::f32);
    checkpoint_.release(name);
    return values;
  }

  AlignedArray<float> array(const std::string& name) {
    const auto v = values(name);
    AlignedArray<float> a(v.size());
    std::copy(v.begin(), v.end(), a.data());
    return a;
  }

  EmbeddingTable table(const std::string& name) {
    count();
    const io::TensorView& view = checkpoint_.tensor(name);
    EmbeddingTable rows(pool_, view);
    check_rows(rows, view);
    checkpoint_.release(name);
    return rows;
  }

  // A matrix as floats, in memory that is used again.
  std::span<const float> floats(const std::string& name, AlignedArray<float>& memory) {
    count();
    const io::TensorView& view = checkpoint_.tensor(name);
    const std::span<float> all{memory.reserve(view.count()), view.count()};
    const int rows = static_cast<int>(view.shape[0]), block = 64;
    const std::size_t width = view.count() / static_cast<std::size_t>(rows);
    std::atomic<bool> good{true};
    pool_.parallel_for((rows + block - 1) / block, [&](int i, int) {
      const int first = i * block, n = std::min(block, rows - first);
      const auto part =
          all.subspan(static_cast<std::size_t>(first) * width, static_cast<std::size_t>(n) * width);
      view.rows(first, n).to_f32(part);
      if (!io::fits(part, stored_as(type_))) good = false;
    });
    if (!good) refuse({&view}, stored_as(type_));
    checkpoint_.release(name);
    return all;
  }

  ops::LayerNorm norm(const std::string& name, float eps) {
    return {array(name + ".weight"), array(name + ".bias"), eps};
  }

  // The layers `names`, all reading the same input, stacked along their outputs.
  ops::Linear linear(std::initializer_list<std::string> names, int in, int out,
                     ops::Packing packing = ops::Packing::kPlain) {
    return linear(names, in, out, type_, packing);
  }
  ops::Linear linear(std::initializer_list<std::string> names, int in, int out,
                     ops::NumberType type, ops::Packing packing = ops::Packing::kPlain) {
    std::vector<float> bias;
    std::vector<const io::TensorView*> weights;
    for (const auto& name : names) {
      const auto b = values(name + ".bias");
      bias.insert(bias.end(), b.begin(), b.end());
      count();
      weights.push_back(&checkpoint_.tensor(name + ".weight"));
    }
    std::atomic<bool> good{true};
    const auto rows = [&](int first, int count, float* to) {
      read_stacked(weights, first, count, to);
      if (!io::fits({to, static_cast<std::size_t>(count) * static_cast<std::size_t>(in)},
                    stored_as(type)))
        good = false;
    };
    ops::Linear layer(pool_, rows, bias, in, out, type, packing);
    if (!good) refuse(weights, stored_as(type));
    for (const auto& name : names) checkpoint_.release(name + ".weight");
    return layer;
  }

  // The weights of cross-attention's keys and values in both forms.
  std::pair<ops::Linear, ops::AbsorbedWeights> cross(const std::string& name,
                                                     const model::TextConfig& c) {
    const auto key_bias = values(name + ".k.bias"), value_bias = values(name + ".v.bias");
    const auto key = floats(name + ".k.weight", key_), value = floats(name + ".v.weight", value_);
    std::vector<float> bias = key_bias;
    bias.insert(bias.end(), value_bias.begin(), value_bias.end());
    const auto rows = [&](int first, int count, float* to) {
      for (int r = first; r < first + count; ++r, to += c.vision_width)
        std::copy_n(
            (r < c.width ? key : value).data() +
                static_cast<std::size_t>(r % c.width) * static_cast<std::size_t>(c.vision_width),
            c.vision_width, to);
    };
    return {ops::Linear(pool_, rows, bias, c.vision_width, 2 * c.width, type_),
            ops::AbsorbedWeights(pool_, key, value, value_bias, c.heads, c.width / c.heads,
                                 c.vision_width, type_)};
  }

  // What becomes of two pictures' attentions a0 and a1, as one layer over both side by side. With
  // o = W a + b for each picture that is the mean of o0 and o1, or else M [o0 o1] + m.
  ops::Linear twin_output(const std::string& layer, int width, bool merged, ops::Packing packing) {
    std::vector<float> bias(static_cast<std::size_t>(width)), all(bias.size() * 2 * bias.size());
    if (merged) bias = values(layer + ".merge.bias");
    std::vector<float> merge;
    if (merged) {
      const auto read = floats(layer + ".merge.weight", key_);
      merge.assign(read.begin(), read.end());
    }
    for (const int picture : {0, 1}) {
      const std::string out = layer + ".cross" + std::to_string(picture) + ".out";
      add_twin(floats(out + ".weight", value_), values(out + ".bias"), merge, picture, bias, all);
    }
    // Halves of what fits do fit.
    if (!io::fits(all, stored_as(type_)))
      throw Error(ErrorCode::kModel, checkpoint_.info().path + ": tensor " +
                                         checkpoint_.tensor(layer + ".merge.weight").name +
                                         " holds values too large to be multiplied by those of " +
                                         checkpoint_.tensor(layer + ".cross0.out.weight").name +
                                         " or of " +
                                         checkpoint_.tensor(layer + ".cross1.out.weight").name);
    const std::size_t row = 2 * bias.size();
    const auto rows = [&](int first, int count, float* to) {
      std::copy_n(all.data() + static_cast<std::size_t>(first) * row,
                  static_cast<std::size_t>(count) * row, to);
    };
    return {pool_, rows, bias, 2 * width, width, type_, packing};
  }

  const model::Checkpoint& checkpoint() const { return checkpoint_; }
  ThreadPool& pool() { return pool_; }

  // Says that all is read, where a tensor was not counted on its own.
  void finish() {
    if (progress_ && read_ != checkpoint_.names().size())
      progress_(checkpoint_.names().size(), checkpoint_.names().size());
  }

 private:
  void count() {
    ++read_;
    if (progress_)
      progress_(std::min(read_, checkpoint_.names().size()), checkpoint_.names().size());
  }

  // One picture's part of twin_output(): its columns of `all`, and its share of the bias. merge:
  // empty for the mean.
  void add_twin(std::span<const float> weight, std::span<const float> own_bias,
                std::span<float> merge, int picture, std::span<float> bias, std::span<float> all) {
    const std::size_t d = bias.size(), column = static_cast<std::size_t>(picture) * d;
    if (merge.empty()) {
      for (std::size_t o = 0; o < d; ++o) {
        for (std::size_t i = 0; i < d; ++i) all[o * 2 * d + column + i] = weight[o * d + i] / 2;
        bias[o] += own_bias[o] / 2;
      }
      return;
    }
    const int width = static_cast<int>(d);
    const auto columns = [&](int first, int count, float* to) {
      for (int i = first; i < first + count; ++i)
        for (std::size_t j = 0; j < d; ++j) *to++ = weight[j * d + static_cast<std::size_t>(i)];
    };
    const Matrix factor(merge.data() + column, width, width, 2 * d);
    ops::OperandBuffer buffer;
    ops::linear(pool_, ops::to_operand(pool_, factor, ops::NumberType::kF32, buffer),
                ops::Linear(pool_, columns, {}, width, width),
                Matrix(all.data() + column, width, width, 2 * d));
    for (std::size_t o = 0; o < d; ++o) {
      double sum = bias[o];
      for (std::size_t j = 0; j < d; ++j)
        sum += double{factor.row(static_cast<int>(o))[j]} * own_bias[j];
      bias[o] = static_cast<float>(sum);
    }
  }

  // What must hold the values of a layer of this type. In 8 bits activations are rounded to
  // bfloat16 here and there.
  static io::ElementType stored_as(ops::NumberType type) {
    return type == ops::NumberType::kF32 ? io::ElementType::f32 : io::ElementType::bf16;
  }

  // Of these tensors, those that make a layer, at least one holds a value that is no number, or
  // none in `type`.
  [[noreturn]] void refuse(const std::vector<const io::TensorView*>& views,
                           io::ElementType type) const {
    for (const io::TensorView* view : views) {
      std::vector<float> values(view->count());
      view->to_f32(values);
      if (!io::fits(values, type)) io::refuse_values(checkpoint_.info().path, *view, type);
    }
    throw Error(ErrorCode::kModel, checkpoint_.info().path + ": tensor " + views.front()->name +
                                       " holds values too large to be interpolated");
  }

  void check_rows(const EmbeddingTable& rows, const io::TensorView& view) {
    constexpr int kRows = 64;
    const int all = static_cast<int>(view.shape[0]);
    const std::size_t width = view.count() / static_cast<std::size_t>(all);
    std::atomic<bool> good{true};
    pool_.parallel_for((all + kRows - 1) / kRows, [&](int i, int worker) {
      const int n = std::min(kRows, all - i * kRows);
      const std::size_t values = static_cast<std::size_t>(n) * width;
      const std::span<float> part{pool_.scratch<float>(worker, ScratchUse::kRows, values), values};
      rows.read(i * kRows, n, part.data());
      if (!io::fits(part, stored_as(type_))) good = false;
    });
    if (!good) refuse({&view}, stored_as(type_));
  }

  // Rows of the weights on top of each other.
  static void read_stacked(std::span<const io::TensorView* const> weights, int first, int count,
                           float* out) {
    for (const io::TensorView* view : weights) {
      const int rows = static_cast<int>(view->shape[0]), n = std::min(count, rows - first);
      if (n > 0) {
        const std::size_t values =
            view->count() / static_cast<std::size_t>(rows) * static_cast<std::size_t>(n);
        view->rows(first, n).to_f32({out, values});
        out += values;
        count -= n;
      }
      first = std::max(0, first - rows);
      if (count == 0) return;
    }
  }

  const model::Checkpoint& checkpoint_;
  ops::NumberType type_;
  ThreadPool& pool_;
  const std::function<void(std::size_t, std::size_t)>& progress_;
  std::size_t read_ = 0;
  AlignedArray<float> key_, value_;
};

VisionWeights load_vision(Loader& load, const model::VisionConfig& c) {
  VisionWeights w;
  w.config = c;
  w.cache_type = load.cache_type();
  // 8 bits would lose pixels, but a model of them is to be the same everywhere.
  const bool bytes = load.type() == ops::NumberType::kInt8;
  w.patch = load.linear({"vision.patch"}, 3 * c.patch_size * c.patch_size, c.width,
                        load.cache_type(), bytes ? ops::Packing::kOrdered : ops::Packing::kPlain);
  w.class_token = load.array("vision.class_token");
  w.position = load.array("vision.position");
  w.norm = load.norm("vision.norm", c.eps);
  for (int i = 0; i < c.layers; ++i) {
    const std::string layer = "vision." + std::to_string(i);
    w.layers.push_back({.norm1 = load.norm(layer + ".norm1", c.eps),
                        .norm2 = load.norm(layer + ".norm2", c.eps),
                        .qkv = load.linear({layer + ".qkv"}, c.width, 3 * c.width),
                        .proj = load.linear({layer + ".proj"}, c.width, c.width),
                        .fc1 = load.linear({layer + ".fc1"}, c.width, c.mlp),
                        .fc2 = load.linear({layer + ".fc2"}, c.mlp, c.width)});
  }
  return w;
}

// Of text, whose rows are few: a token for each beam, or a question's.
constexpr auto kFewRows = ops::Packing::k12Bit;

TextLayer load_text_layer(Loader& load, const std::string& layer, const model::TextConfig& c,
                          bool absorb) {
  const auto self = layer + ".self", cross = layer + ".cross";
  auto [cross_kv, absorbed] =
      absorb ? load.cross(cross, c)
             : std::pair{load.linear({cross + ".k", cross + ".v"}, c.vision_width, 2 * c.width),
                         ops::AbsorbedWeights()};
  return {.self_qkv =
              load.linear({self + ".q", self + ".k", self + ".v"}, c.width, 3 * c.width, kFewRows),
          .self_out = load.linear({self + ".out"}, c.width, c.width, kFewRows),
          .self_norm = load.norm(self + ".norm", c.eps),
          .cross_q = load.linear({cross + ".q"}, c.width, c.width, kFewRows),
          .cross_kv = std::move(cross_kv),
          .cross_out = load.linear({cross + ".out"}, c.width, c.width, kFewRows),
          .cross_kv_second = {},
          .cross_absorbed = std::move(absorbed),
          .cross_norm = load.norm(cross + ".norm", c.eps),
          .fc1 = load.linear({layer + ".fc1"}, c.width, c.mlp, kFewRows),
          .fc2 = load.linear({layer + ".fc2"}, c.mlp, c.width, kFewRows),
          .norm = load.norm(layer + ".norm", c.eps)};
}

TextHead load_head(Loader& load, const std::string& tower, const TextWeights& w) {
  const auto head = tower + ".head";
  const int d = w.config.width;
  const std::vector<float> bias = load.values(head + ".bias");
  // Usually tied: the word embeddings are the output matrix too.
  const EmbeddingTable own =
      load.checkpoint().has(head + ".weight") ? load.table(head + ".weight") : w.word;
  const auto rows = [&](int first, int count, float* out) { own.read(first, count, out); };
  return {
      .dense = load.linear({head + ".dense"}, d, d, kFewRows),
      .norm = load.norm(head + ".norm", w.config.eps),
      .decoder = ops::Linear(load.pool(), rows, bias, d, w.config.vocab, load.type(), kFewRows)};
}

// The same over two pictures.
TextLayer load_twin_layer(Loader& load, const std::string& layer, const model::TextConfig& c,
                          bool merged) {
  const auto self = layer + ".self", first = layer + ".cross0", second = layer + ".cross1";
  return {
      .self_qkv =
          load.linear({self + ".q", self + ".k", self + ".v"}, c.width, 3 * c.width, kFewRows),
      .self_out = load.linear({self + ".out"}, c.width, c.width, kFewRows),
      .self_norm = load.norm(self + ".norm", c.eps),
      .cross_q = load.linear({first + ".q", second + ".q"}, c.width, 2 * c.width, kFewRows),
      .cross_kv = load.linear({first + ".k", first + ".v"}, c.vision_width, 2 * c.width),
      .cross_out = load.twin_output(layer, c.width, merged, kFewRows),
      .cross_kv_second = load.linear({second + ".k", second + ".v"}, c.vision_width, 2 * c.width),
      .cross_absorbed = {},
      .cross_norm = load.norm(layer + ".cross.norm", c.eps),
      .fc1 = load.linear({layer + ".fc1"}, c.width, c.mlp, kFewRows),
      .fc2 = load.linear({layer + ".fc2"}, c.mlp, c.width, kFewRows),
      .norm = load.norm(layer + ".norm", c.eps)};
}

// What the layers of a tower attend to: keys and values, the tokens themselves as well, or two
// pictures' keys and values.
enum class Attends { kToKeys, kToTokensToo, kToTwo };

std::optional<TextWeights> load_text(Loader& load, const std::string& tower,
                                     const std::optional<model::TextConfig>& config, bool head,
                                     Attends attends) {
  if (!config) return std::nullopt;
  TextWeights w;
  w.config = *config;
  w.cache_type = load.cache_type();
  w.word = load.table(tower + ".word");
  w.position = load.array(tower + ".position");
  w.norm = load.norm(tower + ".norm", config->eps);
  for (int i = 0; i < config->layers; ++i) {
    const std::string layer = tower + "." + std::to_string(i);
    w.layers.push_back(
        attends == Attends::kToTwo
            ? load_twin_layer(load, layer, *config, i >= model::kNlvrFirstMerge)
            : load_text_layer(load, layer, *config, attends == Attends::kToTokensToo));
  }
  if (head) w.head = load_head(load, tower, w);
  return w;
}

}  // namespace

EmbeddingTable::EmbeddingTable(ThreadPool& pool, const io::TensorView& table)
    : memory_(allocate_zeros(table.data.size())), table_(table) {
  table_.data = {memory_.get(), table.data.size()};
  constexpr std::size_t kPiece = std::size_t{1} << 20;
  const std::size_t pieces = (table.data.size() + kPiece - 1) / kPiece;
  pool.parallel_for(static_cast<int>(pieces), [&](int piece, int) {
    const auto from = table.data.subspan(static_cast<std::size_t>(piece) * kPiece);
    std::copy_n(from.begin(), std::min(kPiece, from.size()),
                memory_.get() + static_cast<std::size_t>(piece) * kPiece);
  });
}

void EmbeddingTable::read(int first, int count, float* out) const {
  const io::TensorView rows = table_.rows(first, count);
  rows.to_f32({out, rows.count()});
}

Weights load_weights(const model::Checkpoint& checkpoint, ops::NumberType type, ThreadPool& pool,
                     const std::function<void(std::size_t, std::size_t)>& progress) {
  Loader load(checkpoint, type, pool, progress);
  if (progress) progress(0, checkpoint.names().size());
  const auto& c = checkpoint.config();
  Weights w;
  w.type = type;
  w.vision = load_vision(load, c.vision);
  w.text = load_text(load, "text", c.text_encoder, false, Attends::kToKeys);
  w.caption = load_text(load, "caption", c.caption_decoder, true, Attends::kToTokensToo);
  w.question = load_text(load, "question", c.question_encoder, false, Attends::kToTokensToo);
  w.answer = load_text(load, "answer", c.answer_decoder, true, Attends::kToKeys);
  w.nlvr = load_text(load, "nlvr", c.nlvr_encoder, false, Attends::kToTwo);
  if (c.has_itm_head) w.itm = load.linear({"itm"}, c.text_encoder->width, 2, ops::NumberType::kF32);
  if (c.embed_dim) {
    w.itc_vision = load.linear({"itc.vision"}, c.vision.width, c.embed_dim, ops::NumberType::kF32);
    w.itc_text =
        load.linear({"itc.text"}, c.text_encoder->width, c.embed_dim, ops::NumberType::kF32);
  }
  if (c.nlvr_encoder) {
    const int width = c.nlvr_encoder->width;
    w.nlvr_dense = load.linear({"nlvr.head.dense"}, width, width, ops::NumberType::kF32);
    w.nlvr_out = load.linear({"nlvr.head.out"}, width, 2, ops::NumberType::kF32);
  }
  load.finish();
  return w;
}

}  // namespace blip::backend::cpu
