#include "backend/towers.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>
#include <utility>

#include "blip/error.h"

namespace blip::backend {
namespace {

// Texts per pass over one image: enough rows to fill the matrix units (32 texts of about 10 tokens), few enough that
// activations stay small and a cancel is heard soon.
constexpr std::size_t kTextsPerPass = 32;

void poll(const decode::Hooks& hooks) {
  if (hooks.cancel && hooks.cancel()) throw Error(ErrorCode::kCancelled, "cancelled");
}

class TowerRunner final : public Runner {
 public:
  TowerRunner(std::unique_ptr<Towers> towers, const Capabilities& capabilities, SpecialIds ids)
      : towers_(std::move(towers)), capabilities_(capabilities), tokens_{ids.eos, ids.pad}, answer_prompt_{ids.bos} {}

  std::vector<EncodedImagePtr> encode(std::span<const float> pixels, int count) override { return towers_->encode(pixels, count); }

  std::vector<std::vector<decode::Hypothesis>> caption(std::span<const EncodedImagePtr> images,
                                                       const TokenIds& prompt,
                                                       const decode::Options& options,
                                                       const decode::Hooks& hooks) override {
    const auto decoder = towers_->caption_decoder(images, options);
    return decode::generate(*decoder, prompt, decode::with_min_length(options, kCaptionMinLength), tokens_, hooks);
  }

  std::vector<MatchScore> match(const EncodedImage& image, std::span<const TokenIds> texts, const MatchOptions& options, const decode::Hooks& hooks) override {
    std::vector<MatchScore> scores(texts.size());
    const bool itm = capabilities_.itm && options.head != MatchHead::kItc, itc = capabilities_.itc && options.head != MatchHead::kItm;
    const std::vector<float> image_vector = itc ? towers_->itc_image(image) : std::vector<float>{};
    for (std::size_t first = 0; first < texts.size(); first += kTextsPerPass) {
      poll(hooks);
      const auto part = texts.subspan(first, std::min(kTextsPerPass, texts.size() - first));
      if (itm) {
        const auto probabilities = towers_->itm_probabilities(image, part);
        for (std::size_t i = 0; i < part.size(); ++i) scores[first + i].itm = probabilities[i];
      }
      if (itc) {
        const auto vectors = towers_->itc_texts(part);
        for (std::size_t i = 0; i < part.size(); ++i)
          scores[first + i].itc = std::inner_product(image_vector.begin(), image_vector.end(), vectors[i].begin(), 0.f);
      }
    }
    return scores;
  }

  std::vector<std::vector<decode::Hypothesis>> ask(const EncodedImage& image,
                                                   std::span<const TokenIds> questions,
                                                   const decode::Options& options,
                                                   const decode::Hooks& hooks) override {
    const auto decoder = towers_->answer_decoder(image, questions, options.max_length);
    return decode::generate(*decoder, answer_prompt_, decode::with_min_length(options, kAnswerMinLength), tokens_, hooks);
  }

  std::vector<decode::Ranked> rank(const EncodedImage& image, const TokenIds& question, std::span<const TokenIds> candidates, int keep,
                                   const decode::Hooks& hooks) override {
    std::size_t longest = 1;
    for (const auto& candidate : candidates) longest = std::max(longest, candidate.size());
    const auto decoder = towers_->answer_decoder(image, std::span(&question, 1), static_cast<int>(longest));
    return decode::rank(*decoder, candidates, keep, decode::kLabelSmoothing, hooks);
  }

  std::vector<float> embed_image(const EncodedImage& image) override { return towers_->itc_image(image); }
  std::vector<std::vector<float>> embed_texts(std::span<const TokenIds> texts) override {
    std::vector<std::vector<float>> vectors;
    for (std::size_t first = 0; first < texts.size(); first += kTextsPerPass) {
      auto part = towers_->itc_texts(texts.subspan(first, std::min(kTextsPerPass, texts.size() - first)));
      std::move(part.begin(), part.end(), std::back_inserter(vectors));
    }
    return vectors;
  }
  Tensor caption_attention(const EncodedImage& image, const TokenIds& ids, int layers) override {
    return towers_->caption_attention(image, ids, layers);
  }
  AnswerAttention answer_attention(const EncodedImage& image, const TokenIds& question, const TokenIds& ids, int layers) override {
    return towers_->answer_attention(image, question, ids, layers);
  }
  Tensor text_alone(const TokenIds& text) override { return towers_->text_alone(text); }
  Tensor projected(const Tensor& states, bool of_image) override {
    return towers_->projected(states, of_image);
  }
  Tensor dump_vision(const EncodedImage& image) override { return towers_->vision_tokens(image); }
  Tensor dump_text(const EncodedImage& image, const TokenIds& text, bool question) override {
    return towers_->text_states(image, text, question);
  }

 private:
  std::unique_ptr<Towers> towers_;
  const Capabilities& capabilities_;
  decode::Tokens tokens_;
  TokenIds answer_prompt_;  // [DEC]
};

}  // namespace

namespace {
[[noreturn]] void no_attention() { throw Error(ErrorCode::kUnsupported, "this device does not give out attention weights"); }
[[noreturn]] void no_features() {
  throw Error(ErrorCode::kUnsupported,
              "this device does not give out features of texts and projections; the CPU does, for "
              "model files of weights");
}
}  // namespace
Tensor Runner::text_alone(const TokenIds&) { no_features(); }
Tensor Runner::projected(const Tensor&, bool) { no_features(); }
Tensor Towers::text_alone(const TokenIds&) { no_features(); }
Tensor Towers::projected(const Tensor&, bool) { no_features(); }
Tensor Runner::caption_attention(const EncodedImage&, const TokenIds&, int) { no_attention(); }
AnswerAttention Runner::answer_attention(const EncodedImage&, const TokenIds&, const TokenIds&, int) { no_attention(); }
Tensor Towers::caption_attention(const EncodedImage&, const TokenIds&, int) { no_attention(); }
AnswerAttention Towers::answer_attention(const EncodedImage&, const TokenIds&, const TokenIds&, int) { no_attention(); }

void normalize_length(std::vector<float>& vector) {
  double squares = 0;
  for (const float x : vector) squares += static_cast<double>(x) * x;
  const float inverse = static_cast<float>(1.0 / std::max(std::sqrt(squares), 1e-12));
  for (float& x : vector) x *= inverse;
}

std::unique_ptr<Runner> make_tower_runner(std::unique_ptr<Towers> towers, const Capabilities& capabilities, SpecialIds ids) {
  return std::make_unique<TowerRunner>(std::move(towers), capabilities, ids);
}

}  // namespace blip::backend
