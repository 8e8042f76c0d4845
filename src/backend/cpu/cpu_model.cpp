#include "backend/cpu/cpu_model.h"

#include <array>
#include <cassert>
#include <fstream>
#include <memory>
#include <mutex>
#include <numeric>

#include "backend/cpu/decoder.h"
#include "backend/cpu/text.h"
#include "backend/cpu/vision.h"
#include "backend/staged_runner.h"
#include "base/resources.h"
#include "blip/error.h"
#include "core/zone.h"
#include "kernels/isa.h"
#include "kernels/vector.h"
#include "model/checkpoint.h"

namespace blip::backend::cpu {
namespace {

constexpr int kManyRows = 1 << 20;  // too many to attend to the tokens themselves

// The towers that attend to the picture; each has its own cross-attention keys and values of it.
enum class Reader { kText, kCaption, kQuestion, kNlvrFirst, kNlvrSecond };
constexpr std::size_t kReaders = 5;

// Many texts share one picture there, so they never attend to the tokens themselves.
bool keeps_keys(Reader reader) { return reader != Reader::kCaption && reader != Reader::kQuestion; }

// A picture's tokens, and for each reader what it attends to: made at first use, then shared by
// every task and session.
class CpuImage final : public EncodedImage {
 public:
  CpuImage(int tokens, int width)
      : tokens_(static_cast<std::size_t>(tokens) * width), shape_{tokens, width} {}
  Matrix tokens() { return {tokens_.data(), shape_[0], shape_[1]}; }
  ConstMatrix tokens() const { return {tokens_.data(), shape_[0], shape_[1]}; }

  std::size_t bytes() const override {
    const std::lock_guard lock(mutex_);
    std::size_t sum = tokens_.size() * sizeof(float) + (own_ ? own_->bytes() : 0);
    for (const auto& cache : cross_)
      for (std::size_t i = 0; cache && i < cache->size(); ++i) sum += (*cache)[i].bytes();
    return sum;
  }

  // For `rows` rows of one text in all. How many its own options or its own length come to decides
  // what they attend to, not what is there already or beside it: the same task gives the same
  // result.
  CrossCache cross(Reader reader, int rows, ThreadPool& pool, const TextWeights& weights,
                   TextScratch& scratch) const {
    const std::lock_guard lock(mutex_);
    if (rows <= ops::kAbsorbedRows && !keeps_keys(reader)) {
      const StageZone zone("image tokens");
      if (!own_)
        own_ = std::make_shared<const ops::KeyValues>(
            ops::own_keys_values(pool, tokens(), weights.cache_type, scratch.seen));
      return {nullptr, own_};
    }
    auto& cache = cross_[static_cast<std::size_t>(reader)];
    if (!cache) {
      const StageZone zone("image keys");
      cache = std::make_shared<const LayerCache>(cross_keys_values(
          pool, weights, tokens(), scratch,
          reader == Reader::kNlvrSecond ? &TextLayer::cross_kv_second : &TextLayer::cross_kv));
    }
    return {cache, nullptr};
  }

 private:
  AlignedArray<float> tokens_;  // [N, D]
  std::array<int, 2> shape_;
  mutable std::mutex mutex_;
  mutable std::array<std::shared_ptr<const LayerCache>, kReaders> cross_;
  mutable std::shared_ptr<const ops::KeyValues> own_;
};

const CpuImage& cpu_image(const EncodedImage& image) {
  const auto* cpu = dynamic_cast<const CpuImage*>(&image);
  if (!cpu)
    throw Error(
        ErrorCode::kUsage,
        "this picture was encoded on another device; encode it with a session of this engine");
  return *cpu;
}

class CpuRunner final : public StagedRunner {
 public:
  CpuRunner(std::shared_ptr<const Weights> weights, std::shared_ptr<ThreadPool> pool,
            const Capabilities& capabilities, SpecialIds ids)
      : StagedRunner(capabilities, ids), weights_(std::move(weights)), pool_(std::move(pool)) {}

