#include "backend/staged_runner.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>
#include <utility>

#include "blip/error.h"

namespace blip::backend {
namespace {

// Texts per pass over one image: enough rows to fill the matrix units (32 texts of about 10
// tokens), few enough that activations stay small and a cancel is heard soon.
constexpr std::size_t kTextsPerPass = 32;

void poll(const decode::Hooks& hooks) {
  if (hooks.cancel && hooks.cancel()) throw Error(ErrorCode::kCancelled, "cancelled");
}

[[noreturn]] void no_attention() {
  throw Error(ErrorCode::kUnsupported, "this device does not give out attention weights");
}

[[noreturn]] void no_features() {
  throw Error(ErrorCode::kUnsupported,
              "this device does not give out features of texts and projections; the CPU does, for "
              "model files of weights");
}

}  // namespace

std::vector<float> Runner::nlvr(const EncodedImage&, const EncodedImage&, std::span<const TokenIds>,
                                const decode::Hooks&) {
  throw Error(ErrorCode::kUnsupported,
              "this device does not judge statements about two pictures (NLVR); the CPU does, for "
              "model files of weights");
}

Tensor Runner::text_alone(const TokenIds&) { no_features(); }
Tensor Runner::projected(const Tensor&, bool) { no_features(); }
Tensor Runner::caption_attention(const EncodedImage&, const TokenIds&, int) { no_attention(); }
AnswerAttention Runner::answer_attention(const EncodedImage&, const TokenIds&, const TokenIds&,
                                         int) {
  no_attention();
}

std::vector<std::vector<decode::Hypothesis>> StagedRunner::caption(
    std::span<const EncodedImagePtr> images, const TokenIds& prompt, const decode::Options& options,
    const decode::Hooks& hooks) {
  const auto decoder = caption_decoder(images, options);
  return decode::generate(*decoder, prompt, decode::with_min_length(options, kCaptionMinLength),
                          tokens_, hooks);
}

namespace {

// Softmax over the two logits of row i: the second one's probability.
float second_of_two(std::span<const float> logits, std::size_t i) {
  return 1.f / (1.f + std::exp(logits[2 * i] - logits[2 * i + 1]));
}

}  // namespace

std::vector<MatchScore> StagedRunner::match(const EncodedImage& image,
                                            std::span<const TokenIds> texts,
                                            const MatchOptions& options,
                                            const decode::Hooks& hooks) {
  std::vector<MatchScore> scores(texts.size());
  const bool itm = capabilities_.itm && options.head != MatchHead::kItc;
  const bool itc = capabilities_.itc && options.head != MatchHead::kItm;
  const std::vector<float> image_vector = itc ? embed_image(image) : std::vector<float>{};
  for (std::size_t first = 0; first < texts.size(); first += kTextsPerPass) {
    poll(hooks);
    const auto part = texts.subspan(first, std::min(kTextsPerPass, texts.size() - first));
    if (itm) {
      const auto logits = match_pass(image, part);
      for (std::size_t i = 0; i < part.size(); ++i) {
        scores[first + i].itm = second_of_two(logits, i);
        scores[first + i].itm_logit = logits[2 * i + 1];
      }
    }
    if (itc) {
      const auto vectors = embed_pass(part);
      for (std::size_t i = 0; i < part.size(); ++i)
        scores[first + i].itc =
            std::inner_product(image_vector.begin(), image_vector.end(), vectors[i].begin(), 0.f);
    }
  }
  return scores;
}

std::vector<float> StagedRunner::nlvr(const EncodedImage& first, const EncodedImage& second,
                                      std::span<const TokenIds> statements,
                                      const decode::Hooks& hooks) {
  std::vector<float> probabilities;
  for (std::size_t begin = 0; begin < statements.size(); begin += kTextsPerPass) {
    poll(hooks);
    const auto part = statements.subspan(begin, std::min(kTextsPerPass, statements.size() - begin));
    const auto logits = nlvr_pass(first, second, part);
    for (std::size_t i = 0; i < part.size(); ++i) probabilities.push_back(second_of_two(logits, i));
  }
  return probabilities;
}

std::vector<float> StagedRunner::nlvr_pass(const EncodedImage& first, const EncodedImage& second,
                                           std::span<const TokenIds> statements) {
  return Runner::nlvr(first, second, statements, {});
}

std::vector<std::vector<decode::Hypothesis>> StagedRunner::ask(const EncodedImage& image,
                                                               std::span<const TokenIds> questions,
                                                               const decode::Options& options,
                                                               const decode::Hooks& hooks) {
  const auto decoder = answer_decoder(image, questions, options.max_length);
  return decode::generate(*decoder, answer_prompt_,
                          decode::with_min_length(options, kAnswerMinLength), tokens_, hooks);
}

std::vector<decode::Ranked> StagedRunner::rank(const EncodedImage& image, const TokenIds& question,
                                               std::span<const TokenIds> candidates, int keep,
                                               const decode::Hooks& hooks) {
  std::size_t longest = 1;
  for (const auto& candidate : candidates) longest = std::max(longest, candidate.size());
  const auto decoder = answer_decoder(image, std::span(&question, 1), static_cast<int>(longest));
  return decode::rank(*decoder, candidates, keep, decode::kLabelSmoothing, hooks);
}

std::vector<std::vector<float>> StagedRunner::embed_texts(std::span<const TokenIds> texts) {
  std::vector<std::vector<float>> vectors;
  for (std::size_t first = 0; first < texts.size(); first += kTextsPerPass) {
    auto part = embed_pass(texts.subspan(first, std::min(kTextsPerPass, texts.size() - first)));
    std::move(part.begin(), part.end(), std::back_inserter(vectors));
  }
  return vectors;
}

void normalize_length(std::vector<float>& vector) {
  double squares = 0;
  for (const float x : vector) squares += static_cast<double>(x) * x;
  const float inverse = static_cast<float>(1.0 / std::max(std::sqrt(squares), 1e-12));
  for (float& x : vector) x *= inverse;
}

}  // namespace blip::backend
