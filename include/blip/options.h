// Options of libblip. Every field has a meaning, a default and, where there is one, an off-value.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#pragma GCC visibility push(default)
namespace blip {

// The number type of the weights and of the matrix products. kInt8: 8-bit weights with a scale
// per output, activations rounded to 8 bits with a scale per token. kF16: compiled models only.
enum class DType { kAuto, kF32, kBf16, kInt8, kF16 };

// "auto", "f32", "bf16", "int8", "f16"; parse_dtype throws Error(kUsage) on anything else.
const char* to_string(DType dtype);
DType parse_dtype(const std::string& name);

// Callbacks run on the thread that called the library, outside of its own work: they may use
// other sessions, of the same engine too, but not the session that calls them, which refuses with
// Error(kUsage). What a callback throws ends the call and comes out of it as it is; the session
// is left as it was before the call.

// Called from the thread that runs the work: first with done = 0, then as done grows, last with
// done = total. stage is a short word. What it throws ends the work and reaches the caller.
using ProgressCallback =
    std::function<void(const char* stage, std::size_t done, std::size_t total)>;
// Polled between stages and between decoding steps; returning true ends the call with
// Error(kCancelled).
using CancelCallback = std::function<bool()>;
// Warnings such as "text truncated to 35 tokens: \"...\"". Unset: warnings are dropped.
using WarningCallback = std::function<void(const std::string& message)>;

// The most threads that an engine or a session may have.
inline constexpr int kMaxThreads = 1024;
// The most words of a vocabulary and the most layers of a tower that a model may have.
inline constexpr int kMaxVocabulary = 1'000'000, kMaxLayers = 1000;
// Texts are truncated to so many tokens unless the model or the caller says otherwise, as in the
// official code; and the shortest that they can be truncated to: a word between [CLS] and [SEP].
inline constexpr int kTextLength = 35, kShortestText = 3;

// What a picture may cost before it is refused.
struct ImageLimits {
  std::size_t max_bytes = std::size_t{256} << 20;  // encoded size of one picture; 0 = no limit
  std::size_t max_pixels =
      178'956'970;  // width x height before decoding (Pillow's own bomb limit x 2); 0 = no limit
  // Bytes that decoding one picture may take beside its file, estimated from its header; 0 = no
  // limit. The default holds every picture within max_pixels but some that need several copies
  // (progressive, interlaced or turned ones).
  std::size_t max_memory = std::size_t{1} << 30;
};

struct Color {
  std::uint8_t red = 0, green = 0, blue = 0;

