#include "reference_backend/reference_backend.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "backend/staged_runner.h"
#include "blip/error.h"
#include "reference_backend/network.h"

namespace blip::reference {
namespace {

using backend::AnswerAttention;
using backend::Capabilities;
using backend::EncodedImage;
using backend::EncodedImagePtr;
using backend::SpecialIds;
using backend::TokenIds;

class ReferenceImage final : public EncodedImage {
 public:
  explicit ReferenceImage(Matrix tokens) : tokens_(std::move(tokens)) {}
  const Matrix& tokens() const { return tokens_; }
  std::size_t bytes() const override { return tokens_.values.size() * sizeof(double); }

 private:
  Matrix tokens_;  // [N, Dv]
};

const Matrix& tokens_of(const EncodedImage& image) {
  return static_cast<const ReferenceImage&>(image).tokens();
}

std::vector<float> floats(const double* values, int count) { return {values, values + count}; }

Tensor tensor(const Matrix& m) {
  return {{1, m.rows, m.cols}, std::vector<float>(m.values.begin(), m.values.end())};
}

// The logits of the last call, which stay in double: the search asks for what it needs.
class Logits final : public decode::DeviceLogits {
 public:
  Matrix rows;  // [rows, vocab]

  decode::Digest digest(int row) override {
    const double *begin = rows.row(row), *end = begin + rows.cols;
    const auto max = static_cast<float>(*std::max_element(begin, end));
    double total = 0;
    for (const double* x = begin; x != end; ++x) total += std::exp(*x - max);
    return {max, total};
  }
  void best(int row, int k, std::vector<decode::Candidate>& out) override {
    out.clear();
    for (int t = 0; t < rows.cols; ++t) out.push_back({at(row, t), t});
    const auto kept = out.begin() + std::min(k, rows.cols);
    std::partial_sort(out.begin(), kept, out.end(), [](const auto& a, const auto& b) {
      return a.score != b.score ? a.score > b.score : a.token < b.token;
    });
    out.erase(kept, out.end());
  }
  float at(int row, std::int32_t token) override {
    return static_cast<float>(rows.row(row)[token]);
  }
  std::span<const float> whole(int row) override {
    whole_ = floats(rows.row(row), rows.cols);
    return whole_;
  }

 private:
  std::vector<float> whole_;
};

// Without a cache: every step reads the whole text again.
class ReferenceDecoder final : public decode::Decoder {
 public:
  ReferenceDecoder(const Network& network, std::string name, const model::TextConfig& config,
                   std::vector<Cross> sequences)
      : network_(network),
        name_(std::move(name)),
        config_(config),
        sequences_(std::move(sequences)) {}

  int vocab_size() const override { return config_.vocab; }
  int max_positions() const override { return config_.max_positions; }
  int sequences() const override { return static_cast<int>(sequences_.size()); }
  decode::DeviceLogits* device_logits() const override { return &logits_; }

  std::span<const float> prefill(std::span<const std::int32_t> prompt) override {
    for (std::size_t s = 0; s < sequences_.size(); ++s)
      rows_.push_back({s, {prompt.begin(), prompt.end()}});
    return compute();
  }
  std::span<const float> step(std::span<const Next> next) override {
    std::vector<Row> rows;
    for (const Next& n : next) {
      rows.push_back(rows_[static_cast<std::size_t>(n.parent)]);
      rows.back().ids.push_back(n.token);
    }
    rows_ = std::move(rows);
    return compute();
  }

 private:
  struct Row {
    std::size_t sequence;
    TokenIds ids;
  };

  std::span<const float> compute() {
    logits_.rows = Matrix(static_cast<int>(rows_.size()), config_.vocab);
    for (std::size_t r = 0; r < rows_.size(); ++r) {
      const Matrix states =
          network_.text(name_, config_, rows_[r].ids, {&sequences_[rows_[r].sequence]}, true);
      Matrix last(1, states.cols);
      std::copy_n(states.row(states.rows - 1), states.cols, last.row(0));
      const Matrix logits = network_.head(name_, config_, last);
      std::copy_n(logits.row(0), logits.cols, logits_.rows.row(static_cast<int>(r)));
    }
    return {};
  }

