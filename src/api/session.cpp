// Session: texts and pictures in, tasks on the runner, texts and numbers out.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <utility>

#include "api/attention.h"
#include "api/impl.h"
#include "api/words.h"
#include "blip/error.h"
#include "core/zone.h"
#include "io/tensor_file.h"

namespace blip {
namespace {

using backend::TokenIds;

}  // namespace

struct Session::Impl {
  std::atomic<bool> busy{false};  // see Use
  std::shared_ptr<const Engine::Impl> engine;
  SessionOptions options;
  std::unique_ptr<backend::Runner> runner;

  const text::Tokenizer& tokenizer() const { return *engine->tokenizer; }
  const backend::Capabilities& capabilities() const { return engine->model->capabilities(); }

  // While a function of the session runs: its activations are one task's.
  class Use {
   public:
    explicit Use(Impl& impl) : busy_(impl.busy) {
      if (busy_.exchange(true))
        throw Error(ErrorCode::kUsage,
                    "this session is at work: it was used from one of its own callbacks or from a "
                    "second thread; make another session for that");
    }
    ~Use() { busy_ = false; }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;

   private:
    std::atomic<bool>& busy_;
  };

  // What leaves is numbers; `what` says which.
  void require_finite(std::span<const float> values, const std::string& what) const {
    if (std::all_of(values.begin(), values.end(), [](float x) { return std::isfinite(x); })) return;
    throw Error(
        ErrorCode::kModel,
        engine->info.path + " gives " + what +
            " that is not finite (NaN or infinite): the model is damaged, or it overflows in " +
            to_string(engine->model->dtype()) + " (try f32)");
  }

  void require_probability(float value, const std::string& what) const {
    require_finite({&value, 1}, what);
    if (value < 0 || value > 1)
      throw Error(ErrorCode::kModel, engine->info.path + " gives " + std::to_string(value) +
                                         " as " + what + ": the model is damaged");
  }

  void require(bool capability, const char* task) const {
    if (capability) return;
    const auto& c = capabilities();
    std::string has;
    for (const auto& [can, name] : {std::pair{c.caption, "caption"},
                                    {c.itm || c.itc, "match"},
                                    {c.itc, "embed"},
                                    {c.ask, "ask"},
                                    {c.nlvr, "nlvr"}})
      if (can) has += (has.empty() ? "" : ", ") + std::string(name);
    throw Error(ErrorCode::kUnsupported, engine->info.path + " cannot " + task +
                                             "; it can: " + (has.empty() ? "nothing" : has));
  }

  // [CLS] ... [SEP], truncated to `limit` tokens; 0 = whole.
  TokenIds encode_text(const std::string& text, const char* what, int limit) const {
    auto encoding = tokenizer().encode(text, limit);
    if (encoding.empty())
      throw Error(ErrorCode::kUsage, std::string("empty ") + what + ": give at least one word");
    if (encoding.truncated && options.warning)
      options.warning(std::string(what) + " truncated to " + std::to_string(limit) + " tokens: \"" +
                      text + "\"");
    return std::move(encoding.ids);
  }

  // How many tokens of a text are read.
  int text_limit(int asked) const {
    const auto& c = capabilities();
    if (asked == 0) return c.text_length;
    if (asked < kShortestText || asked > c.max_text_length)
      throw Error(ErrorCode::kUsage,
                  "max_text_length is " + std::to_string(asked) + "; " + engine->info.path +
                      " reads texts of " + std::to_string(kShortestText) + " to " +
                      std::to_string(c.max_text_length) + " tokens (0 = its own default, " +
                      std::to_string(c.text_length) + ")");
    return asked;
  }

  // The official code reads answers to rank whole.
  int answer_limit() const {
    const auto& decoder = engine->config.answer_decoder;
    return decoder ? decoder->max_positions : capabilities().max_length;
  }

  std::vector<TokenIds> encode_texts(std::span<const std::string> texts,
                                     int max_text_length) const {
    const int limit = text_limit(max_text_length);
    std::vector<TokenIds> ids;
    for (const auto& text : texts) ids.push_back(encode_text(text, "text", limit));
    return ids;
  }

  TokenIds encode_question(const std::string& question, int max_text_length) const {
    TokenIds ids = encode_text(question, "question", text_limit(max_text_length));
    ids.front() = engine->config.tokens.question;
    return ids;
  }

