// What `blip ask` with questions on the command line shares with its prompt.
#pragma once

#include <string>
#include <vector>

#include "cli/console.h"
#include "cli/job.h"
#include "cli/options.h"
#include "cli/pictures.h"

namespace blip::cli {

struct AskFlags {
  OutputOptions output;
  ModelOptions model;
  PictureOptions pictures;
  JobFlags job{jobs::kAnswers};
  GenerateFlags generate;
  std::vector<std::string> questions;
  std::string answers_file;
  int rank_candidates = AskOptions().rank_candidates;
  CLI::Option* rank_option = nullptr;
  int max_text_length = 0;
};

// Questions answered with the options of the command line: generated, or ranked from a list.
class Asker {
 public:
  // answers: what to rank; empty = generate. most: of the ranked answers, how many are kept; 0 =
  // all.
  Asker(Session& session, Console& console, AskOptions options, std::vector<std::string> answers,
        std::size_t most)
      : session_(session),
        console_(console),
        options_(std::move(options)),
        answers_(std::move(answers)),
        most_(most) {}
  std::vector<Generation> ask(const EncodedImage& image, std::span<const std::string> questions);

 private:
  Generation rank(const EncodedImage& image, const std::string& question);
  // Takes out the answers that the model cannot rank (no token in them) and reports them.
  void drop_bad_answers(const EncodedImage& image);

  Session& session_;
  Console& console_;
  AskOptions options_;
  std::vector<std::string> answers_;
  std::size_t most_;
  bool checked_ = false;
};

// Which columns stand before the answer in text output, and whether all answers get a line or the
// best alone.
struct AskColumns {
  bool image = false, question = false, all = false;
};
void print_answer(Console& console, const AskColumns& columns, const Input& input,
                  const std::string& question, const Generation& answer);

// Reads questions from standard input until "exit" or its end; returns the exit code.
int run_ask_prompt(const Engine& engine, Session& session, Asker& asker, const AskFlags& flags,
                   Console& console);

// The times of questions by the labels of the vendor's sample, which takes both means over them.
void note_sophon_demo_times(Console& console, const Timings& timings);

// Whether each of several answers gets a line: they were asked for by number.
bool wants_all(const AskFlags& flags);

}  // namespace blip::cli
