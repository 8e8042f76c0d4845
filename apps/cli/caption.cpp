// blip caption: describes pictures.
#include "cli/caption.h"

#include <limits>
#include <memory>

#include "cli/commands.h"
#include "cli/exit.h"
#include "cli/identity.h"
#include "cli/inputs.h"
#include "cli/pictures.h"
#include "cli/trace.h"

namespace blip::cli {
namespace {

constexpr const char* kCaptionExamples = R"(Examples:
  blip caption cat.jpg
  blip caption photos/ 'more/*.png' --output captions.jsonl
  blip caption photos/ --sidecar .txt --trigger "photo of sks"
  blip caption cat.jpg --beams 5 --num-captions 5
  blip caption cat.jpg --sample --top-p 0.9 --seed 1 --num-captions 3
  find photos -name '*.jpg' -print0 | blip caption @- -0 --output captions.csv
  curl -s https://example.org/cat.jpg | blip caption -

One line per caption; with several pictures the path and a tab come first. With --output or
--sidecar captions go to files instead, and the same command goes on where it was stopped.)";

struct CaptionFlags {
  OutputOptions output;
  ModelOptions model;
  PictureOptions pictures;
  GenerateFlags generate;
  JobFlags job;
  jobs::WordingOptions wording;
  CLI::Option* tags_option = nullptr;
  std::string dedupe;  // "" = not given
  int near_distance = static_cast<int>(option_named("near_distance").caption);
  CLI::Option* near_option = nullptr;
  std::string prompt;
  CLI::Option* prompt_option = nullptr;
};

// A caption in the words that the files and lines have.
Generation worded(Generation generation, const jobs::Wording& wording, const std::string& name) {
  if (wording.is_plain()) return generation;
  generation.text = wording.apply(name, generation.text);
  for (Text& text : generation.all) text.text = wording.apply(name, text.text);
  return generation;
}

// Of --dedupe: near duplicates; what CLI11 makes of a flag without a value.
constexpr const char *kNear = "near", *kAlone = "true";

// What is told of a picture's times.
struct Times {
  Times() = default;
  explicit Times(const EncodedImage& image)
      : preprocess_ms(image.preprocess_ms()), encode_ms(image.encode_ms()) {}
  double preprocess_ms = 0, encode_ms = 0;
};

// times: nullptr = none, as in files, which are the same whenever they are made.
Json to_json(const Input& input, const Generation& generation, const Times* times) {
  Json object = joined(named("image", input.name), {{"caption", generation.text},
                                                    {"token_ids", generation.token_ids},
                                                    {"score", json_number(generation.score)}});
  if (times)
    object["timings_ms"] = {{"preprocess", json_ms(times->preprocess_ms)},
                            {"encode", json_ms(times->encode_ms)},
                            {"decode", json_ms(generation.decode_ms)}};
  if (generation.all.size() > 1) {
    for (const Text& text : generation.all) {
      object["captions"].push_back({{"caption", text.text},
                                    {"score", json_number(text.score)},
                                    {"token_ids", text.token_ids}});
    }
  }
  if (!input.duplicate_of.empty())
    object = joined(std::move(object), named("duplicate_of", input.duplicate_of));
  return object;
}

// A result as bytes, and back: for as many as near duplicates are looked for among.
std::string packed(const Times& times, const Generation& generation) {
  const auto text_json = [](const Text& text) {
    return Json{text.text, text.token_ids, json_number(text.score)};
  };
  Json json{times.preprocess_ms, times.encode_ms, generation.decode_ms, text_json(generation)};
  if (generation.all.size() > 1)
    for (const Text& text : generation.all) json.push_back(text_json(text));
  const std::vector<std::uint8_t> bytes = Json::to_cbor(json);
  return {bytes.begin(), bytes.end()};
}

struct Unpacked {
  explicit Unpacked(const std::string& bytes) {
    const Json json = Json::from_cbor(bytes);
    const auto read = [](const Json& from, Text& text) {
      text.text = from[0].get<std::string>();
      text.token_ids = from[1].get<std::vector<std::int32_t>>();
      text.score =
          from[2].is_null() ? std::numeric_limits<float>::quiet_NaN() : from[2].get<float>();
    };
    times.preprocess_ms = json[0];
    times.encode_ms = json[1];
    generation.decode_ms = json[2];
    read(json[3], generation);
    for (std::size_t i = 4; i < json.size(); ++i) read(json[i], generation.all.emplace_back());
  }