  std::vector<EncodedImagePtr> encode(std::span<const float> pixels, int count) override {
    const auto& c = weights_->vision.config;
    const int n = c.tokens(), most = pictures_of_pass(n);
    const auto picture = pixels.size() / static_cast<std::size_t>(std::max(count, 1));
    std::vector<EncodedImagePtr> images;
    for (int first = 0; first < count; first += most) {
      const int some = std::min(most, count - first);
      const Matrix tokens(tokens_.reserve(static_cast<std::size_t>(some) * n * c.width), some * n,
                          c.width);
      vision_forward(*pool_, weights_->vision,
                     pixels.subspan(static_cast<std::size_t>(first) * picture,
                                    static_cast<std::size_t>(some) * picture),
                     some, tokens, vision_);
      for (int i = 0; i < some; ++i) {
        auto image = std::make_shared<CpuImage>(n, c.width);
        std::copy_n(tokens.row(i * n), static_cast<std::size_t>(n) * c.width, image->tokens().data);
        images.push_back(std::move(image));
      }
    }
    return images;
  }

  std::unique_ptr<decode::Decoder> caption_decoder(std::span<const EncodedImagePtr> images,
                                                   const GenerateOptions& options) override {
    const std::int64_t rows =
        std::int64_t{options.sample ? options.num_return : options.beams} * options.max_length;
    std::vector<CrossCache> cross;
    for (const auto& image : images)
      cross.push_back(cpu_image(*image).cross(
          Reader::kCaption, static_cast<int>(std::min<std::int64_t>(rows, kManyRows)), *pool_,
          *weights_->caption, text_));
    return std::make_unique<Decoder>(*pool_, *weights_->caption, std::move(cross),
                                     options.max_length);
  }

  std::unique_ptr<decode::Decoder> answer_decoder(const EncodedImage& image,
                                                  std::span<const TokenIds> questions,
                                                  int max_length) override {
    // Short and long ones attend to the picture in different ways, of which a pass takes one.
    std::vector<CrossCache> caches(questions.size());
    for (const bool few : {true, false}) {
      std::vector<TokenIds> texts;
      std::vector<std::size_t> which;
      for (std::size_t i = 0; i < questions.size(); ++i)
        if ((static_cast<int>(questions[i].size()) <= ops::kAbsorbedRows) == few) {
          texts.push_back(questions[i]);
          which.push_back(i);
        }
      if (!texts.empty()) read_questions(image, texts, which, caches);
    }
    return std::make_unique<Decoder>(*pool_, *weights_->answer, std::move(caches), max_length);
  }

  std::vector<float> match_pass(const EncodedImage& image,
                                std::span<const TokenIds> texts) override {
    const CrossCache cross = keys_of(image, Reader::kText, *weights_->text);
    return project_texts(*weights_->text, texts, &cross, *weights_->itm);
  }

  // cls_head: a layer, ReLU, a layer of two outputs
  std::vector<float> nlvr_pass(const EncodedImage& first, const EncodedImage& second,
                               std::span<const TokenIds> statements) override {
    const TextWeights& w = *weights_->nlvr;
    CrossCache cross = keys_of(first, Reader::kNlvrFirst, w);
    cross.second = keys_of(second, Reader::kNlvrSecond, w).layers;
    std::vector<float> hidden = project_texts(w, statements, &cross, *weights_->nlvr_dense);
    for (float& x : hidden) x = x < 0 ? 0 : x;  // keeps what is no number
    std::vector<float> logits(2 * statements.size());
    const auto rows = static_cast<int>(statements.size());
    ops::linear(*pool_, Matrix(hidden.data(), rows, w.config.width), *weights_->nlvr_out,
                Matrix(logits.data(), rows, 2));
    return logits;
  }

  std::vector<float> embed_image(const EncodedImage& image) override {
    std::vector<float> vector(static_cast<std::size_t>(weights_->itc_vision->out()));
    ops::linear(*pool_, cpu_image(image).tokens().row_range(0, 1), *weights_->itc_vision,
                Matrix(vector.data(), 1, weights_->itc_vision->out()));
    normalize_length(vector);
    return vector;
  }

  std::vector<std::vector<float>> embed_pass(std::span<const TokenIds> texts) override {
    const std::vector<float> all =
        project_texts(*weights_->text, texts, nullptr, *weights_->itc_text);
    const std::size_t dims = all.size() / texts.size();
    std::vector<std::vector<float>> vectors;
    for (std::size_t i = 0; i < texts.size(); ++i) {
      vectors.emplace_back(all.begin() + i * dims, all.begin() + (i + 1) * dims);
      normalize_length(vectors.back());
    }
    return vectors;
  }

