// blip nlvr: whether statements about two pictures hold.
#include <algorithm>
#include <array>
#include <filesystem>
#include <memory>
#include <optional>
#include <utility>

#include "base/json.h"
#include "cli/commands.h"
#include "cli/exit.h"
#include "cli/identity.h"
#include "cli/input_count.h"
#include "cli/inputs.h"
#include "cli/interrupt.h"
#include "cli/itemwise_retry.h"
#include "cli/job.h"
#include "cli/pair_reader.h"
#include "cli/pictures.h"
#include "cli/trace.h"

namespace blip::cli {
namespace {

constexpr const char* kNlvrExamples = R"(Examples:
  blip nlvr left.jpg right.jpg --text "both images show a dog" --text "the left dog is black"
  blip nlvr pairs.jsonl --images photos --output judgements.jsonl

One line per statement: true or false, the probability that it holds (0 to 1; true is above 0.5)
and the statement, separated by tabs; of pairs.jsonl the two pictures come first. The first picture
is the left one. It takes a model trained on NLVR2, such as model_base_nlvr.pth.

The lines of pairs.jsonl (- for standard input) are {"images": [LEFT, RIGHT], "text": STATEMENT};
"sentence" is another name of "text". Where they have a "label" (true or false), the accuracy is
told in the end.)";

const std::vector<const char*> kStatementKeys = {"text", "texts", "sentence", "sentences"};
// Rows that are claimed and handed over together.
constexpr std::size_t kGroup = 4;

struct NlvrFlags {
  OutputOptions output;
  ModelOptions model;
  PictureOptions pictures;
  JobFlags job{jobs::kJudgements};
  std::vector<std::string> texts;
  std::string texts_file;
  bool prepare = false;
  int max_text_length = 0;
  CLI::Option *text_option = nullptr, *texts_option = nullptr;

