// libblip: BLIP image captioning, image-text matching, visual question answering and reasoning
// over two pictures.
//
//   blip::Engine engine = blip::Engine::load("model.gguf");  // immutable; threads share it
//   blip::Session session(engine);                           // one for each thread
//   blip::EncodedImage image = session.encode(blip::Image::from_file("cat.jpg"));
//   std::string text = session.caption(image).text;                // "a cat on a sofa"
//   float p = *session.match(image, {"a cat"}).front().match_probability;
//   std::string answer = session.ask(image, "what animal is this?").text;
//
// Thread safety: Engine, Image and EncodedImage are immutable after construction and may be shared;
// a Session belongs to one thread at a time, and a call while another of the same session runs,
// from one of its callbacks or from a second thread, is Error(kUsage). Sessions of one Engine share
// its thread pool and take turns in the order in which they ask for it. Everything that can fail
// throws blip::Error. The library never prints and never exits.
//
// One answer: a result is a function of the picture, the text and the options, bit for bit, in
// every number type; the batch, the threads, the texts or pictures beside it and their order change
// nothing. Processors with other vector instructions may differ in the last bits. No result is NaN
// or infinite (but Text::score of compiled models, which says so): where a model gives such
// numbers, the call throws Error(kModel).
//
// fork: on the CPU an Engine, its sessions that were idle at the fork and new ones work in the
// child too, which starts threads of its own at the first call; the parent is not disturbed. On a
// SOPHON chip load the model in the child.
//
// Binary compatibility: this header and the others in C++ promise that programs compile against
// later minor releases, and no more. Their symbols have the release as version, so that a program
// that was built with another release does not start. What stays binary compatible (the ABI, and
// the library's SOVERSION) is the C interface, blip/c.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "blip/error.h"
#include "blip/options.h"

#pragma GCC visibility push(default)
namespace blip {

// "1.2.3"
const char* version();

// A format of pictures that some build of the library reads.
struct ImageFormat {
  std::string name;  // "JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF", "AVIF", "HEIF", "JPEG XL"
  std::vector<std::string> endings;      // ".jpg", ...
  std::vector<std::string> media_types;  // "image/jpeg", ...; the first is the usual one
  bool readable = false;                 // by this build
  std::string
      reader;  // the library that reads it, "blip" for its own code; else what this build lacks
};
std::vector<ImageFormat> image_formats();
// The format of a picture, by its first kImageHeadBytes bytes; nullopt: none of image_formats().
// The picture may still be damaged.
std::optional<ImageFormat> image_format_of(std::span<const std::byte> encoded);

// For choosing files: whether one is a picture, even of a format that no build reads (a camera's
// own, JPEG 2000), so that a user is told of it where passing over it would say nothing. By the
// ending of its name, in any case, or by its first kImageHeadBytes bytes, which documents and
// videos are not taken for.
bool has_image_ending(std::string_view file_name);
bool looks_like_image(std::span<const std::byte> head);
inline constexpr std::size_t kImageHeadBytes = 256;

// What a picture's header says.
struct ImageInfo {
  std::string format;         // the name of one of image_formats()
  int width = 0, height = 0;  // upright: EXIF orientation applied
  std::size_t decode_bytes =
      0;  // of memory that decoding takes beside the file, the pixels included: an upper estimate
};

// A decoded picture: 8-bit RGB, rows from top to bottom, EXIF orientation applied.
class Image {
 public:
  // Reads a picture of one of image_formats(), found by content: the first frame or page, 8 bits
  // a colour. A path must be that of a regular file. Throws Error(kIo), or Error(kImage) where
  // the picture is damaged, of a format that this build does not read, exceeds a limit or does
  // not fit into memory. background: what transparent pixels are laid over, as Pillow's
  // Image.alpha_composite does it. nullopt: transparency is dropped and the colours beneath it
  // show, as Pillow's convert("RGB") does it.
  static Image from_file(const std::string& path, const ImageLimits& limits = {},
                         const std::optional<Color>& background = std::nullopt);
  static Image from_memory(std::span<const std::byte> encoded, const ImageLimits& limits = {},
                           const std::optional<Color>& background = std::nullopt);
  // Reads the header alone and checks it against the limits, as from_memory does before it
  // decodes. The pixels may still turn out to be damaged. Throws Error(kImage).
  static ImageInfo inspect(std::span<const std::byte> encoded, const ImageLimits& limits = {},
                           const std::optional<Color>& background = std::nullopt);
  // Copies width x height RGB pixels; stride is bytes per row (0 = 3 x width).
  static Image from_rgb(const std::uint8_t* rgb, int width, int height, std::size_t stride = 0);

