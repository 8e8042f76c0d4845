// blip match: how well texts fit pictures.
#include <memory>

#include "cli/commands.h"
#include "cli/exit.h"
#include "cli/identity.h"
#include "cli/inputs.h"
#include "cli/itemwise_retry.h"
#include "cli/job.h"
#include "cli/pair_reader.h"
#include "cli/pictures.h"
#include "cli/trace.h"

namespace blip::cli {
namespace {

constexpr const char* kMatchExamples = R"(Examples:
  blip match cat.jpg --text "a cat on a sofa" --text "two dogs"
  blip match photos/ --texts captions.txt --json
  blip match pairs.jsonl --output scores.jsonl

One line per picture and text: match probability (0 to 1, - without the ITM head), cosine (-1 to
1, - without the ITC heads) and the text, separated by tabs; with several pictures the path comes
first. A picture is encoded once for all texts. The ITM head reads every text over the picture,
the ITC heads read it alone: --head itm halves the time of a text, --head itc takes nearly all.

A line of PAIRS.jsonl is {"image": "a.jpg", "text": "a cat"}, or has "texts", "caption" or
"captions"; all its fields are in its results. With --output scores go to a file, and the same
command goes on where it was stopped.)";

struct MatchFlags {
  OutputOptions output;
  ModelOptions model;
  PictureOptions pictures;
  JobFlags job{jobs::kMatches};
  std::vector<std::string> texts;
  std::string texts_file;
  std::string head = "all", itm_token = kItmTokens.front();
  CLI::Option* itm_token_option = nullptr;
  int max_text_length = 0;
};

using Matches = std::vector<Outcome<Match>>;

std::string optional_text(const std::optional<float>& value) {
  return value ? fixed(*value, 4) : "-";
}

Json to_json(const Input& input, const std::string& text, const Match& match) {
  return joined(object_of_text(input, "text", text),
                {{"match_probability", json_number(match.match_probability)},
                 {"cosine", json_number(match.cosine)}});
}

void print(Console& console, const Input& input, bool with_name, const std::string& text,
           const Outcome<Match>& outcome) {
  if (!outcome.result)
    return console.failed(object_of_text(input, "text", text), text, outcome.error);
  const Match& match = *outcome.result;
  if (console.json()) return console.object(to_json(input, text, match));
  console.line((with_name ? printable(input.name) + '\t' : "") +
               optional_text(match.match_probability) + '\t' + optional_text(match.cosine) + '\t' +
               printable(text));
}

// A picture without one of its scores has failed.
void add(Job& job, const Input& input, const std::vector<std::string>& texts,
         const Matches& matches) {
  std::vector<Json> rows;
  for (std::size_t t = 0; t < texts.size(); ++t) {
    require_result(matches[t], texts[t]);
    rows.push_back(to_json(input, texts[t], *matches[t].result));
  }
  job.add(input, rows);
}

std::vector<std::string> texts_of(const MatchFlags& flags) {
  std::vector<std::string> texts = given_texts(flags.texts, flags.texts_file);
  if (texts.empty() && !names_pair_file(flags.pictures.images))
    throw Exit(kExitUsage,
               "match needs a text: --text TEXT or --texts FILE, or pairs in PAIRS.jsonl");
  return texts;
}

void require_heads(const MatchFlags& flags, MatchHead head, const ModelInfo& info) {
  require_task(info.can_match_itm || info.can_match_itc, "match", info);
  if (head != MatchHead::kAll)
    require_task(head == MatchHead::kItm ? info.can_match_itm : info.can_match_itc,
                 "match with --head " + flags.head, info);
}

Json identity_of(const MatchFlags& flags, const std::vector<std::string>& texts,
                 const Engine& engine) {
  Json identity = identity_of("match", engine, flags.pictures);
  identity["--head"] = flags.head;
  if (flags.head != "itc") identity["--itm-token"] = flags.itm_token;
  identity["--max-text-length"] = flags.max_text_length;
  identity["--text"] = identity_of_texts(texts);
  return identity;
}

void note_times(Console& console, const MatchFlags& flags, const Timings& timings, double ms,
                std::size_t texts) {
  const auto pictures = static_cast<double>(timings.pictures),
             pairs = pictures * static_cast<double>(texts);
  if (flags.model.sophon.demo_times)
    note_sophon_demo_times(console, SophonDemoProgram::kMatch, texts,
                           timings.preprocess_ms / pictures,
                           (timings.encode_ms + timings.predict_ms) / pairs);
  else
    note_timings(console, timings, ms / 1000,
                 texts <= 1 ? "match" : "match of " + std::to_string(texts) + " texts");
}

int run_match(MatchFlags flags) {
  Console console(flags.output);
  check_job(flags.job, flags.output, flags.pictures.images);
  check_pairs(flags.pictures);
  const std::vector<std::string> texts = texts_of(flags);
  flags.pictures.pairs->needs_texts = texts.empty();
  if (flags.head == "itc") refuse_given({flags.itm_token_option}, "with --head itc");
  const Engine engine = load_engine(flags.model, console);
  require_memory(flags.pictures.batch, engine.info());
  const MatchOptions options{parse_match_head(flags.head), flags.max_text_length,
                             parse_itm_token(flags.itm_token)};
  require_heads(flags, options.head, engine.info());
  check_text_length(flags.max_text_length, engine.info());
  Session session = make_session(engine, console);
  const std::unique_ptr<Job> job =
      make_job(flags.job, identity_of(flags, texts, engine), flags.pictures, console);

  const Stopwatch watch;
  Timings timings;
  const bool with_names = names_needed(flags.pictures.images);
  ItemwiseRetry<Match> retry(texts.size());
  const auto give_out = [&](const Input& input, double ms, const Matches& matches) {
    timings.add_result(ms);
    const std::vector<std::string>& own = texts_for(texts, input.texts, "--text");
    if (job) return add(*job, input, own, matches);
    for (std::size_t t = 0; t < own.size(); ++t)
      print(console, input, with_names, own[t], matches[t]);
  };
  const auto task = [&](std::span<const EncodedImage> images,
                        std::span<const Decoded* const> inputs) {
    std::vector<Emit> emits;
    for (std::size_t i = 0; i < images.size(); ++i) {
      const Stopwatch match_watch;
      const auto work = [&](std::span<const std::string> part) {
        return session.match(images[i], part, options);
      };
      Matches matches = run_texts(retry, texts, inputs[i]->texts, work);
      emits.push_back([&give_out, matches = std::move(matches), ms = match_watch.ms()](
                          const Input& input) { give_out(input, ms, matches); });
    }
    return emits;
  };
  run_pictures(engine, session, flags.pictures, console, timings, task, job.get());
  if (job) job->finish();
  note_times(console, flags, timings, watch.ms(), texts.size());
  return exit_code(console, job.get());
}

}  // namespace

void add_match(CLI::App& app, Run& run) {
  auto flags = std::make_shared<MatchFlags>();
  CLI::App& command = *app.add_subcommand("match", "Say how well texts fit pictures");
  add_picture_options(command, flags->pictures)->required();
  add_pair_options(command, flags->pictures, kTextKeys);
  add_job_options(command, flags->job);
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
  command.footer(kMatchExamples);
  command.callback(
      [flags, &run] { run = traced(flags->output, [flags] { return run_match(*flags); }); });
}

}  // namespace blip::cli