  Tensor caption_attention(const EncodedImage& image, const TokenIds& ids, int layers) override {
    return cross_weights(*weights_->caption, ids,
                         keys_of(image, Reader::kCaption, *weights_->caption), true, layers)
        .weights;
  }

  AnswerAttention answer_attention(const EncodedImage& image, const TokenIds& question,
                                   const TokenIds& ids, int layers) override {
    auto [attention, states] =
        cross_weights(*weights_->question, question,
                      keys_of(image, Reader::kQuestion, *weights_->question), false, layers);
    const CrossCache read{std::make_shared<const LayerCache>(
                              cross_keys_values(*pool_, *weights_->answer, states, text_)),
                          nullptr};
    return {std::move(attention),
            cross_weights(*weights_->answer, ids, read, true, layers).weights};
  }

  Tensor text_alone(const TokenIds& text) override {
    return tensor(encode_texts(*weights_->text, std::span(&text, 1), nullptr));
  }

  Tensor projected(const Tensor& states, bool of_image) override {
    const ops::Linear& layer = of_image ? *weights_->itc_vision : *weights_->itc_text;
    const auto rows = static_cast<int>(states.shape[1]), width = static_cast<int>(states.shape[2]);
    // The layer reads a matrix that it may not change, but that is not const.
    std::vector<float> in = states.values;
    Tensor out{
        {1, rows, layer.out()},
        std::vector<float>(static_cast<std::size_t>(rows) * static_cast<std::size_t>(layer.out()))};
    ops::linear(*pool_, Matrix(in.data(), rows, width), layer,
                Matrix(out.values.data(), rows, layer.out()));
    for (int r = 0; r < rows; ++r) {
      const auto begin = out.values.begin() + static_cast<std::ptrdiff_t>(r) * layer.out();
      std::vector<float> row(begin, begin + layer.out());
      normalize_length(row);
      std::copy(row.begin(), row.end(), begin);
    }
    return out;
  }

  Tensor dump_vision(const EncodedImage& image) override {
    return tensor(cpu_image(image).tokens());
  }

  Tensor dump_text(const EncodedImage& image, const TokenIds& text, bool question) override {
    const auto& weights = question ? *weights_->question : *weights_->text;
    const CrossCache cross = keys_of(image, question ? Reader::kQuestion : Reader::kText, weights);
    return tensor(encode_texts(weights, std::span(&text, 1), &cross));
  }

 private:
  // Of a batch, as many at a time as give every thread work: with more, what lies between two
  // products no longer stays in the caches. Eight pictures of BLIP-base on two cores with AMX, ms a
  // picture, all at once and one by one: bfloat16 188 and 114, bytes 140 and 106.
  int pictures_of_pass(int tokens) const {
    constexpr int kRowsOfThread = 288;
    return std::max(1, (kRowsOfThread * pool_->size() + tokens - 1) / tokens);
  }

  // caches[which[i]] = what an answer to texts[i] attends to. The texts are of one kind, few rows
  // or many.
  void read_questions(const EncodedImage& image, std::span<const TokenIds> texts,
                      std::span<const std::size_t> which, std::span<CrossCache> caches) {
    const CrossCache cross =
        cpu_image(image).cross(Reader::kQuestion, static_cast<int>(texts.front().size()), *pool_,
                               *weights_->question, text_);
    const Matrix states = encode_texts(*weights_->question, texts, &cross);
    const StageZone zone("question keys", texts.size());
    int first = 0;
    for (std::size_t i = 0; i < texts.size(); ++i) {
      const int count = static_cast<int>(texts[i].size());
      caches[which[i]] = {std::make_shared<const LayerCache>(cross_keys_values(
                              *pool_, *weights_->answer, states.row_range(first, count), text_)),
                          nullptr};
      first += count;
    }
  }

  CrossCache keys_of(const EncodedImage& image, Reader reader, const TextWeights& weights) {
    return cpu_image(image).cross(reader, kManyRows, *pool_, weights, text_);
  }

