// blip ask: answers questions about pictures.
#include "cli/ask.h"

#include <algorithm>
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
  blip ask cat.jpg --question "what animal is this?"
  blip ask cat.jpg --question "how many?" --question "what colour is it?" --json
  blip ask cat.jpg --question "what animal is this?" --answers animals.txt
  blip ask cat.jpg                 (asks at a prompt; "exit" or Ctrl-D ends)

One line per answer; with several pictures the path, and with several questions the question, come
first, with tabs between.)";

std::vector<Emit> answer_batch(Asker& asker, OneByOne<Generation>& one_by_one,
                               const AskFlags& flags, const AskColumns& columns, Console& console,
                               Timings& timings, std::span<const EncodedImage> images) {
  std::vector<Emit> emits;
  for (std::size_t i = 0; i < images.size(); ++i) {
    auto answers = one_by_one.run(flags.questions, [&](std::span<const std::string> questions) {
      return asker.ask(images[i], questions);
    });
    emits.push_back(
        [&flags, &console, &timings, columns, answers = std::move(answers)](const Input& input) {
          const std::string& name = input.name;
          for (std::size_t q = 0; q < answers.size(); ++q) {
            const std::string& question = flags.questions[q];
            if (!answers[q].result) {
              console.failed(joined(named("image", name), {{"question", question}}), question,
                             answers[q].error);
              continue;
            }
            timings.add_result(answers[q].result->decode_ms);
            print_answer(console, columns, name, question, *answers[q].result);
          }
        });
  }
  return emits;
}

// What generates has no say in ranking, and the other way round.
void check_ranking(const AskFlags& flags) {
  if (flags.answers_file.empty()) return refuse_given({flags.rank_option}, "without --answers");
  for (const auto& [row, option] : flags.generate.all)
    if (row->name != "num_return") refuse_given({option}, "with --answers, which are ranked");
}

int run_ask(const AskFlags& flags) {
  Console console(flags.output);
  AskOptions options;
  options.generate = checked(flags.generate);
  check_ranking(flags);
  options.rank_candidates = flags.rank_candidates;
  options.max_text_length = flags.max_text_length;
  check_texts(flags.questions, "--question");
  const auto& images = flags.pictures.images;
  const bool at_prompt = flags.questions.empty();
  if (at_prompt && std::find(images.begin(), images.end(), "-") != images.end()) {
    throw Exit(kExitUsage, "with the picture on standard input, questions come from --question");
  }
  std::vector<std::string> answers;
  if (!flags.answers_file.empty()) answers = read_lines(flags.answers_file, "--answers");
  const Engine engine = load_engine(flags.model, console);
  require_memory(flags.pictures.batch, engine.info());
  const ModelInfo& info = engine.info();
  require_task(answers.empty() ? info.can_ask : info.can_rank,
               answers.empty() ? "ask" : "ask with a list of answers", info);
  if (answers.empty()) fit_to_model(options.generate, flags.generate, info);
  check_text_length(flags.max_text_length, info);
  Session session = make_session(engine, console);
  Asker asker(session, console, options, answers,
              flags.generate.given("num_return")
                  ? static_cast<std::size_t>(flags.generate.options.num_return)
                  : 0);
  if (at_prompt) return run_ask_prompt(engine, session, asker, flags, console);

  const Stopwatch watch;
  Timings timings;
  const AskColumns columns{names_needed(images), flags.questions.size() > 1, wants_all(flags)};
  OneByOne<Generation> one_by_one(flags.questions.size());
  const auto task = [&](std::span<const EncodedImage> encoded) {
    return answer_batch(asker, one_by_one, flags, columns, console, timings, encoded);
  };
  run_pictures(engine, session, flags.pictures, console, timings, task);
  if (flags.model.sophon.demo_times)
    note_sophon_demo_times(console, timings);
  else
    note_timings(console, timings, watch.ms() / 1000, "answer");
  return exit_code(console);
}

}  // namespace