  // This picture at width x height, by the bicubic filter of Pillow. At ModelInfo::image_size
  // squared it takes that work off Session::encode, which gives the same for both.
  Image resized(int width, int height) const;

  int width() const;
  int height() const;
  const std::uint8_t* data() const;  // [height, width, 3], tightly packed

 private:
  friend class Engine;
  friend class Session;
  struct Impl;
  explicit Image(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<const Impl> impl_;
};

// A picture after the vision tower, kept on the device with the cross-attention keys and values
// that tasks add to it. Encode once, then caption, match and ask as often as you like. Usable
// with sessions of the Engine that made it.
class EncodedImage {
 public:
  double preprocess_ms() const;  // resize and normalise
  double encode_ms() const;      // vision tower; the batch's time divided by its pictures
  // Memory it holds now, on whichever device. Grows when a task first adds its keys and values.
  std::size_t bytes() const;

 private:
  friend class Session;
  struct Impl;
  explicit EncodedImage(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<const Impl> impl_;
};

struct Text {
  std::string text;  // without the prompt
  std::vector<std::int32_t>
      token_ids;    // with the prompt, without padding; the end token stays where it was generated
  float score = 0;  // beams: summed log-probability / generated tokens^length_penalty; else the
                    // summed log-probability; NaN: not told (compiled models)
};

// A caption or an answer: the best text, and with num_return > 1 all of them, best first.
struct Generation : Text {
  std::vector<Text> all;  // all.front() is this text
  double decode_ms = 0;   // the batch's time divided by its inputs
};

struct Match {
  // ITM head, 0..1; nullopt where the model lacks the head or it was not asked for
  std::optional<float> match_probability;
  std::optional<float> cosine;  // ITC heads, -1..1; the same
  // The ITM head's number for "fits" before the softmax, to which the official evaluation of
  // retrieval adds the cosine; nullopt also where a compiled model gives the probability alone
  std::optional<float> match_logit;
};

// How much of what a word was decided by came from each patch of the picture.
struct WordAttention {
  std::string word;            // as it stands in the text
  std::vector<float> weights;  // [side, side] over the picture squashed to a square, row by row;
                               // not negative, together 1
};

struct Attention {
  int side = 0;                         // patches along an edge
  std::vector<WordAttention> words;     // of the caption or the answer, in order
  std::vector<WordAttention> question;  // of the question, for an answer
};

// One of the parts a model file may hold.
struct PartInfo {
  std::string name;  // "vision", "text_encoder", "caption_decoder", "question_encoder",
                     // "answer_decoder", "nlvr_encoder"
  int layers = 0, width = 0, heads = 0, mlp = 0;
  std::size_t parameters = 0;
  std::string type;  // tensor type in the file: "f32", "f16", "bf16", "q8_0", or "mixed"
};

struct ModelInfo {
  std::string path, format;  // format: "safetensors", "torch", "gguf", "bmodel"
  std::string name;          // from the file's metadata, else the file or folder name
  int image_size = 0, patch_size = 0, vocab_size = 0,
      embed_dim = 0;  // embed_dim: ITC vector length, 0 = no ITC heads
  bool can_caption = false, can_match_itm = false, can_match_itc = false, can_ask = false,
       can_rank = false;
  bool can_nlvr = false;    // Session::nlvr
  bool can_attend = false;  // Session::attention, of captions and answers
  int fixed_length =
      0;  // models that only decode greedily, to a length of their own: that length; 0 = free
  int max_length =
      0;  // longest caption or answer in tokens, prompt included; 0 = it writes none, or not told
  std::string prompt;   // what its captions continue unless CaptionOptions::prompt says otherwise
  int text_length = 0;  // match texts and questions are truncated to so many tokens unless
                        // max_text_length says otherwise; 0 = it reads none
  int max_text_length =
      0;  // the most that max_text_length may say: the positions of the text encoder
  int bos_token = -1, eos_token = -1,
      pad_token = -1;  // ids that begin and end captions and answers, and that pad
  int question_token =
      -1;  // the id that begins questions: [ENC], or [CLS] in a vocabulary without it
  std::vector<std::string> adapters;  // LoRA adapters that were merged into it, by name: when it
                                      // was loaded, or before it was converted
  std::vector<std::string>
      warnings;  // what its files say and is not followed, a sentence each, naming file and key
  std::vector<PartInfo> parts;
  std::size_t parameters = 0;
};

// A part of a model that its device runs as a whole, and what it has done since the model was
// loaded: a compiled network, for example.
struct ExecutableUse {
  std::string device;           // "sophon:0 (bm1684x)"
  std::string name;             // in the model's files
  std::string inputs, outputs;  // "f32 [1, 3, 384, 384]", one after the other
  int cores = 1;                // of the device, for one launch
  std::uint64_t launches = 0;
  double milliseconds = 0;  // from launch to result, of all launches together
};

// A loaded model on a device. Cheap to copy (shared, immutable).
class Engine {
 public:
  // path: a model's name whose files are in the cache (blip/hub.h), a Hugging Face folder, an
  // official .pth, a pytorch_model.bin, a .safetensors or a .gguf file; on a SOPHON chip a
  // .bmodel or a folder that build-bmodels made. Device options may name the model instead
  // (DeviceOptionInfo::names_model); path is then ignored. Throws Error(kIo | kModel | kDevice |
  // kUsage).
  static Engine load(const std::string& path, const EngineOptions& options = {});

