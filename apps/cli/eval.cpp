// blip eval: hands its command line to the Python package, which has the public scorers beside it.
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

#include "cli/commands.h"
#include "cli/exit.h"

extern char** environ;

namespace blip::cli {
namespace {

constexpr const char* kPython = "python3";
constexpr const char* kModule = "blipcpp.eval";
constexpr const char* kInstall =
    "install Python 3.8 or newer and, from a checkout of blip.cpp, pip install './python[eval]' "
    "(docs/EVALUATION.md)";

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  return argv;
}

// 0 where it has, the exit code of the interpreter where not; -1 where there is no interpreter.
int try_import() {
  std::vector<std::string> words = {kPython, "-c", std::string("import ") + kModule};
  posix_spawn_file_actions_t silent;
  posix_spawn_file_actions_init(&silent);
  posix_spawn_file_actions_addopen(&silent, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addopen(&silent, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  pid_t child = 0;
  const int problem =
      posix_spawnp(&child, kPython, &silent, nullptr, pointers(words).data(), environ);
  posix_spawn_file_actions_destroy(&silent);
  if (problem != 0) return -1;
  int status = 0;
  while (waitpid(child, &status, 0) < 0)
    if (errno != EINTR) return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

int run_eval(const std::vector<std::string>& arguments) {
  if (const int imported = try_import(); imported != 0)
    throw Exit(kExitModel,
               std::string("blip eval is done by the Python package blipcpp, ") +
                   (imported < 0 ? "and there is no python3 here"
                                 : "which `python3 -c \"import blipcpp.eval\"` does not find") +
                   ": " + kInstall);
  std::vector<std::string> words = {kPython, "-m", kModule};
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