  std::int32_t enc_token() const {
    const std::int32_t enc = tokenizer().special().enc;
    const auto& c = engine->config;
    const auto& encoder = c.nlvr_encoder ? c.nlvr_encoder : c.text_encoder;
    if (enc >= 0 && (!encoder || enc < encoder->vocab)) return enc;
    throw Error(
        ErrorCode::kUnsupported,
        engine->info.path + " has no token [ENC], which texts over pictures begin with here");
  }

  // The ITM head with [ENC] in the place of the first token, the ITC heads without.
  std::vector<backend::MatchScore> match_enc(const backend::EncodedImage& image,
                                             const std::vector<TokenIds>& texts,
                                             MatchOptions asked) const {
    std::vector<TokenIds> begun = texts;
    for (TokenIds& ids : begun) ids.front() = enc_token();
    const bool both = asked.head == MatchHead::kAll && capabilities().itc;
    asked.head = MatchHead::kItm;
    std::vector<backend::MatchScore> scores = runner->match(image, begun, asked, hooks());
    if (!both) return scores;
    asked.head = MatchHead::kItc;
    const auto cosines = runner->match(image, texts, asked, hooks());
    for (std::size_t i = 0; i < scores.size(); ++i) scores[i].itc = cosines[i].itc;
    return scores;
  }

  // Forced words may leave fewer texts than were asked for.
  void warn_of_fewer(const std::vector<std::vector<decode::Hypothesis>>& results,
                     const GenerateOptions& generate) const {
    if (!options.warning || generate.force_words.empty()) return;
    for (const auto& texts : results)
      if (texts.size() < static_cast<std::size_t>(generate.num_return))
        options.warning("force_words: only " + std::to_string(texts.size()) + " of " +
                        std::to_string(generate.num_return) + " texts were found that have them");
  }

  decode::Options with_words(const GenerateOptions& generate) const {
    return blip::with_words(generate, tokenizer(), options.warning);
  }

  decode::Hooks hooks() const { return {options.cancel, {}}; }

  // With the caller's on_token for the first sequence; `ids` holds its tokens, at first the
  // prompt's.
  template <class OnToken>
  decode::Hooks hooks(const OnToken& on_token, TokenIds& ids) const {
    decode::Hooks hooks{options.cancel, {}};
    if (on_token)
      hooks.on_token = [this, &on_token, &ids, prompt = ids.size()](int sequence, std::int32_t id) {
        if (sequence != 0) return;
        ids.push_back(id);
        on_token(id, tokenizer().decode_after(ids, prompt));
      };
    return hooks;
  }

  void require_attention() const {
    if (!capabilities().attention)
      throw Error(
          ErrorCode::kUnsupported,
          engine->info.path + " on " + engine->device +
              " does not give out attention weights; the CPU does, for model files of weights");
  }

  // The token ids of a text under attention; `read` those it has when it is given without any.
  TokenIds attended(const Text& text, TokenIds read, const TokenIds& prompt,
                    const model::TextConfig& decoder) const {
    TokenIds ids = std::move(read);
    if (!text.token_ids.empty()) ids = text.token_ids;
    const bool begins =
        ids.size() >= prompt.size() && std::equal(prompt.begin(), prompt.end(), ids.begin());
    const bool known = std::all_of(ids.begin(), ids.end(),
                                   [&](std::int32_t id) { return id >= 0 && id < decoder.vocab; });
    if (!begins || !known)
      throw Error(ErrorCode::kUsage,
                  "\"" + text.text +
                      "\" is no text of this model after this prompt: its token ids " +
                      (known ? "do not begin with the prompt's" : "go beyond the vocabulary"));
    if (ids.size() > static_cast<std::size_t>(decoder.max_positions))
      throw Error(ErrorCode::kUsage, "the text has " + std::to_string(ids.size()) +
                                         " tokens, prompt included; this model sees at most " +
                                         std::to_string(decoder.max_positions));
    return ids;
  }

  // Of an encoding with a class token before its patches.
  static int side_of(const Tensor& weights) {
    return static_cast<int>(std::lround(std::sqrt(static_cast<double>(weights.shape[1] - 1))));
  }

  static void check(const AttentionOptions& options) {
    decode::check_option(option_named("layers"), options.layers);
  }

