// blip ask: answers questions about pictures.
#include "cli/ask.h"

#include <algorithm>
#include <memory>

#include "cli/commands.h"
#include "cli/exit.h"
#include "cli/identity.h"
#include "cli/inputs.h"
#include "cli/itemwise_retry.h"
#include "cli/pair_reader.h"
#include "cli/pictures.h"
#include "cli/trace.h"

namespace blip::cli {
namespace {

constexpr const char* kAskExamples = R"(Examples:
  blip ask cat.jpg --question "what animal is this?"
  blip ask cat.jpg --question "how many?" --question "what colour is it?" --json
  blip ask cat.jpg --question "what animal is this?" --answers animals.txt
  blip ask questions.jsonl --output answers.jsonl
  blip ask cat.jpg                 (asks at a prompt; "exit" or Ctrl-D ends)

One line per answer; with several pictures the path, and with several questions the question, come
first, with tabs between.

A line of PAIRS.jsonl is {"image": "a.jpg", "question": "what is it?"}, or has "questions"; all its
fields are in its results. With --output answers go to a file, and the same command goes on where
it was stopped.)";

const std::vector<const char*> kQuestionKeys = {"question", "questions"};

using Answers = std::vector<Outcome<Generation>>;

Json to_json(const Input& input, const std::string& question, const Generation& answer) {
  Json object =
      joined(object_of_text(input, "question", question), {{"answer", answer.text},
                                                           {"token_ids", answer.token_ids},
                                                           {"score", json_number(answer.score)}});
  if (answer.all.size() > 1) {
    object["answers"] = Json::array();
    for (const Text& text : answer.all) {
      object["answers"].push_back({{"answer", text.text},
                                   {"score", json_number(text.score)},
                                   {"token_ids", text.token_ids}});
    }
  }
  return object;
}

// A picture without one of its answers has failed.
void add(Job& job, const Input& input, const std::vector<std::string>& questions,
         const Answers& answers) {
  std::vector<Json> rows;
  for (std::size_t q = 0; q < questions.size(); ++q) {
    require_result(answers[q], questions[q]);
    rows.push_back(to_json(input, questions[q], *answers[q].result));
  }
  job.add(input, rows);
}

void print(Console& console, const AskColumns& columns, const Input& input,
           const std::vector<std::string>& questions, const Answers& answers) {
  for (std::size_t q = 0; q < questions.size(); ++q) {
    if (answers[q].result)
      print_answer(console, columns, input, questions[q], *answers[q].result);
    else
      console.failed(object_of_text(input, "question", questions[q]), questions[q],
                     answers[q].error);
  }
}

// What generates has no say in ranking, and the other way round.
void check_ranking(const AskFlags& flags) {
  if (flags.answers_file.empty()) return refuse_given({flags.rank_option}, "without --answers");
  for (const auto& [row, option] : flags.generate.all)
    if (row->name != "num_return") refuse_given({option}, "with --answers, which are ranked");
}

Json identity_of(const AskFlags& flags, const AskOptions& options,
                 const std::vector<std::string>& answers, const Engine& engine) {
  Json identity = identity_of("ask", engine, flags.pictures);
  identity["--question"] = identity_of_texts(flags.questions);
  identity["--answers"] = identity_of_texts(answers);
  identity["--max-text-length"] = options.max_text_length;
  if (answers.empty())
    add_decoding(identity, options.generate, kAnswerText);
  else
    identity["--rank-candidates"] = options.rank_candidates;
  if (wants_all(flags)) identity["--num-answers"] = flags.generate.options.num_return;
  return identity;
}

// Questions that are known before: of the command line and of rows of pairs.
int answer_all(const Engine& engine, Session& session, Asker& asker, const AskFlags& flags,
               Console& console, Job* job) {
  const Stopwatch watch;
  Timings timings;
  const bool pairs = names_pair_file(flags.pictures.images);
  const AskColumns columns{names_needed(flags.pictures.images), pairs || flags.questions.size() > 1,
                           wants_all(flags)};
  ItemwiseRetry<Generation> retry(flags.questions.size());
  const auto give_out = [&](const Input& input, const Answers& answers) {
    const std::vector<std::string>& own = texts_for(flags.questions, input.texts, "--question");
    for (const auto& answer : answers)
      if (answer.result) timings.add_result(answer.result->decode_ms);
    if (job != nullptr) return add(*job, input, own, answers);
    print(console, columns, input, own, answers);
  };
  const auto task = [&](std::span<const EncodedImage> images,
                        std::span<const Decoded* const> inputs) {
    std::vector<Emit> emits;
    for (std::size_t i = 0; i < images.size(); ++i) {
      const auto work = [&](std::span<const std::string> part) {
        return asker.ask(images[i], part);
      };
      emits.push_back(
          [&give_out, answers = run_texts(retry, flags.questions, inputs[i]->texts, work)](
              const Input& input) { give_out(input, answers); });
    }
    return emits;
  };
  run_pictures(engine, session, flags.pictures, console, timings, task, job);
  if (job != nullptr) job->finish();
  if (flags.model.sophon.demo_times)
    note_sophon_demo_times(console, timings);
  else
    note_timings(console, timings, watch.ms() / 1000, "answer");
  return exit_code(console, job);
}

void check_inputs(const AskFlags& flags, bool at_prompt) {
  const auto& images = flags.pictures.images;
  check_texts(flags.questions, "--question");
  check_job(flags.job, flags.output, images);
  check_pairs(flags.pictures);
  if (!at_prompt) return;
  if (flags.job.is_job())
    throw Exit(kExitUsage, "--output needs questions: --question TEXT or PAIRS.jsonl");
  if (std::find(images.begin(), images.end(), "-") != images.end())
    throw Exit(kExitUsage, "with the picture on standard input, questions come from --question");
}

int run_ask(AskFlags flags) {
  Console console(flags.output);
  AskOptions options;
  options.generate = checked(flags.generate);
  check_ranking(flags);
  options.rank_candidates = flags.rank_candidates;
  options.max_text_length = flags.max_text_length;
  const bool at_prompt = flags.questions.empty() && !names_pair_file(flags.pictures.images);
  check_inputs(flags, at_prompt);
  flags.pictures.pairs->needs_texts = flags.questions.empty();
  if (at_prompt) flags.pictures.pairs.reset();
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
              wants_all(flags) ? static_cast<std::size_t>(flags.generate.options.num_return) : 0);
  if (at_prompt) return run_ask_prompt(engine, session, asker, flags, console);
  const std::unique_ptr<Job> job =
      make_job(flags.job, identity_of(flags, options, answers, engine), flags.pictures, console);
  return answer_all(engine, session, asker, flags, console, job.get());
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

void print_answer(Console& console, const AskColumns& columns, const Input& input,
                  const std::string& question, const Generation& answer) {
  if (console.json()) return console.object(to_json(input, question, answer));
  std::string prefix = columns.image ? printable(input.name) + '\t' : "";
  if (columns.question) prefix += printable(question) + '\t';
  if (!columns.all) return console.line(prefix + printable(answer.text));
  for (const Text& text : answer.all) console.line(prefix + printable(text.text));
}

void add_ask(CLI::App& app, Run& run) {
  auto flags = std::make_shared<AskFlags>();
  flags->generate.options = AskOptions().generate;
  CLI::App& command = *app.add_subcommand("ask", "Answer questions about pictures");
  add_picture_options(command, flags->pictures)->required();
  add_pair_options(command, flags->pictures, kQuestionKeys);
  add_job_options(command, flags->job);
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
  command.footer(kAskExamples);
  command.callback(
      [flags, &run] { run = traced(flags->output, [flags] { return run_ask(*flags); }); });
}

}  // namespace blip::cli
