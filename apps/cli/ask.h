// What `blip ask` with questions on the command line shares with its prompt.
#pragma once

#include <string>
#include <vector>

#include "cli/console.h"
#include "cli/options.h"

namespace blip::cli {

struct AskFlags {
  OutputOptions output;
  ModelOptions model;
  PictureOptions pictures;
  GenerateFlags generate;
  std::vector<std::string> questions;
  std::string answers_file;
  int rank_candidates = AskOptions().rank_candidates;
  int max_text_length = 0;
};

// Questions answered with the options of the command line: generated, or ranked from a list.
class Asker {
 public:
  Asker(Session& session, AskOptions options, std::vector<std::string> answers)
      : session_(session), options_(std::move(options)), answers_(std::move(answers)) {}
  std::vector<Generation> ask(const EncodedImage& image, std::span<const std::string> questions) const;

 private:
  Session& session_;
  AskOptions options_;
  std::vector<std::string> answers_;  // empty: generate
};

// Which columns stand before the answer in text output.
struct AskColumns {
  bool image = false, question = false;
};
void print_answer(Console& console, const AskColumns& columns, const std::string& image, const std::string& question, const Generation& answer);

// Reads questions from standard input until "exit" or its end; returns the exit code.
int run_ask_prompt(const Engine& engine, Session& session, const Asker& asker, const AskFlags& flags, Console& console);

}  // namespace blip::cli