  const backend::EncodedImage& encoded(const EncodedImage& image) const {
    if (image.impl_->model != engine->model)
      throw Error(
          ErrorCode::kUsage,
          "this picture was encoded by another engine; encode it with a session of this one");
    return *image.impl_->image;
  }

  // fixed: by fixed-length decoding, which tells no scores. Such a network may give any ids
  // at all; the decoders here give those they chose from.
  Generation generation(const std::vector<decode::Hypothesis>& hypotheses,
                        std::size_t prompt_tokens, double ms, bool fixed) const {
    Generation result;
    for (const auto& h : hypotheses) {
      if (!fixed) require_finite({&h.score, 1}, "a score");
      for (const std::int32_t id : h.ids)
        if (fixed && (id < 0 || id >= tokenizer().size()))
          throw Error(ErrorCode::kModel, engine->info.path + " gives the token " +
                                             std::to_string(id) +
                                             ", which is not in the vocabulary of " +
                                             std::to_string(tokenizer().size()) +
                                             ": it is damaged, or compiled for another vocabulary");
      result.all.push_back({tokenizer().decode_after(h.ids, prompt_tokens), h.ids, h.score});
    }
    static_cast<Text&>(result) = result.all.front();
    result.decode_ms = ms;
    return result;
  }
};

Session::Session(const Engine& engine, const SessionOptions& options)
    : impl_(std::make_unique<Impl>()) {
  impl_->engine = engine.impl_;
  impl_->options = options;
  if (options.threads < 0 || options.threads > kMaxThreads)
    throw Error(ErrorCode::kUsage,
                "a session's threads must be 1 to " + std::to_string(kMaxThreads) +
                    ", or 0 for the engine's; got " + std::to_string(options.threads));
  const auto& model = *engine.impl_->model;
  impl_->runner =
      options.threads == 0 ? model.make_runner() : model.make_runner_with(options.threads);
}
Session::~Session() = default;
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;

EncodedImage Session::encode(const Image& image) { return encode(std::span(&image, 1)).front(); }

std::vector<EncodedImage> Session::encode(std::span<const Image> images) {
  const Impl::Use use(*impl_);
  std::vector<EncodedImage> encoded;
  if (images.empty()) return encoded;
  const int size = impl_->capabilities().image_size;
  const std::size_t values =
      std::size_t{3} * static_cast<std::size_t>(size) * static_cast<std::size_t>(size);
  std::vector<float> pixels(images.size() * values);
  std::vector<double> preprocess_ms;
  for (std::size_t i = 0; i < images.size(); ++i) {
    StageZone zone("preprocess");
    const auto resized = image::resize_bicubic(images[i].impl_->rgb, size, size);
    image::normalize(resized, impl_->engine->config.normalization,
                     std::span(pixels).subspan(i * values, values));
    preprocess_ms.push_back(images[i].impl_->prepare_ms + zone.finish());
    if (impl_->options.cancel && impl_->options.cancel())
      throw Error(ErrorCode::kCancelled, "cancelled");
  }
  StageZone zone("encode", images.size());
  auto handles = impl_->runner->encode(pixels, static_cast<int>(images.size()));
  const double encode_ms = zone.finish() / static_cast<double>(images.size());
  for (std::size_t i = 0; i < images.size(); ++i)
    encoded.push_back(EncodedImage(std::make_shared<const EncodedImage::Impl>(EncodedImage::Impl{
        std::move(handles[i]), impl_->engine->model, preprocess_ms[i], encode_ms})));
  return encoded;
}

Generation Session::caption(const EncodedImage& image, const CaptionOptions& options) {
  return std::move(caption(std::span(&image, 1), options).front());
}

std::vector<Generation> Session::caption(std::span<const EncodedImage> images,
                                         const CaptionOptions& options) {
  const Impl::Use use(*impl_);
  impl_->require(impl_->capabilities().caption, "caption");
  std::vector<Generation> captions;
  const decode::Options generate = impl_->with_words(options.generate);
  if (images.empty()) return captions;
  std::vector<backend::EncodedImagePtr> handles;
  for (const auto& image : images) {
    impl_->encoded(image);
    handles.push_back(image.impl_->image);
  }
  const std::string& text = impl_->engine->prompt_of(options.prompt);
  if (!impl_->capabilities().prompt && text != impl_->engine->config.prompt)
    throw Error(ErrorCode::kUnsupported, impl_->engine->info.path + " has the caption prompt \"" +
                                             impl_->engine->config.prompt +
                                             "\" compiled in; got \"" + text + "\"");
  const TokenIds prompt = impl_->engine->caption_start(text);
  TokenIds generated = prompt;
  const decode::Hooks hooks = impl_->hooks(options.on_token, generated);
  StageZone zone("caption", images.size());
  const auto results = impl_->runner->caption(handles, prompt, generate, hooks);
  const double ms = zone.finish() / static_cast<double>(images.size());
  impl_->warn_of_fewer(results, options.generate);
  for (const auto& hypotheses : results)
    captions.push_back(
        impl_->generation(hypotheses, prompt.size(), ms, impl_->capabilities().caption_length > 0));
  return captions;
}

ItmToken parse_itm_token(const std::string& name) {
  for (std::size_t i = 0; i < kItmTokens.size(); ++i)
    if (name == kItmTokens[i]) return static_cast<ItmToken>(i);
  throw Error(ErrorCode::kUsage, "unknown ITM token \"" + name + "\"; use cls or enc");
}

MatchHead parse_match_head(const std::string& name) {
  for (std::size_t i = 0; i < kMatchHeads.size(); ++i)
    if (name == kMatchHeads[i]) return static_cast<MatchHead>(i);
  throw Error(ErrorCode::kUsage, "unknown match head \"" + name + "\"; use all, itm or itc");
}

std::vector<Match> Session::match(const EncodedImage& image,
                                  std::initializer_list<std::string> texts,
                                  const MatchOptions& options) {
  return match(image, std::span(texts.begin(), texts.size()), options);
}

std::vector<Match> Session::match(const EncodedImage& image, std::span<const std::string> texts,
                                  const MatchOptions& options) {
  const Impl::Use use(*impl_);
  const auto& c = impl_->capabilities();
  impl_->require(c.itm || c.itc, "match");
  if (options.head == MatchHead::kItm ? !c.itm : options.head == MatchHead::kItc && !c.itc)
    throw Error(ErrorCode::kUnsupported,
                impl_->engine->info.path + " has no " +
                    (options.head == MatchHead::kItm ? "ITM head" : "ITC heads") +
                    "; use the other or all");
  const auto ids = impl_->encode_texts(texts, options.max_text_length);
  const bool enc = options.itm_token == ItmToken::kEnc && c.itm && options.head != MatchHead::kItc;
  std::vector<Match> matches;
  StageZone zone("match", ids.size());
  const auto scores =
      enc ? impl_->match_enc(impl_->encoded(image), ids, options)
          : impl_->runner->match(impl_->encoded(image), ids, options, impl_->hooks());
  zone.finish();
  for (const auto& score : scores) {
    if (score.itm) impl_->require_probability(*score.itm, "a match probability");
    if (score.itc) impl_->require_finite({&*score.itc, 1}, "a cosine");
    if (score.itm_logit) impl_->require_finite({&*score.itm_logit, 1}, "a match logit");
    matches.push_back({score.itm, score.itc, score.itm_logit});
  }
  return matches;
}

std::vector<float> Session::nlvr(const EncodedImage& first, const EncodedImage& second,
                                 std::span<const std::string> statements,
                                 const NlvrOptions& options) {
  const Impl::Use use(*impl_);
  impl_->require(impl_->capabilities().nlvr, "judge statements about two pictures");
  const int limit = impl_->text_limit(options.max_text_length);
  std::vector<TokenIds> ids;
  for (const std::string& statement : statements) {
    ids.push_back(impl_->encode_text(statement, "statement", limit));
    ids.back().front() = impl_->enc_token();
  }
  const StageZone zone("nlvr", ids.size());
  auto probabilities =
      impl_->runner->nlvr(impl_->encoded(first), impl_->encoded(second), ids, impl_->hooks());
  for (const float probability : probabilities)
    impl_->require_probability(probability, "a statement's probability");
  return probabilities;
}

Generation Session::ask(const EncodedImage& image, const std::string& question,
                        const AskOptions& options) {
  return std::move(ask(image, std::span(&question, 1), options).front());
}

std::vector<Generation> Session::ask(const EncodedImage& image,
                                     std::span<const std::string> questions,
                                     const AskOptions& options) {
  const Impl::Use use(*impl_);
  impl_->require(impl_->capabilities().ask, "ask");
  std::vector<Generation> answers;
  const decode::Options generate = impl_->with_words(options.generate);
  if (questions.empty()) return answers;
  std::vector<TokenIds> ids;
  for (const auto& question : questions)
    ids.push_back(impl_->encode_question(question, options.max_text_length));
  TokenIds generated = impl_->engine->answer_start();
  const std::size_t start = generated.size();
  const decode::Hooks hooks = impl_->hooks(options.on_token, generated);
  StageZone zone("ask", questions.size());
  const auto results = impl_->runner->ask(impl_->encoded(image), ids, generate, hooks);
  const double ms = zone.finish() / static_cast<double>(questions.size());
  impl_->warn_of_fewer(results, options.generate);
  for (const auto& hypotheses : results)
    answers.push_back(
        impl_->generation(hypotheses, start, ms, impl_->capabilities().answer_length > 0));
  return answers;
}

Generation Session::rank(const EncodedImage& image, const std::string& question,
                         std::span<const std::string> answers, const AskOptions& options) {
  const Impl::Use use(*impl_);
  impl_->require(impl_->capabilities().rank, "rank answers");
  if (answers.empty()) throw Error(ErrorCode::kUsage, "no answers to rank: give at least one");
  decode::check_option(option_named("rank_candidates"), options.rank_candidates);
  std::vector<TokenIds> candidates;
  for (const auto& answer : answers) {
    TokenIds ids = impl_->encode_text(answer, "answer", impl_->answer_limit());
    ids.front() = impl_->engine->config.tokens.bos;
    candidates.push_back(std::move(ids));
  }
  const TokenIds ids = impl_->encode_question(question, options.max_text_length);
  StageZone zone("rank", answers.size());
  const auto ranked = impl_->runner->rank(impl_->encoded(image), ids, candidates,
                                          options.rank_candidates, impl_->hooks());
  Generation result;
  for (const auto& r : ranked) {
    impl_->require_finite({&r.loss, 1}, "a loss");
    result.all.push_back({answers[static_cast<std::size_t>(r.candidate)],
                          candidates[static_cast<std::size_t>(r.candidate)], -r.loss});
  }
  static_cast<Text&>(result) = result.all.front();
  result.decode_ms = zone.finish();
  return result;
}

Attention Session::attention(const EncodedImage& image, const Text& caption,
                             const AttentionOptions& options) {
  const Impl::Use use(*impl_);
  impl_->require(impl_->capabilities().caption, "caption");
  impl_->require_attention();
  Impl::check(options);
  const std::string& text = impl_->engine->prompt_of(options.prompt);
  const TokenIds prompt = impl_->engine->caption_start(text);
  TokenIds read = impl_->tokenizer().encode(text + " " + caption.text).ids;
  read.front() = impl_->engine->config.tokens.bos;
  const TokenIds ids =
      impl_->attended(caption, std::move(read), prompt, *impl_->engine->config.caption_decoder);
  const StageZone zone("attention");
  const Tensor weights =
      impl_->runner->caption_attention(impl_->encoded(image), ids, options.layers);
  impl_->require_finite(weights.values, "an attention");
  // A token was decided by the step that read the one before it.
  const TokenWords words = split_words(impl_->tokenizer(), ids, prompt.size());
  return {Impl::side_of(weights), word_maps(words, weights, prompt.size() - 1), {}};
}

Attention Session::attention(const EncodedImage& image, const std::string& question,
                             const Text& answer, const AttentionOptions& options) {
  const Impl::Use use(*impl_);
  impl_->require(impl_->capabilities().ask, "ask");
  impl_->require_attention();
  Impl::check(options);
  const TokenIds question_ids = impl_->encode_question(question, options.max_text_length),
                 prompt = impl_->engine->answer_start();
  TokenIds read = impl_->tokenizer().encode(answer.text).ids;
  read.front() = prompt.front();
  const TokenIds ids =
      impl_->attended(answer, std::move(read), prompt, *impl_->engine->config.answer_decoder);
  const StageZone zone("attention");
  const auto looked =
      impl_->runner->answer_attention(impl_->encoded(image), question_ids, ids, options.layers);
  for (const Tensor* weights : {&looked.question, &looked.answer})
    impl_->require_finite(weights->values, "an attention");
  const TokenWords words = split_words(impl_->tokenizer(), ids, prompt.size());
  return {Impl::side_of(looked.question),
          word_maps(words, product(looked.answer, looked.question), 0),
          word_maps(split_words(impl_->tokenizer(), question_ids, 0), looked.question, 0)};
}

std::vector<float> Session::embed(const EncodedImage& image) {
  const Impl::Use use(*impl_);
  impl_->require(impl_->capabilities().itc, "embed");
  const StageZone zone("embed");
  auto vector = impl_->runner->embed_image(impl_->encoded(image));
  impl_->require_finite(vector, "a picture's vector");
  return vector;
}

std::vector<std::vector<float>> Session::embed(std::span<const std::string> texts,
                                               const EmbedOptions& options) {
  const Impl::Use use(*impl_);
  impl_->require(impl_->capabilities().itc, "embed");
  const StageZone zone("embed", texts.size());
  auto vectors = impl_->runner->embed_texts(impl_->encode_texts(texts, options.max_text_length));
  for (const auto& vector : vectors) impl_->require_finite(vector, "a text's vector");
  return vectors;
}

Tensor Session::features(FeatureKind kind, const EncodedImage* image, const std::string& text,
                         const EmbedOptions& options) {
  const Impl::Use use(*impl_);
  const auto& c = impl_->capabilities();
  const std::string name = kFeatureKinds[static_cast<std::size_t>(kind)];
  const auto check = [&](bool needed, bool given, const char* what) {
    if (needed == given) return;
    throw Error(ErrorCode::kUsage,
                "features of kind " + name + (needed ? " need a " : " take no ") + what);
  };
  check(needs_image(kind), image != nullptr, "picture");
  check(needs_text(kind), !text.empty(), "text");
  const bool projected =
      kind == FeatureKind::kImageProjected || kind == FeatureKind::kTextProjected;
  if (kind == FeatureKind::kMultimodal)
    impl_->require(c.itm || c.itc, "give features of texts over pictures");
  else if (kind != FeatureKind::kImage)
    impl_->require(c.itc, "give features of its ITC heads");
  backend::TokenIds ids;
  if (needs_text(kind)) {
    const int asked = options.max_text_length == 0 ? c.max_text_length : options.max_text_length;
    ids = impl_->encode_text(text, "text", impl_->text_limit(asked));
  }
  const auto states = [&] {
    if (kind == FeatureKind::kMultimodal) {
      ids.front() = impl_->enc_token();
      return impl_->runner->dump_text(impl_->encoded(*image), ids, false);
    }
    return needs_text(kind) ? impl_->runner->text_alone(ids)
                            : impl_->runner->dump_vision(impl_->encoded(*image));
  };
  Tensor result = states();
  if (projected) result = impl_->runner->projected(result, needs_image(kind));
  impl_->require_finite(result.values, "features");
  result.shape.erase(result.shape.begin());
  return result;
}

std::vector<std::byte> to_npy(const Tensor& tensor) {
  return io::npy_bytes(tensor.shape, tensor.values);
}

Tensor Session::dump(Stage stage, const Image& image, const std::string& text) {
  if (stage == Stage::kPixels) {
    const int size = impl_->capabilities().image_size;
    Tensor pixels{{1, 3, size, size},
                  std::vector<float>(std::size_t{3} * static_cast<std::size_t>(size) *
                                     static_cast<std::size_t>(size))};
    image::normalize(image::resize_bicubic(image.impl_->rgb, size, size),
                     impl_->engine->config.normalization, pixels.values);
    return pixels;
  }
  if (stage == Stage::kText)
    impl_->require(impl_->capabilities().itm || impl_->capabilities().itc, "dump the text encoder");
  if (stage == Stage::kQuestion)
    impl_->require(impl_->capabilities().ask, "dump the question encoder");
  const EncodedImage encoded = encode(image);
  const Impl::Use use(*impl_);
  const auto dumped = [&] {
    if (stage == Stage::kVision) return impl_->runner->dump_vision(impl_->encoded(encoded));
    const bool question = stage == Stage::kQuestion;
    return impl_->runner->dump_text(impl_->encoded(encoded),
                                    question
                                        ? impl_->encode_question(text, 0)
                                        : impl_->encode_text(text, "text", impl_->text_limit(0)),
                                    question);
  };
  Tensor tensor = dumped();
  impl_->require_finite(tensor.values, "a tensor");
  return tensor;
}

}  // namespace blip