  const Network& network_;
  std::string name_;
  const model::TextConfig& config_;
  std::vector<Cross> sequences_;
  std::vector<Row> rows_;
  mutable Logits logits_;
};

class ReferenceRunner final : public backend::StagedRunner {
 public:
  ReferenceRunner(std::shared_ptr<const Network> network, const Capabilities& capabilities,
                  SpecialIds ids)
      : StagedRunner(capabilities, ids), network_(std::move(network)) {}

  std::vector<EncodedImagePtr> encode(std::span<const float> pixels, int count) override {
    const std::size_t values = pixels.size() / static_cast<std::size_t>(std::max(count, 1));
    std::vector<EncodedImagePtr> images;
    for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i)
      images.push_back(std::make_shared<const ReferenceImage>(
          network_->vision(pixels.subspan(i * values, values))));
    return images;
  }
  std::vector<float> embed_image(const EncodedImage& image) override {
    return unit(network_->linear("itc.vision", first_row(tokens_of(image))));
  }
  Tensor caption_attention(const EncodedImage& image, const TokenIds& ids, int layers) override {
    const auto& c = *config().caption_decoder;
    return looked_at("caption", c, ids, network_->cross("caption", c, tokens_of(image)), true,
                     layers)
        .weights;
  }
  AnswerAttention answer_attention(const EncodedImage& image, const TokenIds& question,
                                   const TokenIds& ids, int layers) override {
    const auto &q = *config().question_encoder, &a = *config().answer_decoder;
    auto read = looked_at("question", q, question, network_->cross("question", q, tokens_of(image)),
                          false, layers);
    return {std::move(read.weights),
            looked_at("answer", a, ids, network_->cross("answer", a, read.states), true, layers)
                .weights};
  }
  Tensor dump_vision(const EncodedImage& image) override { return tensor(tokens_of(image)); }
  Tensor dump_text(const EncodedImage& image, const TokenIds& text, bool question) override {
    return tensor(states(question, image, text));
  }

 protected:
  std::unique_ptr<decode::Decoder> caption_decoder(std::span<const EncodedImagePtr> images,
                                                   const GenerateOptions&) override {
    const auto& c = *config().caption_decoder;
    std::vector<Cross> sequences;
    for (const auto& image : images)
      sequences.push_back(network_->cross("caption", c, tokens_of(*image)));
    return std::make_unique<ReferenceDecoder>(*network_, "caption", c, std::move(sequences));
  }
  std::unique_ptr<decode::Decoder> answer_decoder(const EncodedImage& image,
                                                  std::span<const TokenIds> questions,
                                                  int) override {
    const auto& c = *config().answer_decoder;
    std::vector<Cross> sequences;
    for (const TokenIds& question : questions)
      sequences.push_back(network_->cross("answer", c, states(true, image, question)));
    return std::make_unique<ReferenceDecoder>(*network_, "answer", c, std::move(sequences));
  }
  std::vector<float> match_pass(const EncodedImage& image,
                                std::span<const TokenIds> texts) override {
    std::vector<float> logits;
    for (const TokenIds& text : texts) {
      const Matrix two = network_->linear("itm", first_row(states(false, image, text)));
      for (const int i : {0, 1}) logits.push_back(static_cast<float>(two.values[i]));
    }
    return logits;
  }
  std::vector<float> nlvr_pass(const EncodedImage& first, const EncodedImage& second,
                               std::span<const TokenIds> statements) override {
    const auto& c = *config().nlvr_encoder;
    const Cross left = network_->cross("nlvr", c, tokens_of(first), "cross0"),
                right = network_->cross("nlvr", c, tokens_of(second), "cross1");
    std::vector<float> logits;
    for (const TokenIds& statement : statements) {
      const Matrix read = network_->text("nlvr", c, statement, {&left, &right}, false);
      Matrix hidden = network_->linear("nlvr.head.dense", first_row(read));
      for (double& x : hidden.values) x = std::max(x, 0.0);
      const Matrix two = network_->linear("nlvr.head.out", hidden);
      for (const int i : {0, 1}) logits.push_back(static_cast<float>(two.values[i]));
    }
    return logits;
  }
  std::vector<std::vector<float>> embed_pass(std::span<const TokenIds> texts) override {
    std::vector<std::vector<float>> vectors;
    for (const TokenIds& text : texts) {
      const Matrix read = network_->text("text", *config().text_encoder, text, {}, false);
      vectors.push_back(unit(network_->linear("itc.text", first_row(read))));
    }
    return vectors;
  }