std::vector<Generation> Asker::ask(const EncodedImage& image,
                                   std::span<const std::string> questions) {
  if (answers_.empty()) return session_.ask(image, questions, options_);
  std::vector<Generation> results;
  for (const std::string& question : questions) {
    const Stopwatch watch;
    results.push_back(rank(image, question));
    results.back().decode_ms = watch.ms();
  }
  return results;
}

Generation Asker::rank(const EncodedImage& image, const std::string& question) {
  Generation ranked;
  try {
    ranked = session_.rank(image, question, answers_, options_);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kUsage || checked_) throw;
    drop_bad_answers(image);
    ranked = session_.rank(image, question, answers_, options_);
  }
  if (most_ > 0) ranked.all.resize(std::min(ranked.all.size(), most_));
  return ranked;
}

void Asker::drop_bad_answers(const EncodedImage& image) {
  checked_ = true;
  std::vector<std::string> good;
  for (const std::string& answer : answers_) {
    try {
      // With a question that is surely one: the user's may be what was refused.
      session_.rank(image, "is this an answer", {&answer, 1}, options_);
      good.push_back(answer);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kUsage) throw;
      console_.failed(Json{{"answer", answer}}, answer, error.what());
    }
  }
  if (good.empty()) throw Exit(kExitUsage, "none of the answers can be ranked");
  answers_ = std::move(good);
}

void note_sophon_demo_times(Console& console, const Timings& timings) {
  const auto answers = static_cast<double>(timings.results);
  note_sophon_demo_times(console, SophonDemoProgram::kAsk, timings.results,
                         timings.preprocess_ms / answers, timings.predict_ms / answers);
}

bool wants_all(const AskFlags& flags) { return flags.generate.given("num_return"); }

void print_answer(Console& console, const AskColumns& columns, const std::string& image,
                  const std::string& question, const Generation& answer) {
  if (console.json()) {
    Json object = joined(named("image", image), {{"question", question},
                                                 {"answer", answer.text},
                                                 {"token_ids", answer.token_ids},
                                                 {"score", json_number(answer.score)}});
    if (answer.all.size() > 1) {
      for (const Text& text : answer.all) {
        object["answers"].push_back({{"answer", text.text},
                                     {"score", json_number(text.score)},
                                     {"token_ids", text.token_ids}});
      }
    }
    return console.object(object);
  }
  std::string prefix = columns.image ? printable(image) + '\t' : "";
  if (columns.question) prefix += printable(question) + '\t';
  if (!columns.all) return console.line(prefix + printable(answer.text));
  for (const Text& text : answer.all) console.line(prefix + printable(text.text));
}

void add_ask(CLI::App& app, Run& run) {
  auto flags = std::make_shared<AskFlags>();
  flags->generate.options = AskOptions().generate;
  CLI::App& command = *app.add_subcommand("ask", "Answer questions about pictures");
  add_picture_options(command, flags->pictures)->required();
  add_repeated(command, "--question", flags->questions,
               "A question; repeatable; without one, asks at a prompt")
      ->group("Input");
  add_named(command, "--answers", flags->answers_file,
            "File of answers, one a line: ranks them instead of writing one", "FILE")
      ->group("Input");
  flags->rank_option =
      add_row(command, option_named("rank_candidates"), flags->rank_candidates, "Decoding");
  add_text_length(command, flags->max_text_length);
  add_generate_options(command, flags->generate, kAnswerText);
  add_model_options(command, flags->model);
  add_sophon_demo_times(command, flags->model.sophon);
  add_output_options(command, flags->output);
  add_trace_option(command, flags->output);
  add_progress_option(command, flags->output);
  command.footer(kExamples);
  command.callback(
      [flags, &run] { run = traced(flags->output, [flags] { return run_ask(*flags); }); });
}

}  // namespace blip::cli
