// The options that several commands share, as CLI11 definitions.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "blip/blip.h"
#include "blip/limits.h"
#include "cli/console.h"
#include "cli/inputs.h"
#include "cli/model_path.h"
#include "cli/prefetch.h"
#include "cli/sophon_options.h"

namespace blip::cli {

// What the chosen command does; returns the exit code. Set while the command line is parsed, called
// afterwards.
using Run = std::function<int()>;

struct ModelOptions {
  std::string model, device = "cpu", dtype = "auto";
  std::vector<std::string> adapters;
  int threads = 0;  // 0 = not given: every core
  CLI::Option* device_option = nullptr;
  HubFlags hub;
  SophonFlags sophon;  // options of one kind of device
};

// Of --batch: pictures, or a server's jobs, that go through the model together.
inline constexpr int kMaxBatch = 1024;

struct PictureOptions {
  std::vector<std::string> images;
  int batch = 4;     // pictures per pass through the vision tower
  int together = 0;  // pictures that a task is run on at once, where these are more than a batch
  DecodeOptions decode;
  std::vector<std::string> exclude;
  std::string newer_than;  // "" = not given
  bool nul_lists = false, subfolders = true;
  Dedupe dedupe;
  std::string image_column;        // of Parquet files; "" = not given
  bool parquet_in_folders = true;  // they are read where they lie in folders
  bool prepare = true;             // pictures are resized ahead for one model
  std::optional<PairOptions> pairs;
  CLI::Option* images_option = nullptr;  // --images, of commands that take pairs
  std::vector<CLI::Option*> all;         // but the pictures
};

// Decoding options together with what the command line says about them.
struct GenerateFlags {
  GenerateOptions options;
  std::vector<std::pair<const Option*, CLI::Option*>> all;  // the table's rows, in its order
  CLI::Option* named(std::string_view name) const;
  bool given(std::string_view name) const { return named(name)->count() > 0; }
};

void add_output_options(CLI::App& command, OutputOptions& options);
// --progress, of commands that show it.
void add_progress_option(CLI::App& command, OutputOptions& options);
// --adapter, any number of times.
void add_adapter_option(CLI::App& command, std::vector<std::string>& adapters);
// --update and --offline.
void add_hub_options(CLI::App& command, HubFlags& flags);
void add_model_options(CLI::App& command, ModelOptions& options);
std::vector<CLI::Option*> add_limit_options(CLI::App& command, ImageLimits& limits);
// "--min-length" of min_length.
std::string spelling(std::string_view name);
// A number within the option's range.
CLI::Validator in_range(const Option& option);
CLI::Option* add_background_option(CLI::App& command, std::optional<Color>& background);
// IMAGE..., --null, --batch, --exclude, --newer-than, --background, --max-pixels, --max-memory,
// --max-bytes.
CLI::Option* add_picture_options(CLI::App& command, PictureOptions& options);
// --images, and rows of pairs among the arguments: keys as in PairOptions. What is without effect
// where there are none is refused by check_pairs().
void add_pair_options(CLI::App& command, PictureOptions& options,
                      const std::vector<const char*>& keys);
void check_pairs(const PictureOptions& options);
// Throws Exit(2) for a time that is none.
InputFilter input_filter(const PictureOptions& options);
// The rows of blip/limits.h that generating takes.
void add_generate_options(CLI::App& command, GenerateFlags& flags, const GeneratedText& text);
// One row of blip/limits.h, by its name and range; what is not given leaves the value, which help
// shows unless told what else.
enum class Shown { kValue, kNothing };
template <class Number>
CLI::Option* add_row(CLI::App& command, const Option& row, Number& value, const std::string& group,
                     Shown shown = Shown::kValue) {
  CLI::Option* option = command.add_option(spelling(row.name), value, std::string(row.help))
                            ->type_name("N")
                            ->check(in_range(row))
                            ->group(group);
  return shown == Shown::kValue ? option->capture_default_str() : option;
}

// An option that takes a file, a folder or a name: an empty value, such as an unset variable of the
// shell gives, is refused.
CLI::Option* add_named(CLI::App& command, const std::string& names, std::string& value,
                       const std::string& description, const std::string& type);
CLI::Validator not_empty();
// A repeatable option of one value each: unlike CLI11's default it does not swallow the arguments
// after the first value.
CLI::Option* add_repeated(CLI::App& command, const std::string& name,
                          std::vector<std::string>& values, const std::string& description);
// --max-text-length of the commands that read texts.
CLI::Option* add_text_length(CLI::App& command, int& length);
// Throws Exit(2) where the model reads no texts of that length.
void check_text_length(int length, const ModelInfo& info);
// Checks of a value: a finite number or a whole number of the closed range.
CLI::Validator number_in(double low, double high);
CLI::Validator whole_in(std::uint64_t low, std::uint64_t high);
std::function<std::string(const std::string&)> one_of(const std::vector<std::string>& words);
// One of the words, which help and completions show.
CLI::Option* add_choice(CLI::App& command, const std::string& name, std::string& value,
                        const std::vector<std::string>& words, const std::string& description);

// Checks what no single option can (lengths, counts against beams, options that others leave
// without effect) and returns the options. Throws Exit(2).
GenerateOptions checked(const GenerateFlags& flags);
// Throws Exit(2) naming the first of the options that was given: "--beams has no effect " + why.
void refuse_given(const std::vector<CLI::Option*>& options, const std::string& why);

// What no model but this one would refuse: a length beyond its own, or any decoding option where
// decoding is compiled in. Throws Exit(3) naming the first that was given.
void fit_to_model(GenerateOptions& options, const GenerateFlags& flags, const ModelInfo& info);

// The files of a compiled model that the options, or else $BLIP_MODEL, name one by one; empty where
// the model is one file or folder.
std::vector<std::string> bmodels_of(const ModelOptions& options);
// Loads the model that the options ask for, with progress, and says what was loaded. Throws
// Exit(3), Error.
Engine load_engine(const ModelOptions& options, Console& console);
// Cancelled by signals, warns on the console.
Session make_session(const Engine& engine, Console& console);
// Throws Exit(2) where `batch` pictures at a time need more memory than there is.
void require_memory(int batch, const ModelInfo& info);
// How many pictures a task that reads weights for all of them at once is best run on. On a CPU more
// than a batch, as far as memory allows.
int pictures_together(int batch, const Engine& engine);
// Throws Exit(3) saying which tasks the model has, unless `can`.
void require_task(bool can, const std::string& task, const ModelInfo& info);
// "caption, match (ITM), ask"; "nothing" for a model without a task.
std::string task_list(const ModelInfo& info);

}  // namespace blip::cli
