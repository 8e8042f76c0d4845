#include "cli/options.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <limits>

#include "base/resources.h"
#include "cli/exit.h"
#include "cli/interrupt.h"
#include "cli/model_path.h"
#include "cli/pair_reader.h"

namespace blip::cli {
namespace {

std::string number_text(double value) {
  return value == std::floor(value) ? fixed(value, 0) : CLI::detail::to_string(value);
}

template <class Number>
bool read_number(const std::string& text, Number& value) {
  const char* end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, value);
  return error == std::errc() && stopped == end;
}

}  // namespace

CLI::Validator number_in(double low, double high) {
  return CLI::Validator(
      [low, high](std::string& text) {
        double value = 0;
        // NaN is neither
        if (read_number(text, value) && value >= low && value <= high) return std::string();
        return "must be " + number_text(low) + " to " + number_text(high) + ", not " + text;
      },
      "");
}

CLI::Validator whole_in(std::uint64_t low, std::uint64_t high) {
  return CLI::Validator(
      [low, high](std::string& text) {
        std::uint64_t value = 0;
        if (read_number(text, value) && value >= low && value <= high) return std::string();
        return "must be a whole number from " + std::to_string(low) + " to " +
               std::to_string(high) + ", not " + text;
      },
      "");
}

CLI::Validator in_range(const Option& option) {
  return option.type == OptionType::kNumber ? number_in(option.low, option.high)
                                            : whole_in(option.whole_low(), option.whole_high());
}

std::string spelling(std::string_view name) {
  std::string text = "--" + std::string(name);
  std::replace(text.begin(), text.end(), '_', '-');
  return text;
}

CLI::Validator not_empty() {
  return CLI::Validator(
      [](std::string& text) { return text.empty() ? "must not be empty" : std::string(); }, "");
}

CLI::Option* add_named(CLI::App& command, const std::string& names, std::string& value,
                       const std::string& description, const std::string& type) {
  return command.add_option(names, value, description)->type_name(type)->check(not_empty());
}

std::function<std::string(const std::string&)> one_of(const std::vector<std::string>& words) {
  return [words](const std::string& word) {
    return std::find(words.begin(), words.end(), word) != words.end()
               ? std::string()
               : word + " is none of {" + CLI::detail::join(words, ",") + "}";
  };
}

CLI::Option* add_choice(CLI::App& command, const std::string& name, std::string& value,
                        const std::vector<std::string>& words, const std::string& description) {
  return command.add_option(name, value, description)
      ->type_name("{" + CLI::detail::join(words, ",") + "}")
      ->check(one_of(words));
}

void add_output_options(CLI::App& command, OutputOptions& options) {
  command.add_flag("--json", options.json, "Write one JSON object a line")->group("Output");
  command
      .add_flag("-q,--quiet", options.quiet, "No progress, timings and warnings on standard error")
      ->group("Output");
}

void add_progress_option(CLI::App& command, OutputOptions& options) {
  add_choice(command, "--progress", options.progress,
             {kProgressStyles.begin(), kProgressStyles.end()},
             "How progress is shown on standard error; auto: a bar on a terminal, else lines")
      ->capture_default_str()
      ->group("Output");
}

void add_adapter_option(CLI::App& command, std::vector<std::string>& adapters) {
  command
      .add_option("--adapter", adapters,
                  "LoRA adapter to merge into the model: a folder as peft saves it, or a name; may "
                  "be repeated")
      ->take_all()
      ->allow_extra_args(false)
      ->type_name("PATH")
      ->check(not_empty())
      ->group("Model");
}

void add_hub_options(CLI::App& command, HubFlags& flags) {
  CLI::Option* update = command
                            .add_flag("--update", flags.update,
                                      "Ask the hub whether a model given by name has moved on")
                            ->group("Model");
  command
      .add_flag("--offline", flags.offline,
                "Use no network: a model given by name must be in the cache; others never use it")
      ->group("Model")
      ->excludes(update);
}

void add_model_options(CLI::App& command, ModelOptions& options) {
  const std::string group = "Model";
  command
      .add_option(
          "-m,--model", options.model,
          "Name (ORG/NAME[@REVISION], or a short one of `blip models --known`), Hugging Face "
          "folder, .pth, .bin, .safetensors, .gguf or .bmodel (several files of one compiled model "
          "with commas); else $BLIP_MODEL, else the bundled model")
      ->type_name("PATH")
      ->check(not_empty())
      ->group(group);
  add_adapter_option(command, options.adapters);
  options.device_option =
      add_named(command, "--device", options.device,
                "Where to compute, see `blip devices`; not given, compiled models take a chip",
                "NAME")
          ->capture_default_str()
          ->group(group);
  add_choice(command, "--dtype", options.dtype, {"auto", "f32", "bf16", "int8", "f16"},
             "Number type of weights and products (f16: compiled models alone)")
      ->capture_default_str()
      ->group(group);
  add_row(command, option_named("threads"), options.threads, group, Shown::kNothing);
  add_hub_options(command, options.hub);
  add_sophon_options(command, options.sophon);
}