  const ModelInfo& info() const;
  DType dtype() const;  // the type in use, never kAuto
  int threads() const;
  const std::string& device() const;  // "cpu", "sophon:0"
  // The picture in the model's size, which is the slow part of what Session::encode does first:
  // for another thread while a session works on the pictures before. encode gives the same result
  // for it as for the picture itself.
  Image prepare(const Image& image) const;
  // The tokens of a text without those that the model puts around it, and before any truncation.
  // 0 for a text that has none, which match, ask and embed refuse as empty.
  std::size_t count_tokens(const std::string& text) const;
  // How many tokens captions begin with, those of the prompt (unset: the model's own) and the one
  // before them, and answers: they count for GenerateOptions::max_length and min_length, and a
  // text's token_ids begin with them.
  std::size_t caption_prompt_tokens(const std::optional<std::string>& prompt = {}) const;
  std::size_t answer_prompt_tokens() const;
  // The text of token ids, as captions and answers are written: without special tokens and those
  // beyond the vocabulary.
  std::string decode(std::span<const std::int32_t> token_ids) const;
  // Scratch of the engine's threads, which is kept for the next calls. What a session computes in
  // is its own, and so is the scratch of threads of its own: that goes with it.
  std::size_t spare_bytes() const;
  // Gives it back, and kept_bytes() too, between two loops of the engine's threads; returns how
  // much that was. From any thread; the next calls take a little longer.
  std::size_t trim() const;
  // Of a model that its device runs in such parts, on each of its devices; else empty.
  std::vector<ExecutableUse> executables() const;
  // Why devices of the model do not work now: one text for each that failed, none while all work.
  // The model is loaded on them again when they come back; until then others do their work, and
  // where none works every call is Error(kDevice) at once. From any thread.
  std::vector<std::string> faults() const;
  // Whether any device works.
  bool works() const;

