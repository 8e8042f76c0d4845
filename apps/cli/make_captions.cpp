// blip make-captions: the options of make_captions.py of kohya's training scripts, under their own
// names and with its defaults.
#include <algorithm>
#include <memory>

#include "cli/caption.h"
#include "cli/commands.h"
#include "cli/exit.h"

namespace blip::cli {
namespace {

constexpr const char* kMakeCaptionsExamples = R"(Examples:
  blip make-captions train/ --model Salesforce/blip-image-captioning-large --batch_size 8
  blip make-captions train/ --beam_search --num_beams 3 --caption_extension .txt --recursive

Writes a caption to a file beside each picture and replaces files that are there, as the script
does. `blip caption --sidecar` does the same with options of its own.)";

// The script's defaults where they are not those of `blip caption`.
constexpr int kMaxLength = 75, kMinLength = 5, kSeed = 42;
constexpr float kKohyaTopP = 0.9f;
// Of the script's model when it samples; it has no option for it.
constexpr float kSamplingRepetitionPenalty = 1.1f;

struct MakeCaptionsFlags {
  OutputOptions output;
  ModelOptions model;
  PictureOptions pictures;
  std::string folder, weights, extension = ".caption", old_extension;
  bool beam_search = false, recursive = false, debug = false, pin_memory = false;
  int workers = 0;
  GenerateOptions generate;
  int min_length = kMinLength;
  CLI::Option* max_length_option = nullptr;
};

void add_decoding_options(CLI::App& command, MakeCaptionsFlags& flags) {
  const std::string group = "Decoding";
  const auto add = [&](const char* name, auto& value, const Option& row, const char* description) {
    return command.add_option(name, value, description)
        ->type_name("N")
        ->check(in_range(row))
        ->capture_default_str()
        ->group(group);
  };
  flags.generate.beams = 1;
  flags.generate.top_p = kKohyaTopP;
  flags.generate.max_length = kMaxLength;
  flags.generate.seed = kSeed;
  command.add_flag("--beam_search", flags.beam_search, "Beam search; not given: nucleus sampling")
      ->group(group);
  add("--num_beams", flags.generate.beams, option_named("beams"), "Beams of --beam_search");
  add("--top_p", flags.generate.top_p, option_named("top_p"),
      "Sample from the likeliest words that hold this probability");
  flags.max_length_option =
      add("--max_length", flags.generate.max_length, option_named("max_length"),
          "Longest caption in tokens, prompt included");
  add("--min_length", flags.min_length, option_named("min_length"),
      "Shortest caption in tokens, prompt included");
  add("--seed", flags.generate.seed, option_named("seed"), "Same seed, same captions");
}

void add_script_options(CLI::App& command, MakeCaptionsFlags& flags) {
  command.add_option("train_data_dir", flags.folder, "Folder of pictures")
      ->type_name("FOLDER")
      ->check(not_empty())
      ->required();
  command.add_option("--caption_extension", flags.extension, "Ending of the files with captions")
      ->type_name("ENDING")
      ->capture_default_str()
      ->check(not_empty())
      ->group("Output");
  command
      .add_option("--caption_extention", flags.old_extension,
                  "The same, as the script used to spell it")
      ->type_name("ENDING")
      ->check(not_empty())
      ->group("Output");
  command.add_flag("--recursive", flags.recursive, "Search folders in the folder too")
      ->group("Input");
  command.add_option("--batch_size", flags.pictures.batch, "Pictures per pass through the model")
      ->type_name("N")
      ->check(whole_in(1, kMaxBatch))
      ->capture_default_str()
      ->group("Input");
  command
      .add_option("--max_data_loader_n_workers", flags.workers,
                  "Understood; pictures are always read beside the work")
      ->type_name("N")
      ->check(whole_in(0, kMaxThreads))
      ->group("Input");
  command.add_flag("--pin_memory", flags.pin_memory, "Understood; there is no such memory here")
      ->group("Input");
  command.add_flag("--debug", flags.debug, "Show captions on standard error")->group("Output");
  command
      .add_option("--caption_weights", flags.weights,
                  "Refused: weights are given by --model, as a file, a folder or a name")
      ->type_name("PATH")
      ->check(not_empty())
      ->group("Model");
}

int run_make_captions(const MakeCaptionsFlags& flags) {
  Console console(flags.output);
  if (!flags.weights.empty())
    throw Exit(kExitUsage,
               "--caption_weights is not read here; give --model " +
                   (flags.weights.find("://") == std::string::npos
                        ? flags.weights
                        : "Salesforce/blip-image-captioning-large (the weights of "
                          "model_large_caption.pth by name), or a .pth file that you downloaded"));
  CaptionPlan plan{flags.output, flags.model, flags.pictures, {}, {}, {}, {}};
  plan.pictures.images = {flags.folder};
  plan.pictures.subfolders = flags.recursive;
  plan.pictures.parquet_in_folders = false;
  plan.job.sidecar = flags.old_extension.empty() ? flags.extension : flags.old_extension;
  plan.job.existing = "overwrite";
  plan.log_captions = flags.debug;
  GenerateOptions& generate = plan.options.generate;
  generate = flags.generate;
  generate.sample = !flags.beam_search;
  generate.min_length = std::min(flags.min_length, generate.max_length);
  if (generate.sample) {
    generate.beams = GenerateOptions().beams;
    generate.repetition_penalty = kSamplingRepetitionPenalty;
  } else {
    generate.top_p = GenerateOptions().top_p;
    generate.seed = GenerateOptions().seed;
  }
  plan.fit = [&flags](GenerateOptions& options, const ModelInfo& info) {
    // The script's default is longer than small models write.
    if (info.max_length > 0 && flags.max_length_option->count() == 0)
      options.max_length = std::min(options.max_length, info.max_length);
  };
  return run_captions(std::move(plan), console);
}

}  // namespace

void add_make_captions(CLI::App& app, Run& run) {
  auto flags = std::make_shared<MakeCaptionsFlags>();
  flags->pictures.batch = 1;
  CLI::App& command = *app.add_subcommand(
      "make-captions", "Caption a folder with the options of kohya's make_captions.py");
  add_script_options(command, *flags);
  add_decoding_options(command, *flags);
  add_model_options(command, flags->model);
  command
      .add_flag("-q,--quiet", flags->output.quiet,
                "No progress, timings and warnings on standard error")
      ->group("Output");
  add_progress_option(command, flags->output);
  command.footer(kMakeCaptionsExamples);
  command.callback([flags, &run] { run = [flags] { return run_make_captions(*flags); }; });
}

}  // namespace blip::cli
