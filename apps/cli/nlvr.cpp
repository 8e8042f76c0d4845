// blip nlvr: whether statements about two pictures hold.
#include <array>
#include <filesystem>
#include <memory>
#include <optional>

#include "cli/commands.h"
#include "cli/exit.h"
#include "cli/inputs.h"
#include "cli/interrupt.h"
#include "cli/one_by_one.h"
#include "cli/pictures.h"
#include "cli/trace.h"
#include "core/json.h"

namespace blip::cli {
namespace {

constexpr const char* kExamples = R"(Examples:
  blip nlvr left.jpg right.jpg --text "both images show a dog" --text "the left dog is black"
  blip nlvr --pairs pairs.jsonl --image-root images --json

One line per statement: true or false, the probability that it holds (0 to 1; true is above 0.5)
and the statement, separated by tabs; with --pairs the two pictures come first. The first picture
is the left one. It takes a model trained on NLVR2, such as model_base_nlvr.pth.

The lines of --pairs are {"images": [LEFT, RIGHT], "text": STATEMENT}; "sentence" is another name
of "text". Where they have a "label" (true or false), the accuracy is told in the end.)";

struct NlvrFlags {
  OutputOptions output;
  ModelOptions model;
  DecodeOptions decode;
  std::vector<std::string> images, texts;
  std::string texts_file, pairs_file, image_root;
  bool prepare = false;
  int max_text_length = 0;
  CLI::Option *text_option = nullptr, *texts_option = nullptr, *root_option = nullptr;
};

using Names = std::array<std::string, 2>;

// Two pictures and what is said of them; or the line that is none, and why.
struct Pair {
  Names images;
  std::vector<std::string> statements;
  std::optional<bool> label;
  std::string error{};
};

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

std::string told(const Json& value) { return value.is_null() ? "missing" : shown(value); }

// What stands under the key, or nothing.
Json at(const Json& row, const char* key) { return row.value(key, Json()); }

// NLVR2's own files write "True" and "False", data loaders 1 and 0.
std::optional<bool> label_of(const Json& value) {
  if (value.is_boolean()) return value.get<bool>();
  if (value == 0 || value == 1) return value == 1;
  for (const bool truth : {true, false})
    for (const char* word : truth ? std::array{"True", "true"} : std::array{"False", "false"})
      if (value == word) return truth;
  return std::nullopt;
}

// Throws Exit saying what is wrong with the line.
Pair parse_pair(const std::string& line, const std::string& root) {
  const auto refuse = [](const std::string& what) { throw Exit(kExitUsage, what); };
  Json row;
  try {
    row = read_json<Json>(line);
  } catch (const JsonError& error) {
    refuse(error.what());
  }
  if (!row.is_object()) refuse("is " + told(row) + "; expected an object");
  Pair pair;
  const Json images = at(row, "images");
  const bool two = images.is_array() && images.size() == 2 && images[0].is_string() &&
                   images[1].is_string() && images[0] != "" && images[1] != "";
  if (!two) refuse("\"images\" is " + told(images) + "; expected the names of two pictures");
  for (const std::size_t i : {0, 1}) {
    const std::string name = images[i].get<std::string>();
    pair.images[i] = root.empty() ? name : (std::filesystem::path(root) / name).string();
  }
  if (row.contains("text") && row.contains("sentence"))
    refuse("\"text\" and \"sentence\" are both there; one statement a line");
  const Json text = at(row, row.contains("sentence") ? "sentence" : "text");
  if (!text.is_string()) refuse("\"text\" is " + told(text) + "; expected a statement");
  pair.statements.push_back(text.get<std::string>());
  if (const Json label = at(row, "label"); !label.is_null()) {
    pair.label = label_of(label);
    if (!pair.label) refuse("\"label\" is " + told(label) + "; expected true or false");
  }
  return pair;
}

std::vector<Pair> read_pairs(const NlvrFlags& flags) {
  std::vector<Pair> pairs;
  for (const std::string& line : read_lines(flags.pairs_file, "--pairs")) {
    try {
      pairs.push_back(parse_pair(line, flags.image_root));
    } catch (const Exit& wrong) {
      pairs.push_back({{}, {}, std::nullopt, wrong.what()});
    }
  }
  return pairs;
}

std::vector<Pair> pairs_of(const NlvrFlags& flags) {
  if (!flags.pairs_file.empty()) {
    refuse_given({flags.text_option, flags.texts_option}, "with --pairs, which has the statements");
    if (!flags.images.empty())
      throw Exit(kExitUsage, "IMAGE has no effect with --pairs, which names the pictures");
    return read_pairs(flags);
  }
  refuse_given({flags.root_option}, "without --pairs");
  if (flags.images.size() != 2)
    throw Exit(kExitUsage, "nlvr needs two pictures, the left and the right one, not " +
                               std::to_string(flags.images.size()));
  std::vector<std::string> texts = flags.texts;
  if (!flags.texts_file.empty()) {
    for (std::string& line : read_lines(flags.texts_file, "--texts"))
      texts.push_back(std::move(line));
  }
  if (texts.empty()) throw Exit(kExitUsage, "nlvr needs a text: --text TEXT or --texts FILE");
  check_texts(texts, "--text");
  return {{{flags.images[0], flags.images[1]}, std::move(texts), std::nullopt}};
}

class Judge {
 public:
  Judge(const NlvrFlags& flags, Session& session, Console& console)
      : flags_(flags), session_(session), console_(console) {}