 private:
  friend class Session;
  struct Impl;
  explicit Engine(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<const Impl> impl_;
};

// Pages of pictures that were dropped, kept for the next ones: of the whole process, for all
// engines together, 192 MB at most. The system may take them back when it is short of memory.
std::size_t kept_bytes();

// What Session::dump gives: a float32 tensor, row-major.
struct Tensor {
  std::vector<std::int64_t> shape;
  std::vector<float> values;
};
// As the bytes of a .npy file, which numpy.load reads. Throws Error(kUsage) where the values do not
// fill the shape.
std::vector<std::byte> to_npy(const Tensor& tensor);

enum class Stage {
  kPixels,    // [1, 3, S, S] normalised picture
  kVision,    // [1, N, D] image tokens
  kText,      // [1, T, D] text encoder over the image (ITM)
  kQuestion,  // [1, T, D] question encoder over the image
};

// What a model file holds, without loading its weights. Throws as Engine::load.
ModelInfo inspect(const std::string& path);

// A file of a model, read whole, and the SHA-256 that came with the model.
struct FileCheck {
  std::string path, expected, got;
  std::string problem;  // why it cannot be read; then got is ""
  bool good() const { return problem.empty() && expected == got; }
};
// Every file of a model whose digests come with it: a folder compiled for SOPHON chips. Throws
// Error(kUnsupported) for another model, or one compiled before there were digests, else as
// inspect.
std::vector<FileCheck> verify(const std::string& path);

// Runs tasks on one thread. All functions throw Error; kUnsupported says which tasks the model
// has.
class Session {
 public:
  explicit Session(const Engine& engine, const SessionOptions& options = {});
  ~Session();
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;

  EncodedImage encode(const Image& image);
  std::vector<EncodedImage> encode(std::span<const Image> images);  // one batch

  Generation caption(const EncodedImage& image, const CaptionOptions& options = {});
  std::vector<Generation> caption(std::span<const EncodedImage> images,
                                  const CaptionOptions& options = {});

  // One result per text, in order. A text without a token (empty, or only of spaces and control
  // characters) is Error(kUsage), a head that the model lacks Error(kUnsupported); a text of more
  // tokens than the options allow is truncated with a warning.
  std::vector<Match> match(const EncodedImage& image, std::span<const std::string> texts,
                           const MatchOptions& options = {});
  std::vector<Match> match(const EncodedImage& image, std::initializer_list<std::string> texts,
                           const MatchOptions& options = {});

  // How likely each statement about two pictures holds, 0 to 1, by a model trained on NLVR2: true
  // is above 0.5. The order of the pictures counts ("the left image ..."): `first` is the left
  // one. A statement is read as it is, and whole, up to ModelInfo::max_text_length; the official
  // evaluation takes out punctuation before (docs/PARITY.md). Errors as of match.
  std::vector<float> nlvr(const EncodedImage& first, const EncodedImage& second,
                          std::span<const std::string> statements, const NlvrOptions& options = {});

  // Generates an answer, or ranks a fixed list of them (Generation::all then holds every
  // surviving answer, best first, with score = minus its summed loss). A question or an answer to
  // rank without a token is Error(kUsage), as a text of match.
  Generation ask(const EncodedImage& image, const std::string& question,
                 const AskOptions& options = {});
  std::vector<Generation> ask(const EncodedImage& image, std::span<const std::string> questions,
                              const AskOptions& options = {});
  Generation rank(const EncodedImage& image, const std::string& question,
                  std::span<const std::string> answers, const AskOptions& options = {});

