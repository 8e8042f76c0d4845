// blip embed: vectors that put pictures and texts into one space.
#include <memory>

#include "cli/commands.h"
#include "cli/exit.h"
#include "cli/files.h"
#include "cli/inputs.h"
#include "cli/interrupt.h"
#include "cli/one_by_one.h"
#include "cli/pictures.h"
#include "cli/trace.h"
#include "io/tensor_file.h"

namespace blip::cli {
namespace {

constexpr const char* kExamples = R"(Examples:
  blip embed photos/ > vectors.jsonl
  blip embed photos/ --output vectors.npy --json > rows.jsonl
  blip embed --text "a cat on a sofa" --text "two dogs"

Without --output, one JSON object a line: {"image", "embedding"} or {"text", "embedding"}, pictures before texts. With it,
an array of float32 [rows, length] in NumPy's .npy format; --json then says which row is which: {"image", "row"}. The
vectors have length 1, so their dot product is the cosine that `blip match` gives.)";

struct EmbedFlags {
  OutputOptions output;
  ModelOptions model;
  PictureOptions pictures;
  std::vector<std::string> texts;
  std::string texts_file, file;
  int max_text_length = 0;
  CLI::Option* text_length_option = nullptr;
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
    if (console_.json() && file_ != "-") console_.object(joined(named(kind, name), {{"row", rows_ - 1}}));
  }

  void finish(int length) {
    if (file_.empty()) return;
    const std::int64_t shape[] = {rows_, length};
    write_result(console_, file_, io::npy_bytes(shape, values_));
    console_.note("wrote " + std::to_string(rows_) + " x " + std::to_string(length) + " float32 to " + file_);
  }

 private:
  Console& console_;
  const std::string& file_;
  std::vector<float> values_;
  std::int64_t rows_ = 0;
};

std::vector<std::string> all_texts(const EmbedFlags& flags) {
  std::vector<std::string> texts = flags.texts;
  if (!flags.texts_file.empty()) {
    for (std::string& line : read_lines(flags.texts_file, "--texts")) texts.push_back(std::move(line));
  }
  check_texts(texts, "--text");
  return texts;
}

void embed_pictures(const Engine& engine, Session& session, const EmbedFlags& flags, Console& console, Timings& timings, Rows& rows) {
  const auto task = [&](std::span<const EncodedImage> images) {
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

void embed_texts(Session& session, const std::vector<std::string>& texts, const EmbedOptions& options, Console& console, Rows& rows) {
  constexpr std::size_t kTextsPerPass = 64;
  for (std::size_t begin = 0; begin < texts.size(); begin += kTextsPerPass) {
    const auto batch = std::span(texts).subspan(begin, std::min(kTextsPerPass, texts.size() - begin));
    const auto work = [&](std::span<const std::string> part) { return session.embed(part, options); };
    const auto vectors = OneByOne<std::vector<float>>(batch.size()).run(batch, work);
    for (std::size_t i = 0; i < batch.size(); ++i) {
      stop_if_interrupted();
      if (vectors[i].result) rows.add("text", batch[i], *vectors[i].result);
      else console.failed(Json{{"text", batch[i]}}, batch[i], vectors[i].error);
    }
  }
}

int run_embed(const EmbedFlags& flags) {
  Console console(flags.output);
  const std::vector<std::string> texts = all_texts(flags);
  if (flags.pictures.images.empty() && texts.empty()) throw Exit(kExitUsage, "embed needs a picture or a text: IMAGE, --text TEXT or --texts FILE");
  if (flags.pictures.images.empty()) refuse_given(flags.pictures.all, "without pictures");
  if (texts.empty()) refuse_given({flags.text_length_option}, "without texts");
  if (!flags.file.empty() && flags.file != "-") check_npy_destination(flags.file);
  const Engine engine = load_engine(flags.model, console);
  require_memory(flags.pictures.batch, engine.info());
  require_task(engine.info().can_match_itc, "embed", engine.info());
  check_text_length(flags.max_text_length, engine.info());
  Session session = make_session(engine, console);

  const Stopwatch watch;
  Timings timings;
  Rows rows(console, flags.file);
  if (!flags.pictures.images.empty()) embed_pictures(engine, session, flags, console, timings, rows);
  embed_texts(session, texts, {flags.max_text_length}, console, rows);
  rows.finish(engine.info().embed_dim);
  if (!flags.pictures.images.empty()) note_timings(console, timings, watch.ms() / 1000, "");
  return exit_code(console);
}

}  // namespace

void add_embed(CLI::App& app, Run& run) {
  auto flags = std::make_shared<EmbedFlags>();
  CLI::App& command = *app.add_subcommand("embed", "Turn pictures and texts into vectors (ITC)");
  add_picture_options(command, flags->pictures);
  add_repeated(command, "--text", flags->texts, "A text; repeatable")->group("Input");
  add_named(command, "--texts", flags->texts_file, "File of texts, one a line", "FILE")->group("Input");
  add_named(command, "-o,--output", flags->file, "Write a .npy file; - = to standard output", "FILE")->group("Output");
  flags->text_length_option = add_text_length(command, flags->max_text_length);
  add_model_options(command, flags->model);
  add_output_options(command, flags->output);
  add_trace_option(command, flags->output);
  add_progress_option(command, flags->output);
  command.footer(kExamples);
  command.callback(
      [flags, &run] { run = traced(flags->output, [flags] { return run_embed(*flags); }); });
}

}  // namespace blip::cli