std::vector<CLI::Option*> add_limit_options(CLI::App& command, ImageLimits& limits) {
  const std::string group = "Input";
  return {add_row(command, option_named("max_pixels"), limits.max_pixels, group),
          add_row(command, option_named("max_memory"), limits.max_memory, group),
          add_row(command, option_named("max_bytes"), limits.max_bytes, group)};
}

CLI::Option* add_picture_options(CLI::App& command, PictureOptions& options) {
  CLI::Option* images =
      command
          .add_option("images", options.images,
                      "Picture, folder, pattern, @LIST of names, or - for standard input")
          ->type_name("IMAGE")
          ->check(not_empty());
  options.all.push_back(command
                            .add_flag("-0,--null", options.nul_lists,
                                      "Names in lists end with NUL, as find -print0 writes them")
                            ->group("Input"));
  options.all.push_back(
      command.add_option("--batch", options.batch, "Pictures per pass through the model")
          ->type_name("N")
          ->check(whole_in(1, kMaxBatch))
          ->capture_default_str()
          ->group("Input"));
  options.all.push_back(
      command
          .add_option("--exclude", options.exclude,
                      "Leave out files, and folders in folders, of this name (a pattern); with a "
                      "slash, of this path (below the folder or archive given); repeatable")
          ->type_name("GLOB")
          ->check(not_empty())
          ->allow_extra_args(false)
          ->group("Input"));
  options.all.push_back(command
                            .add_option("--newer-than", options.newer_than,
                                        "Pictures changed after this date (2026-01-31, "
                                        "2026-01-31T18:30:00) or after this file")
                            ->type_name("TIME")
                            ->check(not_empty())
                            ->group("Input"));
  options.all.push_back(
      add_named(command, "--image-column", options.image_column,
                "The column of Parquet files that holds the pictures; not given: the one that does",
                "NAME")
          ->group("Input"));
  options.all.push_back(add_background_option(command, options.decode.background));
  for (CLI::Option* option : add_limit_options(command, options.decode.limits))
    options.all.push_back(option);
  return images;
}

void add_pair_options(CLI::App& command, PictureOptions& options,
                      const std::vector<const char*>& keys) {
  options.pairs.emplace().keys = keys;
  options.images_option = add_named(command, "--images", options.pairs->images,
                                    "The folder of names in PAIRS.jsonl that are relative; else "
                                    "\"image\" is seen from here, \"file_name\" from the file",
                                    "FOLDER")
                              ->group("Input");
}

void check_pairs(const PictureOptions& options) {
  const bool lists = std::any_of(options.images.begin(), options.images.end(),
                                 [](const std::string& name) { return name.starts_with('@'); });
  if (!lists && !names_pair_file(options.images))
    refuse_given({options.images_option}, "without PAIRS.jsonl");
  std::error_code ignored;
  if (!options.pairs->images.empty() &&
      !std::filesystem::is_directory(options.pairs->images, ignored))
    throw Exit(kExitUsage, "--images: there is no folder " + options.pairs->images);
}

CLI::Option* add_background_option(CLI::App& command, std::optional<Color>& background) {
  const auto read = [&background](const std::string& text) { background = parse_color(text); };
  return command
      .add_option_function<std::string>(
          "--background", read,
          "Lay transparent pixels over this colour: #rrggbb or a basic name; not given: the "
          "colours beneath transparency show")
      ->type_name("COLOR")
      ->check([](const std::string& text) {
        try {
          parse_color(text);
          return std::string();
        } catch (const Error& error) {
          return std::string(error.what());
        }
      })
      ->group("Input");
}

InputFilter input_filter(const PictureOptions& options) {
  InputFilter filter{options.exclude, std::nullopt, options.subfolders};
  if (!options.newer_than.empty())
    filter.newer_than = read_time(options.newer_than, "--newer-than");
  return filter;
}

CLI::Option* add_repeated(CLI::App& command, const std::string& name,
                          std::vector<std::string>& values, const std::string& description) {
  return command.add_option(name, values, description)->type_name("TEXT")->allow_extra_args(false);
}