  Times times;
  Generation generation;
};

void print(Console& console, const Input& input, bool with_name, const Times& times,
           const Generation& generation) {
  if (console.json()) return console.object(to_json(input, generation, &times));
  const std::string prefix = with_name ? printable(input.name) + '\t' : "";
  if (generation.all.size() <= 1) return console.line(prefix + printable(generation.text));
  for (const Text& text : generation.all) console.line(prefix + printable(text.text));
}

// Of pictures of which one may have no caption with all the words: that is the picture's failure.
std::vector<Generation> captions_of(Session& session, std::span<const EncodedImage> images,
                                    const CaptionOptions& options) {
  try {
    return session.caption(images, options);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kUsage || options.generate.force_words.empty()) throw;
    throw Error(ErrorCode::kImage, error.what());
  }
}

// What captions depend on.
Json identity_of(const CaptionPlan& plan, const CaptionOptions& options, const Engine& engine) {
  Json identity = identity_of("caption", engine, plan.pictures);
  identity["--prompt"] = options.prompt ? Json(*options.prompt) : Json(nullptr);
  add_decoding(identity, options.generate, kCaptionText);
  const jobs::WordingOptions& wording = plan.wording;
  identity["--prefix"] = wording.prefix;
  identity["--suffix"] = wording.suffix;
  identity["--trigger"] = wording.trigger;
  identity["--template"] = wording.pattern;
  identity["--tags"] = wording.tags_extension;
  identity["--include-prompt"] = wording.include_prompt;
  if (const std::optional<int> distance = plan.pictures.dedupe.near_distance) {
    identity["--dedupe"] = "near";
    identity["--near-distance"] = *distance;
  }
  return identity;
}

// The first caption alone goes to a file that has one a picture.
void check_several(const CaptionPlan& plan) {
  if (plan.options.generate.num_return == 1 || !plan.job.is_job()) return;
  const auto rows_hold_all = [&] {
    const jobs::Format format = jobs::format_of(plan.job.output, *plan.job.table);
    return format == jobs::Format::kJsonl || format == jobs::Format::kParquet;
  };
  if (plan.job.writes_beside() || !rows_hold_all())
    throw Exit(kExitUsage, "several captions a picture fit into .jsonl and .parquet files alone");
}

void check_wording(const CaptionFlags& flags) {
  const jobs::WordingOptions& wording = flags.wording;
  check_utf8(wording.prefix, "--prefix");
  check_utf8(wording.suffix, "--suffix");
  check_utf8(wording.trigger, "--trigger");
  check_utf8(wording.pattern, "--template");
  if (wording.pattern.find("{tags}") == std::string::npos)
    refuse_given({flags.tags_option}, "without {tags} in --template");
}

Dedupe dedupe_of(const CaptionFlags& flags) {
  const bool near = flags.dedupe == kNear;
  if (!near) refuse_given({flags.near_option}, "without --dedupe=near");
  return {!flags.dedupe.empty(), near ? std::optional(flags.near_distance) : std::nullopt};
}

int run_caption(const CaptionFlags& flags) {
  Console console(flags.output);
  CaptionPlan plan{flags.output, flags.model, flags.pictures, flags.job, flags.wording, {}, {}};
  if (flags.prompt_option->count() > 0) plan.options.prompt = flags.prompt;
  plan.options.generate = checked(flags.generate);
  check_utf8(flags.prompt, "--prompt");
  check_wording(flags);
  plan.pictures.dedupe = dedupe_of(flags);
  plan.fit = [&flags](GenerateOptions& options, const ModelInfo& info) {
    fit_to_model(options, flags.generate, info);
  };
  return run_captions(std::move(plan), console);
}

// A flag, so that `--dedupe photos/` is not about a kind of duplicates called photos/.
void add_dedupe_options(CLI::App& command, CaptionFlags& flags) {
  command
      .add_flag("--dedupe", flags.dedupe,
                "Work once on files with the same bytes, or with --dedupe=near on pictures that "
                "look the same; each still has its caption")
      ->check([](const std::string& kind) {
        const bool known = kind == kAlone || kind == "exact" || kind == kNear;
        return known ? std::string() : kind + " is none of {exact,near}";
      })
      ->group("Input");
  flags.near_option = add_row(command, option_named("near_distance"), flags.near_distance, "Input");
}

