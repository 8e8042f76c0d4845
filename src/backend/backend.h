// The device seam: task runners over an opaque encoded image. A device that computes whole tasks
// implements Runner; one that computes their stages derives from StagedRunner
// (backend/staged_runner.h), which makes the tasks of them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "blip/blip.h"
#include "decode/generate.h"

namespace blip::backend {

using TokenIds = std::vector<std::int32_t>;

// What a loaded model can do on its device. A limit of 0 means none.
struct Capabilities {
  bool caption = false, itm = false, itc = false, ask = false, rank = false, nlvr = false;
  bool attention = false;  // gives out cross-attention weights
  bool beams = true;       // false: greedy decoding is compiled in
  bool sampling = true;
  bool prompt = true;      // false: the caption prompt is compiled in
  int caption_length = 0;  // compiled-in maximum, with the prompt
  int answer_length = 0;
  int max_length = 0;  // longest text that can be generated, prompt included
  int image_size = 0;  // pixels go in as [3, image_size, image_size]
  // Texts and questions are truncated here unless the caller says otherwise.
  int text_length = kTextLength;
  int max_text_length = kTextLength;  // the most that the caller may say
};

// One picture on the device: an embedding, or for a whole-task model just its pixels. Immutable to
// callers; a runner may add what it computes from it (cross-attention keys and values) under its
// own lock.
class EncodedImage {
 public:
  virtual ~EncodedImage() = default;
  // of memory, what a runner added included; from any thread
  virtual std::size_t bytes() const = 0;
};
using EncodedImagePtr = std::shared_ptr<const EncodedImage>;

struct MatchScore {
  std::optional<float> itm, itc;
  std::optional<float> itm_logit = std::nullopt;  // where a runner has it
};

struct AnswerAttention {
  Tensor question;  // [Tq, N]: the question's tokens over the picture's
  Tensor answer;    // [T, Tq]: the answer's tokens over the question's
};

// Mutable per-session state (activations, caches) over an immutable model. One thread at a time.
class Runner {
 public:
  virtual ~Runner() = default;

  // pixels: [count, 3, S, S], normalised.
  virtual std::vector<EncodedImagePtr> encode(std::span<const float> pixels, int count) = 0;

  // One list of hypotheses per image. prompt starts with [DEC].
  virtual std::vector<std::vector<decode::Hypothesis>> caption(
      std::span<const EncodedImagePtr> images, const TokenIds& prompt,
      const decode::Options& options, const decode::Hooks& hooks) = 0;
  // texts: [CLS] ... [SEP] without padding.
  virtual std::vector<MatchScore> match(const EncodedImage& image, std::span<const TokenIds> texts,
                                        const MatchOptions& options,
                                        const decode::Hooks& hooks) = 0;
  // questions: [ENC] ... [SEP] without padding. One list of hypotheses per question.
  virtual std::vector<std::vector<decode::Hypothesis>> ask(const EncodedImage& image,
                                                           std::span<const TokenIds> questions,
                                                           const decode::Options& options,
                                                           const decode::Hooks& hooks) = 0;
  // candidates: [DEC] ... [SEP].
  virtual std::vector<decode::Ranked> rank(const EncodedImage& image, const TokenIds& question,
                                           std::span<const TokenIds> candidates, int keep,
                                           const decode::Hooks& hooks) = 0;

  // How likely each statement holds for two pictures, 0 to 1. statements: [ENC] ... [SEP] without
  // padding. Only with Capabilities::nlvr.
  virtual std::vector<float> nlvr(const EncodedImage& first, const EncodedImage& second,
                                  std::span<const TokenIds> statements, const decode::Hooks& hooks);

  virtual std::vector<float> embed_image(const EncodedImage& image) = 0;  // [embed_dim]
  virtual std::vector<std::vector<float>> embed_texts(
      std::span<const TokenIds> texts) = 0;  // [n][embed_dim]

  // Cross-attention weights of each of `ids` ([DEC] ...), mean over heads and the last `layers`
  // layers (0 = the later half). Only with Capabilities::attention.
  virtual Tensor caption_attention(const EncodedImage& image, const TokenIds& ids,
                                   int layers);  // [T, N]
  virtual AnswerAttention answer_attention(const EncodedImage& image, const TokenIds& question,
                                           const TokenIds& ids, int layers);

  // One text's states without a picture, [1, T, D], and rows of states through the projection of
  // the ITC heads, each then of length 1. Only of models with ITC heads.
  virtual Tensor text_alone(const TokenIds& text);
  virtual Tensor projected(const Tensor& states, bool of_image);

  virtual Tensor dump_vision(const EncodedImage& image) = 0;  // [1, N, D]
  virtual Tensor dump_text(const EncodedImage& image, const TokenIds& text,
                           bool question) = 0;  // [1, T, D]
};

// An immutable model on a device; shared by every session.
class Model {
 public:
  virtual ~Model() = default;
  virtual const Capabilities& capabilities() const = 0;
  virtual std::unique_ptr<Runner> make_runner() const = 0;
  // Memory that is kept for the next calls, beside the sessions' own and core/large_memory.h's; and
  // gives it back, returning how much that was. From any thread.
  virtual std::size_t spare_bytes() const { return 0; }
  virtual std::size_t trim() const { return 0; }
  // With threads of its own, beside the model's; on a device that computes elsewhere there are none
  // to have.
  virtual std::unique_ptr<Runner> make_runner_with(int /*threads*/) const { return make_runner(); }
  virtual DType dtype() const = 0;
  virtual int threads() const = 0;
  // Of a model that is compiled into networks: each, with what it has done so far.
  virtual std::vector<ExecutableUse> executables() const { return {}; }
  // Why devices of the model do not work now, one text for each; and whether any does. From any
  // thread.
  virtual std::vector<std::string> faults() const { return {}; }
  virtual bool works() const { return true; }
};

}  // namespace blip::backend
