// blip embed: vectors that put pictures and texts into one space.
#include <memory>
#include <optional>

#include "cli/commands.h"
#include "cli/exit.h"
#include "cli/files.h"
#include "cli/inputs.h"
#include "cli/interrupt.h"
#include "cli/itemwise_retry.h"
#include "cli/pictures.h"
#include "cli/trace.h"

namespace blip::cli {
namespace {

constexpr const char* kEmbedExamples = R"(Examples:
  blip embed photos/ > vectors.jsonl
  blip embed photos/ --output vectors.npy --json > rows.jsonl
  blip embed --text "a cat on a sofa" --text "two dogs"
  blip embed photos/ --kind image --output tokens.npy --json > rows.jsonl
  blip embed cat.jpg --text "a cat on a sofa" --kind multimodal

Without --output, one JSON object a line: {"image", "embedding"} or {"text", "embedding"},
pictures before texts. With it, an array of float32 [rows, length] in NumPy's .npy format; --json
then says which row is which: {"image", "row"}. The vectors have length 1, so their dot product is
the cosine that `blip match` gives.

Other kinds give a row for each token, as LAVIS' feature extractor does: of pictures (image), of
texts alone (text), of every text over every picture (multimodal, which begins with [ENC]);
image-projected and text-projected are those that the ITC heads compare. Then the objects have
"features", a list of rows, and with --output "row" is the first and "rows" how many there are.)";

// The kind of one vector for each picture and text; the others are kFeatureKinds.
constexpr const char* kVectors = "vector";

struct EmbedFlags {
  OutputOptions output;
  ModelOptions model;
  PictureOptions pictures;
  std::vector<std::string> texts;
  std::string texts_file, file, kind = kVectors;
  int max_text_length = 0;
  CLI::Option *text_length_option = nullptr, *text_option = nullptr, *texts_option = nullptr;
};

// Rows as they come, to a .npy file in the end or to standard output at once.
class Rows {
 public:
  Rows(Console& console, const std::string& file) : console_(console), file_(file) {}

  void add(const char* kind, const std::string& name, const std::vector<float>& vector) {
    ++rows_;
    if (file_.empty()) {
      Json object = named(kind, name);
      for (const float value : vector) object["embedding"].push_back(json_number(value));
      return console_.object(object);
    }
    values_.insert(values_.end(), vector.begin(), vector.end());
    if (console_.json() && file_ != "-")
      console_.object(joined(named(kind, name), {{"row", rows_ - 1}}));
  }

  // Of one picture, text or both.
  void add(Json object, const Tensor& features) {
    const std::int64_t count = features.shape[0], width = features.shape[1];
    if (file_.empty()) {
      for (std::int64_t r = 0; r < count; ++r) {
        Json& row = object["features"].emplace_back(Json::array());
        for (std::int64_t i = 0; i < width; ++i)
          row.push_back(json_number(features.values[static_cast<std::size_t>(r * width + i)]));
      }
      return console_.object(object);
    }
    values_.insert(values_.end(), features.values.begin(), features.values.end());
    if (console_.json() && file_ != "-")
      console_.object(joined(std::move(object), {{"row", rows_}, {"rows", count}}));
    rows_ += count;
    width_ = width;
  }

  // length: of a row; 0 = that of the last.
  void finish(std::int64_t length) {
    if (file_.empty()) return;
    if (length == 0) length = width_;
    write_result(console_, file_, to_npy({{rows_, length}, std::move(values_)}));
    console_.note("wrote " + std::to_string(rows_) + " x " + std::to_string(length) +
                  " float32 to " + file_);
  }

 private:
  Console& console_;
  const std::string& file_;
  std::vector<float> values_;
  std::int64_t rows_ = 0, width_ = 0;
};

void embed_pictures(const Engine& engine, Session& session, const EmbedFlags& flags,
                    Console& console, Timings& timings, Rows& rows) {
  const auto task = [&](std::span<const EncodedImage> images, auto) {
    std::vector<Emit> emits;
    for (std::size_t i = 0; i < images.size(); ++i) {
      emits.push_back([&rows, vector = session.embed(images[i])](const Input& input) {
        rows.add("image", input.name, vector);
      });
    }
    return emits;
  };
  run_pictures(engine, session, flags.pictures, console, timings, task);
}

void embed_texts(Session& session, const std::vector<std::string>& texts,
                 const EmbedOptions& options, Console& console, Rows& rows) {
  constexpr std::size_t kTextsPerPass = 64;
  for (std::size_t begin = 0; begin < texts.size(); begin += kTextsPerPass) {
    const auto batch =
        std::span(texts).subspan(begin, std::min(kTextsPerPass, texts.size() - begin));
    const auto work = [&](std::span<const std::string> part) {
      return session.embed(part, options);
    };
    const auto vectors = ItemwiseRetry<std::vector<float>>(batch.size()).run(batch, work);
    for (std::size_t i = 0; i < batch.size(); ++i) {
      stop_if_interrupted();
      if (vectors[i].result)
        rows.add("text", batch[i], *vectors[i].result);
      else
        console.failed(Json{{"text", batch[i]}}, batch[i], vectors[i].error);
    }
  }
}

// The features of a text over a picture, of a text alone or of a picture; or why there are none.
struct Embedding {
  std::string text;
  std::optional<Tensor> features;
  std::string error;
};

Embedding features_of(Session& session, FeatureKind kind, const EncodedImage* image,
                      const std::string& text, const EmbedOptions& options) {
  try {
    return {text, session.features(kind, image, text, options), ""};
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kUsage || text.empty()) throw;
    return {text, std::nullopt, error.what()};
  }
}