void add_wording_options(CLI::App& command, CaptionFlags& flags) {
  const std::string group = "Wording";
  const auto add = [&](const char* name, std::string& value, const char* description) {
    return command.add_option(name, value, description)
        ->type_name("TEXT")
        ->check(not_empty())
        ->group(group);
  };
  add("--prefix", flags.wording.prefix, "Put this before each text");
  add("--suffix", flags.wording.suffix, "Put this behind each text");
  add("--trigger", flags.wording.trigger, "Begin each text with this word and a comma");
  add("--template", flags.wording.pattern,
      "What a text is made of: {caption}, {name} and {folder} of the picture, {tags} of a file "
      "beside it; {{ and }} are braces")
      ->capture_default_str();
  flags.tags_option =
      add("--tags", flags.wording.tags_extension, "The ending of the file whose text is {tags}")
          ->type_name("ENDING")
          ->capture_default_str();
  command
      .add_flag("--include-prompt", flags.wording.include_prompt,
                "Keep the prompt that a caption continues")
      ->group(group);
}

}  // namespace

int run_captions(CaptionPlan plan, Console& console) {
  check_job(plan.job, plan.output, plan.pictures.images);
  check_several(plan);
  // What is wrong with it is told before a model is loaded.
  [[maybe_unused]] const jobs::Wording checked(plan.wording, "");
  const Engine engine = load_engine(plan.model, console);
  const ModelInfo& info = engine.info();
  require_memory(plan.pictures.batch, info);
  plan.pictures.together = pictures_together(plan.pictures.batch, engine);
  require_task(info.can_caption, "caption", info);
  CaptionOptions options = plan.options;
  plan.fit(options.generate, info);
  Session session = make_session(engine, console);
  session.caption(std::span<const EncodedImage>(), options);  // are the words words?
  const jobs::Wording wording(plan.wording, options.prompt.value_or(info.prompt));
  const std::unique_ptr<Job> job =
      make_job(plan.job, identity_of(plan, options, engine), plan.pictures, console);

  const Stopwatch watch;
  Timings timings;
  const bool with_names = names_needed(plan.pictures.images);
  const auto give_out = [&](const Input& input, const Times& times, Generation generation) {
    timings.add_result(generation.decode_ms);
    const Generation caption = worded(std::move(generation), wording, input.name);
    if (plan.log_captions) console.note(input.name + " " + caption.text);
    if (!job) return print(console, input, with_names, times, caption);
    job->add(input, {to_json(input, caption, nullptr)}, caption.text);
  };
  const bool near = plan.pictures.dedupe.near_distance.has_value();
  const auto task = [&](std::span<const EncodedImage> images, auto) {
    const std::vector<Generation> captions = captions_of(session, images, options);
    std::vector<Emit> emits;
    for (std::size_t i = 0; i < images.size(); ++i) {
      const Times times(images[i]);
      emits.emplace_back([&give_out, times, caption = captions[i]](
                             const Input& input) { give_out(input, times, caption); },
                         near ? packed(times, captions[i]) : "");
    }
    return emits;
  };
  const auto unpack = [&give_out](const std::string& bytes) -> Emit {
    return [&give_out, result = Unpacked(bytes)](const Input& input) {
      give_out(input, result.times, result.generation);
    };
  };
  run_pictures(engine, session, plan.pictures, console, timings, task, job.get(), unpack);
  if (job) job->finish();
  const auto pictures = static_cast<double>(timings.pictures);
  if (plan.model.sophon.demo_times)
    note_sophon_demo_times(console, SophonDemoProgram::kCaption, timings.pictures,
                           timings.preprocess_ms / pictures,
                           (timings.encode_ms + timings.predict_ms) / pictures);
  else
    note_timings(console, timings, watch.ms() / 1000, "decode");
  return exit_code(console, job.get());
}

void add_caption(CLI::App& app, Run& run) {
  auto flags = std::make_shared<CaptionFlags>();
  CLI::App& command = *app.add_subcommand("caption", "Describe pictures");
  add_picture_options(command, flags->pictures)->required();
  add_dedupe_options(command, *flags);
  add_job_options(command, flags->job);
  add_sidecar_options(command, flags->job);
  flags->prompt_option = command
                             .add_option("--prompt", flags->prompt,
                                         "The caption continues this text; \"\" = no prompt; not "
                                         "given: the model's own, which blip info shows")
                             ->type_name("TEXT")
                             ->group("Decoding");
  add_generate_options(command, flags->generate, kCaptionText);
  add_wording_options(command, *flags);
  add_model_options(command, flags->model);
  add_sophon_demo_times(command, flags->model.sophon);
  add_output_options(command, flags->output);
  add_trace_option(command, flags->output);
  add_progress_option(command, flags->output);
  command.footer(kCaptionExamples);
  command.callback(
      [flags, &run] { run = traced(flags->output, [flags] { return run_caption(*flags); }); });
}

}  // namespace blip::cli
