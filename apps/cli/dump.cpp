// blip dump: a stage's tensor, to check against a reference.
#include <map>
#include <memory>

#include "cli/commands.h"
#include "cli/exit.h"
#include "cli/files.h"
#include "cli/inputs.h"
#include "cli/pictures.h"

namespace blip::cli {
namespace {

constexpr const char* kDumpExamples = R"(Examples:
  blip dump --stage vision --image cat.jpg --output vision.npy
  blip dump --stage text --image cat.jpg --text "a cat" --output text.npy

pixels: [1, 3, S, S], the normalised picture. vision: [1, N, D], the image tokens. text: [1, T,
D], the text encoder over the picture. question: [1, T, D], the question encoder over the picture.
float32 in NumPy's .npy format.)";

const std::map<std::string, Stage> kStageNames = {{"pixels", Stage::kPixels},
                                                  {"vision", Stage::kVision},
                                                  {"text", Stage::kText},
                                                  {"question", Stage::kQuestion}};

struct DumpFlags {
  OutputOptions output;
  ModelOptions model;
  DecodeOptions decode;
  std::string stage, image, text, file;
  CLI::Option* text_option = nullptr;
};

int run_dump(const DumpFlags& flags) {
  Console console(flags.output);
  const Stage stage = kStageNames.at(flags.stage);
  const bool takes_text = stage == Stage::kText || stage == Stage::kQuestion;
  if (takes_text) check_texts({flags.text}, "--stage " + flags.stage + " needs --text, which");
  if (!takes_text) refuse_given({flags.text_option}, "on --stage " + flags.stage);
  if (flags.file != "-") check_npy_destination(flags.file);
  const Engine engine = load_engine(flags.model, console);
  Session session = make_session(engine, console);
  Tensor tensor;
  try {
    tensor = session.dump(stage, read_image({flags.image, ""}, flags.decode), flags.text);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kImage && error.code() != ErrorCode::kIo) throw;
    console.input_failed(flags.image, error.what());
    return exit_code(console);
  }
  write_result(console, flags.file, to_npy(tensor));
  if (console.json() && flags.file != "-") {
    console.object(joined(
        joined(named("image", flags.image), {{"stage", flags.stage}, {"shape", tensor.shape}}),
        named("output", flags.file)));
  } else {
    console.note("wrote " + flags.stage + " " + Json(tensor.shape).dump() + " to " + flags.file);
  }
  return kExitOk;
}

}  // namespace

void add_dump(CLI::App& app, Run& run) {
  auto flags = std::make_shared<DumpFlags>();
  CLI::App& command = *app.add_subcommand("dump", "Write a stage's tensor as .npy");
  add_choice(command, "--stage", flags->stage, {"pixels", "vision", "text", "question"},
             "Which tensor")
      ->required();
  add_named(command, "--image", flags->image, "Picture, or - for standard input", "IMAGE")
      ->required();
  flags->text_option = command.add_option("--text", flags->text, "Text or question")
                           ->type_name("TEXT")
                           ->check(not_empty());
  add_named(command, "-o,--output", flags->file, "The .npy file to write; - = to standard output",
            "FILE")
      ->required();
  add_background_option(command, flags->decode.background);
  add_limit_options(command, flags->decode.limits);
  add_model_options(command, flags->model);
  add_output_options(command, flags->output);
  command.footer(kDumpExamples);
  command.callback([flags, &run] { run = [flags] { return run_dump(*flags); }; });
}

}  // namespace blip::cli