 private:
  struct LookedAt {
    Tensor weights;  // [T, N], mean over the layers
    Matrix states;
  };

  const model::ModelConfig& config() const { return network_->config(); }

  Matrix states(bool question, const EncodedImage& image, const TokenIds& text) const {
    const std::string name = question ? "question" : "text";
    const auto& c = question ? *config().question_encoder : *config().text_encoder;
    const Cross cross = network_->cross(name, c, tokens_of(image));
    return network_->text(name, c, text, {&cross}, false);
  }

  LookedAt looked_at(const std::string& name, const model::TextConfig& c, const TokenIds& ids,
                     const Cross& cross, bool causal, int layers) const {
    const int first = layers == 0 ? c.layers / 2 : std::max(0, c.layers - layers);
    Looked looked{first, Matrix(static_cast<int>(ids.size()), cross.front().keys.rows)};
    Matrix read = network_->text(name, c, ids, {&cross}, causal, &looked);
    for (double& weight : looked.weights.values) weight /= c.layers - first;
    Tensor weights = tensor(looked.weights);
    weights.shape.erase(weights.shape.begin());
    return {std::move(weights), std::move(read)};
  }

  static Matrix first_row(const Matrix& m) {
    Matrix row(1, m.cols);
    std::copy_n(m.row(0), m.cols, row.row(0));
    return row;
  }
  static std::vector<float> unit(const Matrix& row) {
    std::vector<float> vector = floats(row.row(0), row.cols);
    backend::normalize_length(vector);
    return vector;
  }

  std::shared_ptr<const Network> network_;
};

class ReferenceModel final : public backend::Model {
 public:
  explicit ReferenceModel(const model::Checkpoint& checkpoint)
      : network_(std::make_shared<const Network>(checkpoint)),
        capabilities_(backend::capabilities_of(checkpoint.config())) {
    const auto& tokens = checkpoint.config().tokens;
    ids_ = {tokens.bos, tokens.eos, tokens.pad};
  }
  const Capabilities& capabilities() const override { return capabilities_; }
  std::unique_ptr<backend::Runner> make_runner() const override {
    return std::make_unique<ReferenceRunner>(network_, capabilities_, ids_);
  }
  DType dtype() const override { return DType::kF32; }  // the nearest that there is a name for
  int threads() const override { return 1; }

 private:
  std::shared_ptr<const Network> network_;
  Capabilities capabilities_;
  SpecialIds ids_{};
};

class ReferenceBackend final : public backend::Backend {
 public:
  const DeviceKind& kind() const override {
    static const DeviceKind kind{.name = "reference", .forms = "reference", .on_host = true};
    return kind;
  }
  std::vector<DeviceInfo> devices() const override {
    return {{kind().name, "double precision, plain loops"}};
  }
  std::vector<DType> dtypes() const override { return {DType::kF32}; }

  backend::Loaded load(const backend::LoadRequest& request) const override {
    const DType dtype = request.options.dtype;
    if (dtype != DType::kAuto && dtype != DType::kF32)
      throw Error(ErrorCode::kUsage, std::string("the reference has no ") + to_string(dtype));
    return backend::load_checkpoint(request, [](const model::Checkpoint& checkpoint) {
      return std::make_shared<const ReferenceModel>(checkpoint);
    });
  }
};

}  // namespace

const backend::Backend& backend() {
  static const ReferenceBackend one;
  return one;
}

}  // namespace blip::reference