  // Where the model looked while it wrote a text it gave for this picture: the cross-attention
  // weights over the picture's patches at the step that decided each token, averaged over heads,
  // over the layers that the options name and over the tokens of a word. The image's class token,
  // which has no place in the picture, is left out. One more pass over the finished text;
  // generating pays nothing. A text without token ids is read as if the model had written it.
  Attention attention(const EncodedImage& image, const Text& caption,
                      const AttentionOptions& options = {});
  // An answer's decoder sees the question, not the picture: each word's weights over the
  // question's tokens mix the weights with which the question encoder read the picture for those
  // tokens.
  Attention attention(const EncodedImage& image, const std::string& question, const Text& answer,
                      const AttentionOptions& options = {});

  // ITC vectors, L2-normalised, length ModelInfo::embed_dim.
  std::vector<float> embed(const EncodedImage& image);
  std::vector<std::vector<float>> embed(std::span<const std::string> texts,
                                        const EmbedOptions& options = {});

  // Of each token of a picture, a text or both: [tokens, width], or [tokens, embed_dim] where
  // projected. image: nullptr for a kind without one; text: "" likewise. Here a text is read
  // whole, up to ModelInfo::max_text_length, unless the options say otherwise. Error(kUsage)
  // where what the kind needs is missing or what it does not need is given, kUnsupported where
  // the model lacks what gives it.
  Tensor features(FeatureKind kind, const EncodedImage* image, const std::string& text = "",
                  const EmbedOptions& options = {});

  Tensor dump(Stage stage, const Image& image, const std::string& text = "");

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// What `blip devices` lists.
struct DeviceInfo {
  std::string id;           // "cpu", "sophon:0"
  std::string description;  // "AMD ..., 2 threads, avx512_bf16"
};
std::vector<DeviceInfo> devices();

// An option that one kind of device takes: the name of EngineOptions::device_options.
struct DeviceOptionInfo {
  std::string name, help;
  bool names_model = false;  // says which files the model is, so that no path is needed
};

// A kind of device that this build can use, whether there is one in this machine or not.
struct DeviceKind {
  std::string name;       // "cpu", "sophon": what its device strings begin with
  std::string forms;      // its device strings, for messages: "sophon:N, sophon:N,M, sophon:all"
  bool numbered = false;  // a device string may go on after a colon
  std::vector<DeviceOptionInfo> options{};
  // Its sessions compute on threads of this machine, so that several of one engine take turns
  // many times during a call; else the device does one thing at a time.
  bool on_host = false;
  bool prints = false;  // its runtime writes to standard output by itself

  const DeviceOptionInfo* option_named(const std::string& option) const;  // null: it has none
  std::string option_names() const;                                       // "file, tokenizer"
};
// Of a device string. Throws Error(kDevice) for a kind that this build lacks, saying which it
// has.
const DeviceKind& device_kind(const std::string& device);
// The number types that models of weights can be computed in there, f32 first; empty where models
// are compiled in one.
std::vector<DType> device_dtypes(const std::string& device);
// Where a model file or folder runs: the first device of the kind that has files of this format
// to itself ("sophon:0" for a .bmodel), else EngineOptions::device's default.
std::string device_for(const std::string& path);

enum class FileType { kF32, kF16, kBf16, kQ8_0 };

struct ConvertOptions {
  FileType type = FileType::kF16;       // of matrices; vectors and position embeddings stay f32
  ProgressCallback progress{};          // by tensor
  WarningCallback warning{};            // ModelInfo::warnings of the source; unset: dropped
  std::vector<std::string> adapters{};  // merged into the source, as EngineOptions::adapters
};

// Writes source (anything Engine::load opens) as one GGUF file with vocabulary and settings
// inside. The file appears under its name only when it is complete. A destination that the source
// is read from (its folder's files, through links too) is Error(kUsage). Throws Error(kIo |
// kModel).
void convert(const std::string& source, const std::string& destination,
             const ConvertOptions& options = {});

}  // namespace blip
#pragma GCC visibility pop
