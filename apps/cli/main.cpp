// blip, the program: parses the command line, runs one command, turns errors into exit codes.
#include <signal.h>

#include <CLI/CLI.hpp>
#include <new>

#include "blip/blip.h"
#include "cli/commands.h"
#include "cli/exit.h"

namespace blip::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  blip caption cat.jpg
  blip match cat.jpg --text "a cat on a sofa" --text "two dogs"
  blip ask cat.jpg --question "what animal is this?"
  blip COMMAND --help

Exit code: 0 all good, 1 some inputs failed (the rest were done), 2 usage, 3 model or device.)";

int exit_code(const Error& error) {
  switch (error.code()) {
    case ErrorCode::kUsage:
      return kExitUsage;
    case ErrorCode::kIo:
    case ErrorCode::kImage:
      return kExitSomeFailed;
    default:
      return kExitModel;
  }
}

void define(CLI::App& app, Run& run) {
  app.set_version_flag("--version", std::string("blip ") + version(), "Show the version and exit");
  app.require_subcommand(1);
  app.footer(kFooter);
  for (const auto add : {add_caption, add_match, add_ask, add_embed, add_convert, add_info, add_devices, add_dump, add_completions}) add(app, run);
}

// The command whose usage was wrong, for the pointer to its help.
std::string help_command(const CLI::App& app) {
  const auto chosen = app.get_subcommands();
  return chosen.empty() ? "blip --help" : "blip " + chosen.front()->get_name() + " --help";
}

int report_parse_error(const CLI::App& app, const CLI::ParseError& error, Console& console) {
  if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) {
    // --help and --version
    std::ostringstream out, ignored;
    app.exit(error, out, ignored);
    std::string text = out.str();
    while (text.ends_with('\n')) text.pop_back();
    console.line(text);
    return kExitOk;
  }
  console.error(std::string(error.what()) + "; see `" + help_command(app) + "`");
  return kExitUsage;
}

int run_program(int argc, char** argv) {
  CLI::App app("BLIP on your own machine: describe pictures, match them with texts, ask about them.", "blip");
  Run run;
  define(app, run);
  Console console({});
  try {
    try {
      app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
      return report_parse_error(app, error, console);
    }
    return run();
  } catch (const Exit& exit) {
    if (*exit.what() != '\0') console.error(exit.what());
    return exit.code();
  } catch (const Error& error) {
    console.error(error.what());
    return exit_code(error);
  } catch (const std::bad_alloc&) {
    console.error("not enough memory");
    return kExitModel;
  } catch (const std::exception& error) {
    console.error(std::string("internal error: ") + error.what());
    return kExitModel;
  }
}

}  // namespace
}  // namespace blip::cli

int main(int argc, char** argv) {
  // A closed pipe is seen where the write fails, so that unfinished files are removed on the way out.
  signal(SIGPIPE, SIG_IGN);
  return blip::cli::run_program(argc, argv);
}