  void run(const Pair& pair, std::size_t row) {
    if (!pair.error.empty()) {
      const std::string line = "row " + std::to_string(row) + " of " + flags_.pairs_file;
      return console_.failed(Json{{"row", row}}, line, pair.error);
    }
    std::string error;
    try {
      error = encode(pair.images);
      if (error.empty()) return judge(pair);
    } catch (const std::bad_alloc&) {
      error = "not enough memory";
    }
    console_.failed(images_json(pair.images), pair.images[0] + " and " + pair.images[1], error);
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
        images.push_back(read_image({names[i], ""}, flags_.decode));
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

  void judge(const Pair& pair) {
    const NlvrOptions options{flags_.max_text_length};
    const Stopwatch watch;
    const auto work = [&](std::span<const std::string> part) {
      std::vector<std::string> texts(part.begin(), part.end());
      if (flags_.prepare)
        for (std::string& text : texts) text = prepared(text);
      return session_.nlvr(*seen_[0].image, *seen_[1].image, texts, options);
    };
    const auto outcomes = OneByOne<float>(pair.statements.size()).run(pair.statements, work);
    timings_.add_result(watch.ms());
    for (std::size_t i = 0; i < outcomes.size(); ++i) print(pair, pair.statements[i], outcomes[i]);
  }

  void print(const Pair& pair, const std::string& text, const Outcome<float>& outcome) {
    Json row = joined(images_json(pair.images), {{"text", text}});
    if (!outcome.result) return console_.failed(row, text, outcome.error);
    const bool answer = *outcome.result > 0.5f;
    if (pair.label) {
      ++labelled_;
      right_ += *pair.label == answer ? 1 : 0;
    }
    if (console_.json()) {
      row["answer"] = answer;
      row["probability"] = json_number(*outcome.result);
      if (pair.label) row["label"] = *pair.label;
      return console_.object(row);
    }
    const bool names = !flags_.pairs_file.empty();
    console_.line(
        (names ? printable(pair.images[0]) + '\t' + printable(pair.images[1]) + '\t' : "") +
        (answer ? "true\t" : "false\t") + fixed(*outcome.result, 4) + '\t' + printable(text));
  }

  const NlvrFlags& flags_;
  Session& session_;
  Console& console_;
  Timings timings_;
  std::array<Seen, 2> seen_;
  std::size_t labelled_ = 0, right_ = 0;
};

int run_nlvr(const NlvrFlags& flags) {
  Console console(flags.output);
  const std::vector<Pair> pairs = pairs_of(flags);
  const Engine engine = load_engine(flags.model, console);
  require_task(engine.info().can_nlvr, "judge statements about two pictures (NLVR2)",
               engine.info());
  require_memory(2, engine.info());
  check_text_length(flags.max_text_length, engine.info());
  Session session = make_session(engine, console);
  const Stopwatch watch;
  Judge judge(flags, session, console);
  console.start_progress("pairs", pairs.size());
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    stop_if_interrupted();
    judge.run(pairs[i], i + 1);
    console.progress(i + 1);
  }
  console.end_progress();
  judge.finish(watch.ms() / 1000);
  return exit_code(console);
}

}  // namespace

void add_nlvr(CLI::App& app, Run& run) {
  auto flags = std::make_shared<NlvrFlags>();
  CLI::App& command =
      *app.add_subcommand("nlvr", "Say whether statements about two pictures are true");
  command.add_option("images", flags->images, "The left and the right picture")
      ->type_name("IMAGE")
      ->check(not_empty());
  flags->text_option =
      add_repeated(command, "--text", flags->texts, "A statement; repeatable")->group("Input");
  flags->texts_option =
      add_named(command, "--texts", flags->texts_file, "File of statements, one a line", "FILE")
          ->group("Input");
  add_named(command, "--pairs", flags->pairs_file,
            "File of JSON objects, one a line, with two pictures and a statement each", "FILE")
      ->group("Input");
  flags->root_option = add_named(command, "--image-root", flags->image_root,
                                 "Folder that the pictures of --pairs are in", "PATH")
                           ->group("Input");
  command
      .add_flag("--prepare-text", flags->prepare,
                "Prepare statements as the official evaluation does: in small letters, without "
                ".!\"()*#:;~, at most 40 words")
      ->group("Input");
  add_background_option(command, flags->decode.background);
  add_limit_options(command, flags->decode.limits);
  add_text_length(command, flags->max_text_length);
  add_model_options(command, flags->model);
  add_output_options(command, flags->output);
  add_trace_option(command, flags->output);
  add_progress_option(command, flags->output);
  command.footer(kExamples);
  command.callback(
      [flags, &run] { run = traced(flags->output, [flags] { return run_nlvr(*flags); }); });
}

}  // namespace blip::cli
