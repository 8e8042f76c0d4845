// blip, the program: parses the command line, runs one command, turns errors into exit codes.
#include <signal.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <new>
#include <string>
#include <string_view>

#include "blip/blip.h"
#include "cli/chinese.h"
#include "cli/commands.h"
#include "cli/exit.h"
#include "cli/interrupt.h"
#include "cli/sophon_demo_arguments.h"

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
  for (const auto add : {add_caption, add_make_captions, add_match, add_ask, add_nlvr, add_capfilt,
                         add_embed, add_convert, add_pull, add_models, add_rm, add_info,
                         add_devices, add_formats, add_dump, add_bench, add_eval, add_completions})
    add(app, run);
#ifdef BLIP_HAS_SERVER
  add_serve(app, run);
#endif
}

std::vector<std::string> command_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
    names.push_back(command->get_name());
  return names;
}

// The command whose usage was wrong, for the pointer to its help.
std::string help_command(const CLI::App& app) {
  const auto chosen = app.get_subcommands();
  return chosen.empty() ? "blip --help" : "blip " + chosen.front()->get_name() + " --help";
}

// What the library that reads the command line says, in our words where its own are its jargon.
std::string plain(const std::string& said) {
  constexpr std::string_view kTwice = ": At Most 1 required but received ", kNone = ": 1 required ",
                             kMissing = " missing", kRest = " not expected: ";
  if (const auto at = said.find(kTwice); at != std::string::npos)
    return said.substr(0, at) + " is given " + said.substr(at + kTwice.size()) +
           " times; give it once";
  if (const auto at = said.find(kNone); at != std::string::npos && said.ends_with(kMissing))
    return said.substr(0, at) + " needs a value: " +
           said.substr(at + kNone.size(), said.size() - at - kNone.size() - kMissing.size());
  if (const auto at = said.find(kRest); said.starts_with("The following argument") && at < 40) {
    std::vector<std::string> rest = CLI::detail::split(said.substr(at + kRest.size()), ' ');
    std::reverse(rest.begin(), rest.end());  // the last one came first
    return "unknown here: " + CLI::detail::join(rest, " ");
  }
  return said;
}

int report_parse_error(CLI::App& app, const CLI::ParseError& error, Console& console) {
  if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) {
    // --help and --version
    if (speaks_chinese()) add_chinese(app);
    std::ostringstream out, ignored;
    app.exit(error, out, ignored);
    std::string text = out.str();
    while (text.ends_with('\n')) text.pop_back();
    console.line(text);
    return kExitOk;
  }
  console.error(plain(error.what()) + "; see `" + help_command(app) + "`");
  return kExitUsage;
}

// CLI11 takes [a,b] for a list; ./[a,b] is the same path and stays one.
std::vector<std::string> arguments_of(int argc, char** argv) {
  std::vector<std::string> arguments(argv + 1, argv + argc);
  for (std::string& argument : arguments) {
    std::error_code ignored;
    if (argument.starts_with('[') && argument.ends_with(']') &&
        std::filesystem::exists(argument, ignored))
      argument.insert(0, "./");
  }
  return arguments;
}

void check_command(const CLI::App& app, const std::vector<std::string>& arguments) {
  const std::vector<std::string> names = command_names(app);
  const std::string list = CLI::detail::join(names, ", ");
  if (arguments.empty())
    throw Exit(kExitUsage, "a command is needed: " + list + "; see `blip --help`");
  const std::string& name = arguments.front();
  if (name.starts_with('-') || std::find(names.begin(), names.end(), name) != names.end()) return;
  throw Exit(kExitUsage, "no command \"" + name + "\"; commands are " + list);
}

int parse_and_run(int argc, char** argv, Console& console) {
  CLI::App app(
      "BLIP on your own machine: describe pictures, match them with texts, ask about them.",
      "blip");
  Run run;
  define(app, run);
  std::vector<std::string> arguments = sophon_demo_arguments(arguments_of(argc, argv), app);
  check_command(app, arguments);
  std::reverse(arguments.begin(), arguments.end());  // as CLI11 wants them
  try {
    app.parse(arguments);
  } catch (const CLI::ParseError& error) {
    return report_parse_error(app, error, console);
  }
  return run();
}

int run_program(int argc, char** argv) {
  Console console({});
  catch_interrupts();
  try {
    return parse_and_run(argc, argv, console);
  } catch (const Exit& exit) {
    if (*exit.what() != '\0') console.error(exit.what());
    return exit.code();
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kCancelled && interrupted() != 0)
      return kExitSignal + interrupted();
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
  // A closed pipe is seen where the write fails, so that unfinished files are removed on the way
  // out.
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);  // likewise a file over the size limit
  return blip::cli::run_program(argc, argv);
}