namespace {

// The value that the option has where it is not given: of a number that help shows.
std::string default_of(const Option& row, const GeneratedText& text) {
  return number_text(row.*text.defaults);
}

// std::visit's cases: the kinds of fields that GenerateOptions has.
template <class T>
CLI::Option* add_field(CLI::App& command, const std::string& name, const Option& row, T& value,
                       const GeneratedText& text) {
  return command.add_option(name, value, std::string(row.help))
      ->type_name("N")
      ->default_str(default_of(row, text))
      ->check(in_range(row));
}
CLI::Option* add_field(CLI::App& command, const std::string& name, const Option& row, bool& value,
                       const GeneratedText&) {
  return command.add_flag(name, value, std::string(row.help));
}
CLI::Option* add_field(CLI::App& command, const std::string& name, const Option& row,
                       std::vector<std::string>& value, const GeneratedText&) {
  return add_repeated(command, name, value, std::string(row.help) + "; may be repeated")
      ->type_name("WORD")
      ->check(not_empty());
}

}  // namespace

CLI::Option* GenerateFlags::named(std::string_view name) const {
  return std::find_if(all.begin(), all.end(),
                      [&](const auto& one) { return one.first->name == name; })
      ->second;
}

void add_generate_options(CLI::App& command, GenerateFlags& flags, const GeneratedText& text) {
  for (const Option& row : kOptions) {
    const std::string name = spelling(name_for(row, text));
    const auto add = [&](auto field) {
      if constexpr (!std::is_same_v<decltype(field), std::monostate>)
        flags.all.emplace_back(
            &row, add_field(command, name, row, flags.options.*field, text)->group("Decoding"));
    };
    std::visit(add, row.field);
  }
}

void refuse_given(const std::vector<CLI::Option*>& options, const std::string& why) {
  for (const CLI::Option* option : options)
    if (option->count() > 0) throw Exit(kExitUsage, option->get_name() + " has no effect " + why);
}

GenerateOptions checked(const GenerateFlags& flags) {
  GenerateOptions options = flags.options;
  const auto why = [&](const Option& row) {
    return row.use == OptionUse::kSampling ? "without --sample"
           : options.sample                ? "with --sample"
                                           : "with --beams 1: it compares beams";
  };
  for (const auto& [row, option] : flags.all)
    if (!row->has_effect(options)) refuse_given({option}, why(*row));
  if (options.min_length && *options.min_length > options.max_length) {
    if (flags.given("max_length")) {
      throw Exit(kExitUsage, "--min-length " + std::to_string(*options.min_length) +
                                 " is larger than --max-length " +
                                 std::to_string(options.max_length));
    }
    options.max_length = *options.min_length;
  }
  if (!options.sample && options.num_return > options.beams) {
    if (flags.given("beams")) {
      throw Exit(kExitUsage, std::to_string(options.num_return) +
                                 " texts cannot come from --beams " +
                                 std::to_string(options.beams) + "; use more beams or --sample");
    }
    options.beams = options.num_return;
  }
  return options;
}

CLI::Option* add_text_length(CLI::App& command, int& length) {
  return add_row(command, option_named("max_text_length"), length, "Input", Shown::kNothing);
}

void check_text_length(int length, const ModelInfo& info) {
  if (length <= info.max_text_length || length == 0) return;
  throw Exit(kExitUsage, "--max-text-length " + std::to_string(length) +
                             " is not possible: " + info.path + " reads texts of up to " +
                             std::to_string(info.max_text_length) + " tokens");
}

void fit_to_model(GenerateOptions& options, const GenerateFlags& flags, const ModelInfo& info) {
  // A length that nobody gave gives way to the model's; one that compiled decoding takes to mean
  // its own stays.
  if (info.max_length > 0 && info.fixed_length == 0 && !flags.given("max_length"))
    options.max_length = std::min(options.max_length, info.max_length);
  const auto refuse_length = [&](const char* option, int tokens) {
    if (info.max_length > 0 && tokens > info.max_length)
      throw Exit(kExitModel, option + std::to_string(tokens) + " is not possible: " + info.path +
                                 " writes texts of up to " + std::to_string(info.max_length) +
                                 " tokens, prompt included");
  };
  refuse_length("--min-length ", options.min_length.value_or(0));
  refuse_length("--max-length ", options.max_length);
  if (info.fixed_length == 0) return;
  const auto refuse = [&](const std::string& option) {
    throw Exit(kExitModel, option + " is not possible: " + info.path +
                               " has its decoding compiled in: greedy, up to " +
                               std::to_string(info.fixed_length) + " tokens, one text");
  };
  if (flags.options.sample) refuse(flags.named("sample")->get_name());
  for (const auto& [row, option] : flags.all) {
    if (option->count() == 0 || (option == flags.named("beams") && flags.options.beams == 1))
      continue;
    refuse(option->get_name() + " " + CLI::detail::join(option->results(), " "));
  }
}

std::vector<std::string> bmodels_of(const ModelOptions& options) {
  std::vector<std::string> files = options.sophon.files();
  if (!files.empty() && !options.model.empty())
    throw Exit(kExitUsage, "--model and a bmodel path exclude each other: one model at a time");
  return files.empty() ? split_bmodels(given_model(options.model)) : files;
}