  // Texts for one pass, row after row without padding.
  struct Rows {
    std::vector<Span> spans;
    Matrix x;  // embedded: [sum of lengths, D]; valid until the next pass
  };

  Rows rows_of(const TextWeights& w, std::span<const TokenIds> texts, const CrossCache* cross) {
    Rows rows;
    std::vector<std::int32_t> ids;
    std::vector<int> positions;
    for (const auto& text : texts) {
      rows.spans.push_back(
          {static_cast<int>(ids.size()), static_cast<int>(text.size()), nullptr, cross});
      ids.insert(ids.end(), text.begin(), text.end());
      for (int p = 0; p < static_cast<int>(text.size()); ++p) positions.push_back(p);
    }
    rows.x = scratch_matrix(text_states_, static_cast<int>(ids.size()), w.config.width);
    embed_tokens(*pool_, w, ids, positions, rows.x);
    return rows;
  }

  // All texts' states: [sum of lengths, D]. Valid until the next pass.
  Matrix encode_texts(const TextWeights& w, std::span<const TokenIds> texts,
                      const CrossCache* cross) {
    const StageZone zone("texts", texts.size());
    const Rows rows = rows_of(w, texts, cross);
    text_forward(*pool_, w, rows.spans, rows.x, text_);
    return rows.x;
  }

  // The layer over each text's first state: [texts, layer.out()].
  std::vector<float> project_texts(const TextWeights& w, std::span<const TokenIds> texts,
                                   const CrossCache* cross, const ops::Linear& layer) {
    const StageZone zone("texts", texts.size());
    const Rows rows = rows_of(w, texts, cross);
    const Matrix first = text_forward_first(*pool_, w, rows.spans, rows.x, text_);
    std::vector<float> out(texts.size() * static_cast<std::size_t>(layer.out()));
    ops::linear(*pool_, first, layer, Matrix(out.data(), first.rows, layer.out()));
    return out;
  }

  struct AttentionSum {
    Tensor weights;  // [T, N]
    Matrix states;   // [T, D], valid until the next pass
  };

  // One text's states, and how its tokens' attention spread over what `cross` holds.
  AttentionSum cross_weights(const TextWeights& w, const TokenIds& ids, const CrossCache& cross,
                             bool causal, int layers) {
    const int rows = static_cast<int>(ids.size()), all = w.config.layers,
              seen = cross.layers->front().count();
    const int first_layer = layers == 0 ? all / 2 : std::max(0, all - layers);
    LayerCache self;
    for (int i = 0; causal && i < all; ++i)
      self.emplace_back(w.config.heads, w.config.width / w.config.heads, rows, w.cache_type);
    const Span span{0, rows, causal ? &self : nullptr, &cross};
    Tensor weights{{rows, seen}, std::vector<float>(ids.size() * static_cast<std::size_t>(seen))};
    const auto observe = [&](std::size_t layer, const ops::Operand& query) {
      if (static_cast<int>(layer) >= first_layer)
        ops::add_attention_weights(*pool_, query, (*cross.layers)[layer],
                                   Matrix(weights.values.data(), rows, seen));
    };
    std::vector<int> positions(ids.size());
    std::iota(positions.begin(), positions.end(), 0);
    const Matrix x(text_states_.reserve(ids.size() * static_cast<std::size_t>(w.config.width)),
                   rows, w.config.width);
    embed_tokens(*pool_, w, ids, positions, x);
    text_forward(*pool_, w, std::span(&span, 1), x, text_, observe);
    for (float& weight : weights.values) weight /= static_cast<float>(all - first_layer);
    return {std::move(weights), x};
  }

  static Tensor tensor(ConstMatrix m) {
    return {{1, m.rows, m.cols},
            std::vector<float>(m.data, m.data + static_cast<std::size_t>(m.rows) * m.cols)};
  }