void give_out(const Embedding& outcome, Json object, Console& console, Rows& rows) {
  if (!outcome.text.empty()) object["text"] = outcome.text;
  if (outcome.features)
    rows.add(std::move(object), *outcome.features);
  else
    console.failed(object, outcome.text, outcome.error);
}

void write_features(const Engine& engine, Session& session, const EmbedFlags& flags,
                    FeatureKind kind, const std::vector<std::string>& texts, Console& console,
                    Timings& timings, Rows& rows) {
  const EmbedOptions options{flags.max_text_length};
  if (!needs_image(kind)) {
    for (const std::string& text : texts) {
      stop_if_interrupted();
      give_out(features_of(session, kind, nullptr, text, options), Json::object(), console, rows);
    }
    return;
  }
  const std::vector<std::string> none{""};
  const auto task = [&](std::span<const EncodedImage> images, auto) {
    std::vector<Emit> emits;
    for (const EncodedImage& image : images) {
      std::vector<Embedding> outcomes;
      for (const std::string& text : needs_text(kind) ? texts : none)
        outcomes.push_back(features_of(session, kind, &image, text, options));
      emits.push_back([&console, &rows, outcomes = std::move(outcomes)](const Input& input) {
        for (const Embedding& outcome : outcomes)
          give_out(outcome, named("image", input.name), console, rows);
      });
    }
    return emits;
  };
  run_pictures(engine, session, flags.pictures, console, timings, task);
}

std::optional<FeatureKind> feature_kind(const std::string& name) {
  for (std::size_t i = 0; i < kFeatureKinds.size(); ++i)
    if (name == kFeatureKinds[i]) return static_cast<FeatureKind>(i);
  return std::nullopt;
}

// What the kind needs is there, and what it does not take is not.
void check_inputs(const EmbedFlags& flags, FeatureKind kind, bool texts) {
  const std::string with = "with --kind " + flags.kind;
  if (needs_image(kind) && flags.pictures.images.empty())
    throw Exit(kExitUsage, "embed " + with + " needs a picture: IMAGE");
  if (needs_text(kind) && !texts)
    throw Exit(kExitUsage, "embed " + with + " needs a text: --text TEXT or --texts FILE");
  if (!needs_text(kind)) refuse_given({flags.text_option, flags.texts_option}, with);
  if (!needs_image(kind) && !flags.pictures.images.empty())
    throw Exit(kExitUsage, "IMAGE has no effect " + with);
}

int run_embed(const EmbedFlags& flags) {
  Console console(flags.output);
  const std::vector<std::string> texts = given_texts(flags.texts, flags.texts_file);
  const std::optional<FeatureKind> kind = feature_kind(flags.kind);
  if (kind) check_inputs(flags, *kind, !texts.empty());
  if (flags.pictures.images.empty() && texts.empty())
    throw Exit(kExitUsage, "embed needs a picture or a text: IMAGE, --text TEXT or --texts FILE");
  if (flags.pictures.images.empty()) refuse_given(flags.pictures.all, "without pictures");
  if (texts.empty()) refuse_given({flags.text_length_option}, "without texts");
  if (!flags.file.empty() && flags.file != "-") check_npy_destination(flags.file);
  const Engine engine = load_engine(flags.model, console);
  require_memory(flags.pictures.batch, engine.info());
  if (!kind) require_task(engine.info().can_match_itc, "embed", engine.info());
  check_text_length(flags.max_text_length, engine.info());
  Session session = make_session(engine, console);

  const Stopwatch watch;
  Timings timings;
  Rows rows(console, flags.file);
  if (kind) {
    write_features(engine, session, flags, *kind, texts, console, timings, rows);
  } else {
    if (!flags.pictures.images.empty())
      embed_pictures(engine, session, flags, console, timings, rows);
    embed_texts(session, texts, {flags.max_text_length}, console, rows);
  }
  rows.finish(kind ? 0 : engine.info().embed_dim);
  if (!flags.pictures.images.empty()) note_timings(console, timings, watch.ms() / 1000, "");
  return exit_code(console);
}

}  // namespace

void add_embed(CLI::App& app, Run& run) {
  auto flags = std::make_shared<EmbedFlags>();
  CLI::App& command = *app.add_subcommand("embed", "Turn pictures and texts into vectors (ITC)");
  add_picture_options(command, flags->pictures);
  flags->text_option =
      add_repeated(command, "--text", flags->texts, "A text; repeatable")->group("Input");
  flags->texts_option =
      add_named(command, "--texts", flags->texts_file, "File of texts, one a line", "FILE")
          ->group("Input");
  std::vector<std::string> kinds(kFeatureKinds.begin(), kFeatureKinds.end());
  kinds.insert(kinds.begin(), kVectors);
  add_choice(command, "--kind", flags->kind, kinds,
             "One vector for each picture and text, or a row for each of their tokens")
      ->capture_default_str()
      ->group("Output");
  add_named(command, "-o,--output", flags->file, "Write a .npy file; - = to standard output",
            "FILE")
      ->group("Output");
  flags->text_length_option = add_text_length(command, flags->max_text_length);
  add_model_options(command, flags->model);
  add_output_options(command, flags->output);
  add_trace_option(command, flags->output);
  add_progress_option(command, flags->output);
  command.footer(kEmbedExamples);
  command.callback(
      [flags, &run] { run = traced(flags->output, [flags] { return run_embed(*flags); }); });
}

}  // namespace blip::cli
