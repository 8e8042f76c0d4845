// blip eval: hands its command line to the Python package, which has the public scorers beside it.
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>
#include <vector>

#include "cli/commands.h"
#include "cli/exit.h"
#include "cli/python_package.h"

namespace blip::cli {
namespace {

constexpr const char* kEvalModule = "blipcpp.eval";

int run_eval(const std::vector<std::string>& arguments) {
  const std::string missing =
      missing_of({"blip eval is done", kEvalModule, "eval", "docs/EVALUATION.md"});
  if (!missing.empty()) throw Exit(kExitModel, missing);
  std::vector<std::string> words = {kPython, "-m", kEvalModule};
  words.insert(words.end(), arguments.begin(), arguments.end());
  execvp(kPython, pointers(words).data());
  throw Exit(kExitModel,
             std::string("cannot start ") + kPython + ": " + std::system_category().message(errno));
}

}  // namespace

void add_eval(CLI::App& app, Run& run) {
  CLI::App& command = *app.add_subcommand(
      "eval", "Figures of captions, retrieval and answers on a data set, by the Python package");
  command.prefix_command();
  command.footer(
      "Examples:\n"
      "  blip eval caption coco_karpathy_test.json --images coco/ --predictions captions.jsonl\n"
      "  blip eval retrieval flickr30k_test.json --images flickr30k/ --top-k 128\n"
      "  blip eval vqa questions.json --annotations annotations.json --images coco/\n\n"
      "The command is `python3 -m blipcpp.eval` with the same arguments; docs/EVALUATION.md.");
  command.callback([&command, &run] {
    run = [arguments = command.remaining()] { return run_eval(arguments); };
  });
}

}  // namespace blip::cli