  std::shared_ptr<const Weights> weights_;
  std::shared_ptr<ThreadPool> pool_;
  AlignedArray<float> tokens_, text_states_;
  VisionScratch vision_;
  TextScratch text_;
};

// The fastest type that keeps the answers (docs/PERFORMANCE.md, "Which number type"). A small model
// is fast in any type, so it keeps the reference's answers to the token.
ops::NumberType choose_type(std::size_t parameters) {
  // a vision tower of BLIP-base alone has 86 million
  constexpr std::size_t kSmallModel = 100'000'000;
  return parameters < kSmallModel ? ops::NumberType::kF32 : kernels::fastest_type();
}

// What the layers are computed in; Error(kUsage) where it is a compiled model's.
ops::NumberType number_type(DType dtype, std::size_t parameters) {
  if (dtype == DType::kF16)
    throw Error(ErrorCode::kUsage, "f16 is for compiled models; on the CPU use f32, bf16 or int8");
  if (dtype == DType::kAuto) return choose_type(parameters);
  if (dtype == DType::kF32) return ops::NumberType::kF32;
  return dtype == DType::kBf16 ? ops::NumberType::kBf16 : ops::NumberType::kInt8;
}

class CpuModel final : public Model {
 public:
  CpuModel(const model::Checkpoint& checkpoint, const EngineOptions& options, ops::NumberType type,
           int threads)
      : pool_(std::make_shared<ThreadPool>(threads)) {
    const auto report = [&](std::size_t done, std::size_t total) {
      if (options.progress) options.progress("load", done, total);
    };
    weights_ = std::make_shared<const Weights>(load_weights(checkpoint, type, *pool_, report));
    const auto& c = checkpoint.config();
    ids_ = {c.tokens.bos, c.tokens.eos, c.tokens.pad};
    capabilities_ = capabilities_of(c);
  }

  const Capabilities& capabilities() const override { return capabilities_; }
  std::unique_ptr<Runner> make_runner() const override {
    return std::make_unique<CpuRunner>(weights_, pool_, capabilities_, ids_);
  }
  std::unique_ptr<Runner> make_runner_with(int threads) const override {
    return std::make_unique<CpuRunner>(weights_, std::make_shared<ThreadPool>(threads),
                                       capabilities_, ids_);
  }
  DType dtype() const override {
    return weights_->type == ops::NumberType::kF32    ? DType::kF32
           : weights_->type == ops::NumberType::kBf16 ? DType::kBf16
                                                      : DType::kInt8;
  }
  int threads() const override { return pool_->size(); }
  std::size_t spare_bytes() const override { return pool_->scratch_bytes(); }
  std::size_t trim() const override { return pool_->trim(); }

 private:
  std::shared_ptr<ThreadPool> pool_;
  std::shared_ptr<const Weights> weights_;
  Capabilities capabilities_;
  SpecialIds ids_;
};

// Loads every part of the checkpoint, which may be dropped afterwards.
std::unique_ptr<Model> make_model(const model::Checkpoint& checkpoint,
                                  const EngineOptions& options) {
  kernels::isa();  // an error of BLIP_FORCE_ISA comes before any work
  return std::make_unique<CpuModel>(checkpoint, options,
                                    number_type(options.dtype, checkpoint.info().parameters),
                                    options.threads ? options.threads : available_cpus());
}

// "AMD ...; 2 threads; avx512_bf16": instructions as BLIP_FORCE_ISA names them
std::string describe_cpu() {
  std::string name = "CPU";
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.starts_with("model name")) {
      name = line.substr(std::min(line.size(), line.find(':') + 2));
      break;
    }
  const int cpus = available_cpus();
  return name + "; " + std::to_string(cpus) + (cpus == 1 ? " thread; " : " threads; ") +
         kernels::to_string(kernels::isa());
}

class CpuBackend final : public Backend {
 public:
  const DeviceKind& kind() const override {
    static const DeviceKind kind{.name = "cpu", .forms = "cpu", .on_host = true};
    return kind;
  }
  std::vector<DeviceInfo> devices() const override { return {{kind().name, describe_cpu()}}; }
  std::vector<DType> dtypes() const override { return {DType::kF32, DType::kBf16, DType::kInt8}; }
  Loaded load(const LoadRequest& request) const override {
    return load_checkpoint(request, [&](const model::Checkpoint& checkpoint) {
      return make_model(checkpoint, request.options);
    });
  }
};

}  // namespace

const Backend& backend() {
  static const CpuBackend one;
  return one;
}

}  // namespace blip::backend::cpu