Engine load_engine(const ModelOptions& options, Console& console) {
  const auto started = std::chrono::steady_clock::now();
  EngineOptions engine_options;
  engine_options.device = options.device;
  engine_options.dtype = parse_dtype(options.dtype);
  engine_options.threads = options.threads;
  engine_options.progress = [&](const char*, std::size_t done, std::size_t total) {
    stop_if_interrupted();
    if (done == 0) console.start_progress("tensors loaded", total);
    console.progress(done);
  };
  engine_options.adapters = adapter_paths(options.adapters, options.hub, console);
  const std::vector<std::string> files = bmodels_of(options);
  engine_options.device_options = options.sophon.device_options(files);
  const std::string path =
      files.empty() ? model_path(options.model, options.hub, console, engine_options.adapters)
                    : files.front();
  if (options.device_option && options.device_option->count() == 0)
    engine_options.device = files.empty() ? device_for(path) : options.sophon.device();
  try {
    const DeviceKind& kind = device_kind(engine_options.device);
    options.sophon.check(kind, files);
    if (kind.prints) keep_output_for_results(console.quiet());
    Engine engine = Engine::load(path, engine_options);
    console.end_progress();
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
    console.note("model " + engine.info().name + " on " + engine.device() + ", " +
                 to_string(engine.dtype()) + ", " + std::to_string(engine.threads()) +
                 (engine.threads() == 1 ? " thread" : " threads") + ", loaded in " +
                 fixed(seconds, 2) + " s");
    for (const std::string& warning : engine.info().warnings) console.warning(printable(warning));
    return engine;
  } catch (const Error& error) {
    // Here a file that cannot be read is the model.
    throw Exit(error.code() == ErrorCode::kUsage ? kExitUsage : kExitModel, error.what());
  }
}

Session make_session(const Engine& engine, Console& console) {
  SessionOptions options;
  options.cancel = [] { return interrupted() != 0; };
  options.warning = [&console](const std::string& message) { console.warning(message); };
  return Session(engine, options);
}

std::string task_list(const ModelInfo& info) {
  std::string list;
  const auto add = [&](bool can, const char* task) {
    if (can) list += (list.empty() ? "" : ", ") + std::string(task);
  };
  add(info.can_caption, "caption");
  add(info.can_match_itm, "match (ITM)");
  add(info.can_match_itc, "match (ITC), embed");
  add(info.can_ask, "ask");
  add(info.can_nlvr, "nlvr");
  return list.empty() ? "nothing" : list;
}

namespace {

struct PictureBytes {
  double vision = 0, kept = 0;
};

// A picture: its pixels, and for each token the stream, queries, keys and values, attention's
// output and the hidden layer in f32; then the keys and values that every layer of a text part
// keeps of it.
PictureBytes bytes_of_picture(const ModelInfo& info) {
  const auto vision = std::find_if(info.parts.begin(), info.parts.end(),
                                   [](const PartInfo& part) { return part.name == "vision"; });
  if (vision == info.parts.end() || info.patch_size == 0) return {};
  const double side = static_cast<double>(info.image_size) / info.patch_size,
               tokens = side * side + 1;
  PictureBytes bytes{
      4 * (3.0 * info.image_size * info.image_size + tokens * (7.0 * vision->width + vision->mlp))};
  for (const PartInfo& part : info.parts)
    if (part.name != "vision")
      bytes.kept = std::max(bytes.kept, 4 * tokens * 2.0 * part.width * part.layers);
  return bytes;
}

}  // namespace

void require_memory(int batch, const ModelInfo& info) {
  const PictureBytes bytes = bytes_of_picture(info);
  const double each = bytes.vision + bytes.kept, free = static_cast<double>(available_memory());
  if (each == 0 || free == 0) return;
  const double most = std::floor(free / each);
  if (batch <= most) return;
  throw Exit(kExitUsage, "--batch " + std::to_string(batch) + " needs about " +
                             fixed(batch * each / 1e9, 1) + " GB with this model, and " +
                             fixed(free / 1e9, 1) + " GB are free; use --batch " +
                             fixed(std::max(1.0, most), 0) + " or less");
}

int pictures_together(int batch, const Engine& engine) {
  // More of them do not make a text cheaper by much: what is read of each picture is more by then
  // than the weights.
  constexpr int kMost = 32;
  constexpr double kShareOfMemory = 0.125;
  const double kept = bytes_of_picture(engine.info()).kept,
               room = kShareOfMemory * static_cast<double>(available_memory());
  if (engine.device() != "cpu" || kept == 0) return batch;
  return std::max(batch, static_cast<int>(std::min<double>(kMost, room / kept)));
}

void require_task(bool can, const std::string& task, const ModelInfo& info) {
  if (!can)
    throw Exit(kExitModel,
               "model " + info.path + " cannot " + task + "; it can: " + task_list(info));
}

}  // namespace blip::cli