  // Whether rows are judged, not two pictures.
  bool has_rows() const {
    const auto& names = pictures.images;
    return names_pair_file(names) || std::any_of(names.begin(), names.end(), [](const auto& name) {
             std::error_code ignored;
             return name == "-" ||
                    (name.starts_with('@') && !std::filesystem::exists(name, ignored));
           });
  }
};

using Names = std::array<std::string, 2>;

// As the official evaluation has it: small letters, a space for .!"()*#:;~, one space between
// words, and so many of them at most.
std::string prepared(const std::string& statement) {
  constexpr std::size_t kMostWords = 40;
  std::string text, word;
  std::size_t words = 0;
  const auto end_word = [&] {
    if (!word.empty() && words++ < kMostWords) text += (text.empty() ? "" : " ") + word;
    word.clear();
  };
  for (const char c : statement) {
    if (std::string_view(".!\"()*#:;~ \t\n\r\v\f").find(c) != std::string_view::npos)
      end_word();
    else
      word += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  end_word();
  return text;
}

// {"images": [first, second]}, with the bytes of both where one is not UTF-8.
Json images_json(const Names& images) {
  const std::string key = "images";
  Json row, bytes = Json::array();
  bool lossy = false;
  for (const std::string& image : images) {
    Json one = named(key, image);
    row[key].push_back(one[key]);
    lossy = lossy || one.contains(key + "_bytes");
    bytes.push_back(one.value(key + "_bytes", Json()));
  }
  if (lossy) row[key + "_bytes"] = std::move(bytes);
  return row;
}

// NLVR2's own files write "True" and "False", data loaders 1 and 0. nullopt: there is none.
std::optional<bool> label_of(const Json& row) {
  const Json value = row.value("label", Json());
  if (value.is_null()) return std::nullopt;
  if (value == true || value == 1 || value == "True" || value == "true") return true;
  if (value == false || value == 0 || value == "False" || value == "false") return false;
  throw Error(ErrorCode::kImage, "its \"label\" is " + shown(value) + "; expected true or false");
}

// The two pictures of the command line as a row.
Input given_pictures(const NlvrFlags& flags, std::vector<std::string> texts) {
  const std::vector<std::string>& names = flags.pictures.images;
  Input input{names[0], ""};
  input.second = names[1];
  input.row = std::make_shared<const Json>(images_json({names[0], names[1]}));
  input.texts = std::move(texts);
  return input;
}

class Judge {
 public:
  Judge(const NlvrFlags& flags, Session& session, Console& console, Job* job)
      : flags_(flags), session_(session), console_(console), job_(job) {}

  void run(const Input& input) {
    std::string error = input.error;
    try {
      if (error.empty()) error = encode({input.name, input.second});
      if (error.empty()) return judge(input);
    } catch (const Error& problem) {
      if (problem.code() != ErrorCode::kImage) throw;
      error = problem.what();
    } catch (const std::bad_alloc&) {
      error = "not enough memory";
    }
    const bool named = !input.second.empty();
    if (job_) job_->failed(input, error);
    console_.failed(input.object(), named ? input.name + " and " + input.second : input.name,
                    error);
  }

  // Of all rows of a job, those that were judged before too.
  void count_labels(const Json& row) {
    const std::optional<bool> label = label_of(row);
    if (!label) return;
    ++labelled_;
    right_ += *label == row.value("answer", false) ? 1 : 0;
  }

  void finish(double seconds) {
    note_timings(console_, timings_, seconds, "statement");
    if (labelled_ > 0)
      console_.note("accuracy " +
                    fixed(100.0 * static_cast<double>(right_) / static_cast<double>(labelled_), 2) +
                    " % of " + std::to_string(labelled_) + " labelled statements");
  }

 private:
  // A picture of the pair at hand. Neighbouring pairs often share one.
  struct Seen {
    std::string name;
    std::optional<EncodedImage> image;
  };

  // Returns why the pictures cannot be looked at; empty when they can.
  std::string encode(const Names& names) {
    std::array<Seen, 2> now;
    std::vector<Image> images;
    std::vector<std::size_t> places;
    std::string errors;
    for (const std::size_t i : {0, 1}) {
      now[i].name = names[i];
      for (const Seen& seen : seen_)
        if (seen.image && seen.name == names[i] && names[i] != "-") now[i].image = seen.image;
      if (now[i].image) continue;
      try {
        images.push_back(read_image({names[i], ""}, flags_.pictures.decode));
        places.push_back(i);
      } catch (const Error& error) {
        errors += (errors.empty() ? "" : "; ") + std::string(error.what());
      }
    }
    if (!errors.empty()) return errors;
    auto encoded = session_.encode(std::span<const Image>(images));
    for (std::size_t i = 0; i < places.size(); ++i) {
      timings_.add_picture(encoded[i]);
      now[places[i]].image = std::move(encoded[i]);
    }
    seen_ = std::move(now);
    return "";
  }

  void judge(const Input& input) {
    const std::optional<bool> label = label_of(*input.row);
    const NlvrOptions options{flags_.max_text_length};
    const Stopwatch watch;
    const auto work = [&](std::span<const std::string> part) {
      std::vector<std::string> texts(part.begin(), part.end());
      if (flags_.prepare)
        for (std::string& text : texts) text = prepared(text);
      return session_.nlvr(*seen_[0].image, *seen_[1].image, texts, options);
    };
    const auto outcomes = ItemwiseRetry<float>(input.texts.size()).run(input.texts, work);
    timings_.add_result(watch.ms());
    std::vector<Json> rows;
    for (std::size_t i = 0; i < outcomes.size(); ++i) {
      if (job_) require_result(outcomes[i], input.texts[i]);
      Json row = object_of_text(input, "text", input.texts[i]);
      if (!job_ && !outcomes[i].result) {
        console_.failed(row, input.texts[i], outcomes[i].error);
        continue;
      }
      row["answer"] = *outcomes[i].result > 0.5f;
      row["probability"] = json_number(*outcomes[i].result);
      if (label) row["label"] = *label;
      if (!job_) print(input, row);
      rows.push_back(std::move(row));
    }
    if (job_) return job_->add(input, rows);
    for (const Json& row : rows) count_labels(row);
  }

  void print(const Input& input, const Json& row) {
    if (console_.json()) return console_.object(row);
    const std::string names = printable(input.name) + '\t' + printable(input.second) + '\t';
    console_.line((flags_.has_rows() ? names : "") +
                  (row["answer"] == true ? "true\t" : "false\t") +
                  fixed(row["probability"].get<float>(), 4) + '\t' +
                  printable(row["text"].get<std::string>()));
  }

  const NlvrFlags& flags_;
  Session& session_;
  Console& console_;
  Job* job_;
  Timings timings_;
  std::array<Seen, 2> seen_;
  std::size_t labelled_ = 0, right_ = 0;
};

// What can be told of the options before a model is loaded. Throws Exit(2).
void check(const NlvrFlags& flags, const std::vector<std::string>& texts) {
  check_job(flags.job, flags.output, flags.pictures.images);
  if (flags.has_rows()) {
    refuse_given({flags.text_option, flags.texts_option}, "with PAIRS.jsonl, which has statements");
    const std::string& folder = flags.pictures.pairs->images;
    std::error_code ignored;
    if (!folder.empty() && !std::filesystem::is_directory(folder, ignored))
      throw Exit(kExitUsage, "--images: there is no folder " + folder);
    return;
  }
  refuse_given({flags.pictures.images_option}, "without PAIRS.jsonl");
  if (flags.job.is_job()) throw Exit(kExitUsage, "--output has no effect without PAIRS.jsonl");
  const std::size_t names = flags.pictures.images.size();
  if (names != 2)
    throw Exit(kExitUsage, "nlvr needs two pictures, the left and the right one, not " +
                               std::to_string(names) + "; or rows in PAIRS.jsonl");
  if (texts.empty()) throw Exit(kExitUsage, "nlvr needs a text: --text TEXT or --texts FILE");
}

std::unique_ptr<Source> make_source(const NlvrFlags& flags) {
  SourceOptions options;
  options.nul_lists = flags.pictures.nul_lists;
  options.pairs = flags.pictures.pairs;
  return std::make_unique<Source>(flags.pictures.images, std::move(options));
}

void judge_rows(const NlvrFlags& flags, Judge& judge, Console& console, Job* job) {
  const std::unique_ptr<Source> source = make_source(flags);
  const auto& names = flags.pictures.images;
  const bool piped = std::find(names.begin(), names.end(), "-") != names.end(),
             counts = console.shows_progress() && !piped && source->can_be_repeated();
  const InputCount count(counts ? make_source(flags) : nullptr,
                         [&](const Input& input) { return !job || job->counts(input); });
  const Stop stop = [] { return false; };
  console.start_progress("pairs", std::nullopt);
  std::size_t done = 0;
  for (std::size_t ready = 0;;) {
    const std::optional<Input> input = job ? job->next(*source, stop) : source->next(stop);
    stop_if_interrupted();
    const bool is_row = input && !input->pause;
    if (is_row && input->row_text.empty()) {
      Input wrong = *input;
      if (wrong.error.empty()) wrong.error = wrong.name + " is no file of rows such as PAIRS.jsonl";
      judge.run(wrong);
    } else if (is_row) {
      judge.run(*input);
    }
    if (is_row) ++done, ++ready;
    if (job && ready > 0 && (!is_row || ready == kGroup)) {
      job->end_batch();
      ready = 0;
    }
    if (is_row) console.progress(done, job ? job->passed() : 0, count.total());
    if (!input) break;
  }
  console.end_progress();
}

bool holds_rows(const NlvrFlags& flags) {
  return jobs::format_of(flags.job.output, *flags.job.table) != jobs::Format::kCsv;
}

int run_nlvr(const NlvrFlags& flags) {
  Console console(flags.output);
  const std::vector<std::string> texts = given_texts(flags.texts, flags.texts_file);
  check(flags, texts);
  const Engine engine = load_engine(flags.model, console);
  require_task(engine.info().can_nlvr, "judge statements about two pictures (NLVR2)",
               engine.info());
  require_memory(2, engine.info());
  check_text_length(flags.max_text_length, engine.info());
  Session session = make_session(engine, console);
  Json identity = identity_of("nlvr", engine, flags.pictures);
  identity["--prepare-text"] = flags.prepare;
  identity["--max-text-length"] = flags.max_text_length;
  PictureOptions grouped = flags.pictures;
  grouped.batch = static_cast<int>(kGroup);
  const std::unique_ptr<Job> job = make_job(flags.job, std::move(identity), grouped, console);
  const Stopwatch watch;
  Judge judge(flags, session, console, job.get());
  if (flags.has_rows())
    judge_rows(flags, judge, console, job.get());
  else
    judge.run(given_pictures(flags, texts));
  if (job) job->finish();
  if (job && holds_rows(flags))
    job->for_each_row([&](const Json& row) { judge.count_labels(row); });
  judge.finish(watch.ms() / 1000);
  return exit_code(console, job.get());
}

}  // namespace

void add_nlvr(CLI::App& app, Run& run) {
  auto flags = std::make_shared<NlvrFlags>();
  CLI::App& command =
      *app.add_subcommand("nlvr", "Say whether statements about two pictures are true");
  command
      .add_option("images", flags->pictures.images,
                  "The left and the right picture, or PAIRS.jsonl of rows with two")
      ->type_name("IMAGE")
      ->check(not_empty());
  add_pair_options(command, flags->pictures, kStatementKeys);
  flags->pictures.pairs->two = true;
  flags->text_option =
      add_repeated(command, "--text", flags->texts, "A statement; repeatable")->group("Input");
  flags->texts_option =
      add_named(command, "--texts", flags->texts_file, "File of statements, one a line", "FILE")
          ->group("Input");
  command
      .add_flag("--prepare-text", flags->prepare,
                "Prepare statements as the official evaluation does: in small letters, without "
                ".!\"()*#:;~, at most 40 words")
      ->group("Input");
  add_job_options(command, flags->job);
  add_background_option(command, flags->pictures.decode.background);
  add_limit_options(command, flags->pictures.decode.limits);
  add_text_length(command, flags->max_text_length);
  add_model_options(command, flags->model);
  add_output_options(command, flags->output);
  add_trace_option(command, flags->output);
  add_progress_option(command, flags->output);
  command.footer(kNlvrExamples);
  command.callback(
      [flags, &run] { run = traced(flags->output, [flags] { return run_nlvr(*flags); }); });
}

}  // namespace blip::cli
