// blip match: how well texts fit pictures.
#include <memory>

#include "cli/commands.h"
#include "cli/exit.h"
#include "cli/inputs.h"
#include "cli/one_by_one.h"
#include "cli/pictures.h"
#include "cli/trace.h"

namespace blip::cli {
namespace {

constexpr const char* kExamples = R"(Examples:
  blip match cat.jpg --text "a cat on a sofa" --text "two dogs"
  blip match photos/ --texts captions.txt --json

One line per picture and text: match probability (0 to 1, - without the ITM head), cosine (-1 to
1, - without the ITC heads) and the text, separated by tabs; with several pictures the path comes
first. A picture is encoded once for all texts. The ITM head reads every text over the picture,
the ITC heads read it alone: --head itm halves the time of a text, --head itc takes nearly all.)";

struct MatchFlags {
  OutputOptions output;
  ModelOptions model;
  PictureOptions pictures;
  std::vector<std::string> texts;
  std::string texts_file;
  std::string head = "all", itm_token = kItmTokens.front();
  CLI::Option* itm_token_option = nullptr;
  int max_text_length = 0;
};

Json optional_number(const std::optional<float>& value) {
  return value ? json_number(*value) : Json(nullptr);
}

std::string optional_text(const std::optional<float>& value) {
  return value ? fixed(*value, 4) : "-";
}

void print(Console& console, const std::string& name, bool with_name, const std::string& text,
           const Outcome<Match>& outcome) {
  Json row = joined(named("image", name), {{"text", text}});
  if (!outcome.result) return console.failed(row, text, outcome.error);
  const Match& match = *outcome.result;
  if (console.json()) {
    row["match_probability"] = optional_number(match.match_probability);
    row["cosine"] = optional_number(match.cosine);
    return console.object(row);
  }
  console.line((with_name ? printable(name) + '\t' : "") + optional_text(match.match_probability) +
               '\t' + optional_text(match.cosine) + '\t' + printable(text));
}

int run_match(const MatchFlags& flags) {
  Console console(flags.output);
  std::vector<std::string> texts = flags.texts;
  if (!flags.texts_file.empty()) {
    for (std::string& line : read_lines(flags.texts_file, "--texts"))
      texts.push_back(std::move(line));
  }
  if (texts.empty()) throw Exit(kExitUsage, "match needs a text: --text TEXT or --texts FILE");
  check_texts(texts, "--text");
  if (flags.head == "itc") refuse_given({flags.itm_token_option}, "with --head itc");
  const Engine engine = load_engine(flags.model, console);
  require_memory(flags.pictures.batch, engine.info());
  const MatchOptions options{parse_match_head(flags.head), flags.max_text_length,
                             parse_itm_token(flags.itm_token)};
  const ModelInfo& info = engine.info();
  require_task(info.can_match_itm || info.can_match_itc, "match", info);
  if (options.head != MatchHead::kAll)
    require_task(options.head == MatchHead::kItm ? info.can_match_itm : info.can_match_itc,
                 "match with --head " + flags.head, info);
  check_text_length(flags.max_text_length, info);
  Session session = make_session(engine, console);

  const Stopwatch watch;
  Timings timings;
  const bool with_names = names_needed(flags.pictures.images);
  OneByOne<Match> one_by_one(texts.size());
  const auto task = [&](std::span<const EncodedImage> images) {
    std::vector<Emit> emits;
    for (std::size_t i = 0; i < images.size(); ++i) {
      const Stopwatch match_watch;
      const auto work = [&](std::span<const std::string> part) {
        return session.match(images[i], part, options);
      };
      std::vector<Outcome<Match>> matches = one_by_one.run(texts, work);
      emits.push_back([&console, &timings, &texts, with_names, matches = std::move(matches),
                       ms = match_watch.ms()](const Input& input) {
        timings.add_result(ms);
        for (std::size_t t = 0; t < texts.size(); ++t)
          print(console, input.name, with_names, texts[t], matches[t]);
      });
    }
    return emits;
  };
  run_pictures(engine, session, flags.pictures, console, timings, task);
  const auto pictures = static_cast<double>(timings.pictures),
             pairs = pictures * static_cast<double>(texts.size());
  if (flags.model.sophon.demo_times)
    note_sophon_demo_times(console, SophonDemoProgram::kMatch, texts.size(),
                           timings.preprocess_ms / pictures,
                           (timings.encode_ms + timings.predict_ms) / pairs);
  else
    note_timings(
        console, timings, watch.ms() / 1000,
        texts.size() == 1 ? "match" : "match of " + std::to_string(texts.size()) + " texts");
  return exit_code(console);
}

}  // namespace

void add_match(CLI::App& app, Run& run) {
  auto flags = std::make_shared<MatchFlags>();
  CLI::App& command = *app.add_subcommand("match", "Say how well texts fit pictures");
  add_picture_options(command, flags->pictures)->required();
  add_repeated(command, "--text", flags->texts, "A text to compare; repeatable")->group("Input");
  add_named(command, "--texts", flags->texts_file, "File of texts, one a line", "FILE")
      ->group("Input");
  add_choice(command, "--head", flags->head, {kMatchHeads.begin(), kMatchHeads.end()},
             "Match probability (itm), cosine (itc) or both")
      ->capture_default_str()
      ->group("Input");
  flags->itm_token_option =
      add_choice(command, "--itm-token", flags->itm_token, {kItmTokens.begin(), kItmTokens.end()},
                 "What a text begins with for the ITM head: [CLS], as in the published demo and "
                 "transformers, or [ENC], as in training and the official evaluation")
          ->capture_default_str()
          ->group("Input");
  add_text_length(command, flags->max_text_length);
  add_model_options(command, flags->model);
  add_sophon_demo_times(command, flags->model.sophon);
  add_output_options(command, flags->output);
  add_trace_option(command, flags->output);
  add_progress_option(command, flags->output);
  command.footer(kExamples);
  command.callback(
      [flags, &run] { run = traced(flags->output, [flags] { return run_match(*flags); }); });
}

}  // namespace blip::cli