  friend bool operator==(const Color&, const Color&) = default;
};

// "#rrggbb", "#rgb", or one of CSS's sixteen basic names in any case: black, silver, gray (grey),
// white, maroon, red, purple, fuchsia, green, lime, olive, yellow, navy, blue, teal, aqua. Throws
// Error(kUsage).
Color parse_color(const std::string& text);

// An option of one kind of device; others refuse it with Error(kUsage). device_kind() lists them.
struct DeviceOption {
  std::string name, value;
};

struct EngineOptions {
  // "cpu"; "sophon:N" for a SOPHON chip, "sophon:0,1" or "sophon:all" to spread pictures over
  // several; they run compiled models only.
  std::string device = "cpu";
  // kAuto: f32 for models under 100 million parameters, else the fastest type on this processor.
  // kF32: the reference's answers token for token. kBf16 and kInt8 are faster and round.
  DType dtype = DType::kAuto;
  // 0 = every core this process may use; otherwise 1 to kMaxThreads; Error(kDevice) where the
  // system has not so many. With as many threads as cores the engine's own, not the callers', are
  // bound to a core each, unless $BLIP_BIND_THREADS is 0.
  int threads = 0;
  ProgressCallback progress{};                 // loading, by tensor; unset = silent
  std::vector<DeviceOption> device_options{};  // in any order; some may be given several times
  // LoRA adapters as peft saves them, merged when the model is loaded: folders, or names in the
  // cache (blip/hub.h). Several add up. An adapter can be given in the place of the model too:
  // its base is then the one that it states. One that lies beside the model is merged as well.
  // What cannot be merged is Error(kModel), or kUnsupported for compiled models.
  std::vector<std::string> adapters{};
};

struct SessionOptions {
  CancelCallback cancel{};    // unset = never cancelled
  WarningCallback warning{};  // unset = dropped
  // Threads of its own, 1 to kMaxThreads; 0 = shares the engine's, of which one session computes
  // at a time. Several sessions of one thread each take more pictures per second through a small
  // model than one session on all threads, but each picture takes longer.
  int threads = 0;
};

// The shortest and longest texts of each task unless GenerateOptions says otherwise, in tokens
// with the prompt.
inline constexpr int kCaptionMinLength = 5, kAnswerMinLength = 1, kCaptionMaxLength = 20,
                     kAnswerMaxLength = 10;
// How many answers a ranking keeps by their first token.
inline constexpr int kRankCandidates = 128;

// How a text is generated; blip/limits.h has the ranges. Lengths count tokens, prompt included,
// as transformers' generate counts them. A model may have its decoding compiled in
// (ModelInfo::fixed_length): it takes the defaults to mean its own greedy way, and beams = 1;
// anything else is Error(kUnsupported).
struct GenerateOptions {
  int beams = 3;  // 1 = greedy; beam search keeps this many hypotheses
  // The end token is forbidden before this length. Unset: kCaptionMinLength for captions,
  // kAnswerMinLength for answers, or max_length where that is less. With one above max_length the
  // end token is forbidden up to there.
  std::optional<int> min_length{};
  // generation stops at this length, which the model's positions limit
  int max_length = kCaptionMaxLength;
  float length_penalty = 1.0f;      // beam scores are divided by (generated tokens)^penalty
  float repetition_penalty = 1.0f;  // > 1 discourages tokens already in the text; 1 = off
  bool sample =
      false;  // draw from the distribution instead of taking the best; beams is then ignored
  float top_p = 0.9f;  // sampling: smallest set of tokens holding this probability; 1 = off
  int top_k = 0;       // sampling: only the k most likely tokens; 0 = off
  // sampling: only tokens that have at least this share of the likeliest one's probability; 0 = off
  float min_p = 0;
  float temperature = 1.0f;  // sampling: > 1 flatter, < 1 sharper; must be > 0
  std::uint64_t seed = 0;    // sampling: same seed, same texts
  int num_return =
      1;  // texts per input: best beams, or independent samples; at most beams unless sampling
  // Words, as blip/options.h says below "Words": none of these is written. Empty = off.
  std::vector<std::string> forbid_words{};
  // Beam search: of each of these one alternative is written, "red|blue" one of the two. Needs
  // beams > 1 and no sampling. Fewer texts than num_return come where no more have them all, and
  // Error(kUsage) where none has. Empty = off.
  std::vector<std::string> force_words{};
  // No run of so many tokens is written twice, those of the prompt included; 0 = off.
  int no_repeat_ngram = 0;
};

// Words of GenerateOptions. Each is a word or a phrase, several are separated by '|' or given one
// by one. They are tokenised as every text is, so a model without capitals takes none ("Dog" is
// "dog"), and mean that run of tokens, as transformers' bad_words_ids and force_words_ids do:
// "dog" is neither forbidden nor found in "dogs", which is a token of its own, but in "doggo",
// which is spelled dog + ##go; "##go" is text (two signs and a word), not the piece. A word that
// the vocabulary cannot spell is never written: forbidden, it is left out with a warning; forced,
// it is Error(kUsage), as is a special token ("[SEP]") and a word that is empty. What the prompt
// has counts as written.

struct CaptionOptions {
  // The caption continues this text, which is not part of the result. Unset: the model's own
  // (ModelInfo::prompt); "" = no prompt.
  std::optional<std::string> prompt{};
  GenerateOptions generate{};
  // Called as a token of the (only) input is decided, greedy or sampling only: its id and the
  // text so far, without the prompt.
  std::function<void(std::int32_t id, const std::string& text)> on_token{};
};

// The heads of a model that a match uses: kItm gives the match probability, kItc the cosine. Each
// reads the texts anew, the first over the picture.
enum class MatchHead { kAll, kItm, kItc };
// Their names, in that order.
inline constexpr std::array<const char*, 3> kMatchHeads = {"all", "itm", "itc"};

// One of kMatchHeads; throws Error(kUsage) on anything else.
MatchHead parse_match_head(const std::string& name);

// The token in the place of a text's first for the ITM head. The published demo and transformers
// leave [CLS]; training and the official evaluation set [ENC].
enum class ItmToken { kCls, kEnc };
// Their names, in that order.
inline constexpr std::array<const char*, 2> kItmTokens = {"cls", "enc"};

// One of kItmTokens; throws Error(kUsage) on anything else.
ItmToken parse_itm_token(const std::string& name);

struct MatchOptions {
  MatchHead head = MatchHead::kAll;  // kAll: those that the model has
  // Texts are truncated to so many tokens, [CLS] and [SEP] included: kShortestText to
  // ModelInfo::max_text_length, else Error(kUsage). 0: ModelInfo::text_length, which is
  // kTextLength unless the model says otherwise.
  int max_text_length = 0;
  // kEnc: Error(kUnsupported) where the vocabulary has no [ENC]. The ITC heads always read [CLS].
  ItmToken itm_token = ItmToken::kCls;
};

struct NlvrOptions {
  int max_text_length = 0;  // as MatchOptions::max_text_length; 0: the official code reads all
};

struct EmbedOptions {
  int max_text_length = 0;  // as MatchOptions::max_text_length
};

// Features of single tokens, as LAVIS' BlipFeatureExtractor gives them: the picture's, the text's
// alone, and the text's over the picture (ITM; begins with [ENC]). Projected ones are those of
// the ITC heads, each of length 1; an ITC vector is the first of them.
enum class FeatureKind { kImage, kImageProjected, kText, kTextProjected, kMultimodal };
// Their names, in that order.
inline constexpr std::array<const char*, 5> kFeatureKinds = {"image", "image-projected", "text",
                                                             "text-projected", "multimodal"};
constexpr bool needs_image(FeatureKind kind) {
  return kind != FeatureKind::kText && kind != FeatureKind::kTextProjected;
}
constexpr bool needs_text(FeatureKind kind) {
  return kind != FeatureKind::kImage && kind != FeatureKind::kImageProjected;
}

struct AskOptions {
  GenerateOptions generate{.max_length = kAnswerMaxLength};
  // As CaptionOptions::on_token, for the answer to the (only) question.
  std::function<void(std::int32_t id, const std::string& text)> on_token{};
  int rank_candidates = kRankCandidates;  // ranking: how many answers are kept by their first token
  int max_text_length = 0;                // of the question, as MatchOptions::max_text_length
};

struct AttentionOptions {
  // the caption's, which its token ids begin with; unset as in CaptionOptions
  std::optional<std::string> prompt{};
  // the last so many of each tower's layers; 0 = the later half, rounded up. On the bundled
  // model's scenes that half puts 85 % of the weight of a thing's word on the thing, all layers
  // 75 %
  int layers = 0;
  int max_text_length = 0;  // of the question, as MatchOptions::max_text_length
};

}  // namespace blip
#pragma GCC visibility pop
