// blip convert: any checkpoint to one GGUF file.
#include "cli/convert.h"

#include <unistd.h>

#include <filesystem>
#include <map>
#include <memory>

#include "cli/commands.h"
#include "cli/exit.h"
#include "cli/files.h"
#include "cli/interrupt.h"
#include "cli/model_path.h"
#include "cli/pictures.h"

namespace blip::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* kConvertExamples = R"(Examples:
  blip convert blip-image-captioning-base/ caption.gguf
  blip convert model_base_vqa_capfilt_large.pth vqa.gguf --type q8_0
  blip convert caption-base merged.gguf --adapter my-lora/

Vocabulary and settings go into the file. Vectors and position embeddings stay f32 whatever the
type. DST appears when it is complete; on a failure an older DST stays as it was.)";

const std::map<std::string, FileType> kTypes = {{"f32", FileType::kF32},
                                                {"f16", FileType::kF16},
                                                {"bf16", FileType::kBf16},
                                                {"q8_0", FileType::kQ8_0}};

struct ConvertFlags {
  OutputOptions output;
  HubFlags hub;
  std::string source, destination, type = "f16";
  std::vector<std::string> adapters;
};

void check(const Conversion& flags) {
  std::error_code error;
  if (!fs::exists(flags.source, error))
    throw Exit(kExitModel, "cannot open " + flags.source + ": No such file or directory");
  if (fs::equivalent(flags.source, flags.destination, error))
    throw Exit(kExitUsage, "source and destination are the same file");
  check_destination(flags.destination);
  if (fs::exists(flags.destination, error) && !fs::is_regular_file(flags.destination, error)) {
    throw Exit(kExitSomeFailed, "cannot write " + flags.destination + ": it is not a plain file");
  }
}

}  // namespace

std::vector<std::string> convert_types() { return {"f32", "f16", "bf16", "q8_0"}; }

int write_converted(const Conversion& flags, Console& console) {
  check(flags);
  ConvertOptions options;
  options.type = kTypes.at(flags.type);
  options.adapters = flags.adapters;
  options.warning = [&console](const std::string& message) { console.warning(printable(message)); };
  options.progress = [&](const char*, std::size_t done, std::size_t total) {
    stop_if_interrupted();  // unwinds through the library, which removes its unfinished file
    if (done == 0) console.start_progress("tensors", total);
    console.progress(done);
  };
  const Stopwatch watch;
  try {
    convert(flags.source, flags.destination, options);
  } catch (const Error& error) {
    stop_if_interrupted();
    if (error.code() == ErrorCode::kUsage) throw Exit(kExitUsage, error.what());
    // A source that opens is not what failed.
    const bool writing = error.code() == ErrorCode::kIo && access(flags.source.c_str(), R_OK) == 0;
    throw Exit(writing ? kExitSomeFailed : kExitModel, error.what());
  }
  console.end_progress();
  const auto bytes = fs::file_size(flags.destination);
  if (console.json()) {
    console.object(
        joined(joined(named("source", flags.source), named("destination", flags.destination)),
               {{"type", flags.type}, {"bytes", bytes}}));
  } else {
    console.note("wrote " + flags.destination + ", " + fixed(static_cast<double>(bytes) / 1e6, 1) +
                 " MB, in " + fixed(watch.ms() / 1000, 1) + " s");
  }
  return kExitOk;
}

namespace {

int run_convert(const ConvertFlags& flags) {
  Console console(flags.output);
  const std::vector<std::string> adapters = adapter_paths(flags.adapters, flags.hub, console);
  return write_converted(
      {model_path(flags.source, flags.hub, console), flags.destination, flags.type, adapters},
      console);
}

}  // namespace

void add_convert(CLI::App& app, Run& run) {
  auto flags = std::make_shared<ConvertFlags>();
  CLI::App& command = *app.add_subcommand("convert", "Write a model as one GGUF file");
  command
      .add_option("source", flags->source,
                  "Hugging Face folder, .pth, .bin, .safetensors or .gguf, or a model's name")
      ->type_name("PATH")
      ->check(not_empty())
      ->required();
  add_named(command, "destination", flags->destination, "The .gguf file to write", "FILE")
      ->required();
  add_choice(command, "--type", flags->type, convert_types(), "Number type of the matrices")
      ->capture_default_str();
  add_adapter_option(command, flags->adapters);
  add_hub_options(command, flags->hub);
  add_output_options(command, flags->output);
  command.footer(kConvertExamples);
  command.callback([flags, &run] { run = [flags] { return run_convert(*flags); }; });
}

}  // namespace blip::cli
