// blip completions: what bash, zsh and fish need to complete the command line. Nothing is written
// down twice: commands, options, their descriptions and choices are read from the CLI11
// definitions.
#include "cli/completions.h"

#include <memory>
#include <sstream>
#include <vector>

#include "cli/commands.h"
#include "cli/exit.h"

namespace blip::cli {
namespace {

constexpr const char* kCompletionsExamples = R"(Examples:
  source <(blip completions bash)
  blip completions zsh > ~/.zsh/completions/_blip
  blip completions fish > ~/.config/fish/completions/blip.fish
  blip completions man caption > blip-caption.1)";

struct OptionSpec {
  std::vector<std::string> names;  // "--model", "-m"; empty for a positional
  std::string description, value;  // value: its type's name; empty for a flag
  std::vector<std::string> choices;
  bool files = false, repeatable = false, required = false;
  std::string otherwise, group;  // default and group, as the help shows them
};

struct CommandSpec {
  std::string name, description;
  std::vector<OptionSpec> options, positionals;
  std::string footer;  // of the help: examples, and what the output means
};

// add_choice() shows the words as "{a,b}".
std::vector<std::string> choices_of(const std::string& type) {
  std::vector<std::string> choices;
  const std::size_t begin = type.find('{');
  if (begin == std::string::npos || type.back() != '}') return choices;
  for (const std::string& choice :
       CLI::detail::split(type.substr(begin + 1, type.size() - begin - 2), ','))
    choices.push_back(choice);
  return choices;
}

OptionSpec describe(const CLI::Option& option) {
  OptionSpec spec;
  for (const std::string& name : option.get_lnames()) spec.names.push_back("--" + name);
  for (const std::string& name : option.get_snames()) spec.names.push_back("-" + name);
  spec.description = option.get_description();
  spec.otherwise = option.get_default_str();
  spec.group = option.get_group();
  spec.required = option.get_required();
  if (option.get_items_expected_max() > 0) {
    spec.value = option.get_type_name();
    spec.choices = choices_of(spec.value);
    spec.files = spec.value == "FILE" || spec.value == "PATH" || spec.value == "IMAGE";
    spec.repeatable = option.get_items_expected_max() > 1;
  }
  return spec;
}

CommandSpec describe(const CLI::App& app) {
  CommandSpec command{app.get_name(), app.get_description(), {}, {}, app.get_footer()};
  for (const CLI::Option* option : app.get_options()) {
    (option->get_positional() ? command.positionals : command.options).push_back(describe(*option));
  }
  return command;
}

std::vector<CommandSpec> describe_commands(const CLI::App& app) {
  std::vector<CommandSpec> commands;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
    commands.push_back(describe(*command));
  return commands;
}

template <class Range>
std::string join(const Range& words, const std::string& separator) {
  std::string joined;
  for (const std::string& word : words) joined += (joined.empty() ? "" : separator) + word;
  return joined;
}

std::string upper(std::string text) {
  for (char& c : text) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
  return text;
}

std::string option_words(const CommandSpec& command) {
  std::string words;
  for (const OptionSpec& option : command.options)
    words += (words.empty() ? "" : " ") + join(option.names, " ");
  return words;
}

std::string command_words(const std::vector<CommandSpec>& commands, const std::string& separator) {
  std::vector<std::string> names;
  for (const CommandSpec& command : commands) names.push_back(command.name);
  return join(names, separator);
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  for (std::size_t at = text.find(from); at != std::string::npos;
       at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
  return text;
}

// ---- bash

std::string bash_case(const CommandSpec& command) {
  std::string text;
  for (const OptionSpec& option : command.options) {
    if (option.value.empty()) continue;
    std::vector<std::string> patterns;
    for (const std::string& name : option.names) patterns.push_back(command.name + ":" + name);
    text += "    " + join(patterns, "|") + ") ";
    if (!option.choices.empty()) {
      text += "_blip_words '" + join(option.choices, " ") + "'";
    } else if (option.files) {
      text += "_blip_files";
    }
    text += (text.ends_with(' ') ? "" : "; ") + std::string("return ;;\n");
  }
  return text;
}

std::string bash_script(const CLI::App& app, const std::vector<CommandSpec>& commands) {
  std::string text = R"(# bash completion for blip
_blip_words() { mapfile -t COMPREPLY < <(compgen -W "$1" -- "$cur"); }
_blip_files() { mapfile -t COMPREPLY < <(compgen -f -- "$cur"); }
_blip() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command='' word
  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case $word in
)";
  text += "      " + command_words(commands, "|") +
          ") command=$word; break ;;\n    esac\n  done\n  COMPREPLY=()\n  case $command:$prev in\n";
  for (const CommandSpec& command : commands) text += bash_case(command);
  text += "  esac\n  case $command in\n    '') _blip_words '" + command_words(commands, " ") + " " +
          option_words(describe(app)) + "' ;;\n";
  for (const CommandSpec& command : commands) {
    text += "    " + command.name + ") if [[ $cur == -* ]]; then _blip_words '" +
            option_words(command) + "'; else ";
    const bool choices =
        !command.positionals.empty() && !command.positionals.front().choices.empty();
    text += choices ? "_blip_words '" + join(command.positionals.front().choices, " ") + "'"
            : command.positionals.empty() ? ":"
                                          : "_blip_files";
    text += "; fi ;;\n";
  }
  return text + "  esac\n}\ncomplete -o filenames -F _blip blip\n";
}

// ---- zsh

// For a description inside [...] within single quotes.
std::string zsh_text(const std::string& text) {
  std::string escaped = replaced(text, "\\", "\\\\");
  for (const char* special : {"[", "]", ":"})
    escaped = replaced(escaped, special, std::string("\\") + special);
  return replaced(escaped, "'", "'\\''");
}

std::string zsh_action(const OptionSpec& option) {
  if (!option.choices.empty()) return "(" + join(option.choices, " ") + ")";
  return option.files ? "_files" : " ";
}

std::string zsh_arguments(const CommandSpec& command) {
  std::string text;
  for (const OptionSpec& option : command.options) {
    for (const std::string& name : option.names) {
      text += " \\\n        '" + std::string(option.repeatable ? "*" : "") + name + "[" +
              zsh_text(option.description) + "]";
      if (!option.value.empty()) text += ":" + zsh_text(option.value) + ":" + zsh_action(option);
      text += "'";
    }
  }
  for (const OptionSpec& positional : command.positionals) {
    text += " \\\n        '" + std::string(positional.repeatable ? "*" : "") + ":" +
            zsh_text(positional.value) + ":" + zsh_action(positional) + "'";
  }
  return text;
}

std::string zsh_script(const CLI::App& app, const std::vector<CommandSpec>& commands) {
  std::string text = "#compdef blip\n_blip() {\n  local -a commands=(\n";
  for (const CommandSpec& command : commands)
    text += "    '" + command.name + ":" + zsh_text(command.description) + "'\n";
  text += "  )\n  if (( CURRENT == 2 )); then\n    _describe command commands\n    _arguments" +
          zsh_arguments(describe(app)) + "\n    return\n  fi\n  case $words[2] in\n";
  for (const CommandSpec& command : commands) {
    text += "    " + command.name + ")\n      shift words; (( CURRENT-- ))\n      _arguments" +
            zsh_arguments(command) + " ;;\n";
  }
  return text +
         "  esac\n}\nif [[ $funcstack[1] == _blip ]]; then _blip \"$@\"; else compdef _blip blip; "
         "fi\n";
}

// ---- fish

std::string fish_quoted(const std::string& text) {
  return "'" + replaced(replaced(text, "\\", "\\\\"), "'", "\\'") + "'";
}

std::string fish_value(const OptionSpec& option) {
  if (!option.choices.empty()) return " -x -a " + fish_quoted(join(option.choices, " "));
  if (option.files) return " -r -F";
  return option.value.empty() ? "" : " -x";
}

std::string fish_options(const CommandSpec& command, const std::string& condition) {
  std::string text;
  for (const OptionSpec& option : command.options) {
    text += "complete -c blip -n " + fish_quoted(condition);
    for (const std::string& name : option.names)
      text += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
    text += fish_value(option) + " -d " + fish_quoted(option.description) + "\n";
  }
  for (const OptionSpec& positional : command.positionals) {
    text += "complete -c blip -n " + fish_quoted(condition);
    text += positional.choices.empty() ? " -F\n"
                                       : " -a " + fish_quoted(join(positional.choices, " ")) + "\n";
  }
  return text;
}

std::string fish_script(const CLI::App& app, const std::vector<CommandSpec>& commands) {
  std::string text = "# fish completion for blip\ncomplete -c blip -f\n" +
                     fish_options(describe(app), "__fish_use_subcommand");
  for (const CommandSpec& command : commands) {
    text += "complete -c blip -n __fish_use_subcommand -a " + command.name + " -d " +
            fish_quoted(command.description) + "\n";
    text += fish_options(command, "__fish_seen_subcommand_from " + command.name);
  }
  return text;
}

// ---- man

// For roff: hyphens as typed, and no line that begins like a request.
std::string roff(const std::string& text) {
  std::string escaped = replaced(replaced(text, "\\", "\\e"), "-", "\\-");
  escaped = replaced(replaced(escaped, "'", "\\(aq"), "\n.", "\n\\&.");
  return escaped.starts_with('.') ? "\\&" + escaped : escaped;
}

std::string man_head(const std::string& page, const std::string& title,
                     const std::string& description) {
  return ".TH " + page + " 1 \"\" \"blip " + version() + "\" \"User Commands\"\n.SH NAME\n" +
         roff(title) + " \\- " + roff(description) + "\n";
}

std::string man_options(const CommandSpec& command) {
  std::string text, group;
  for (const bool positional : {true, false}) {
    for (const OptionSpec& option : positional ? command.positionals : command.options) {
      if (option.group.empty()) continue;
      if (!positional && option.group != group) text += ".SS " + roff(group = option.group) + "\n";
      text += ".TP\n\\fB" +
              (positional ? "\\fI" + roff(option.value.empty() ? option.description : option.value)
                          : roff(join(option.names, ", "))) +
              "\\fR";
      if (!positional && !option.value.empty()) text += " \\fI" + roff(option.value) + "\\fR";
      text += "\n" + roff(option.description) +
              (option.otherwise.empty() ? "" : " (default: " + roff(option.otherwise) + ")") +
              ".\n";
    }
  }
  return text;
}

// The help's footer: paragraphs, of which indented lines are examples.
std::string man_footer(const std::string& footer) {
  std::string text, line;
  bool example = false;
  std::istringstream lines(footer);
  while (std::getline(lines, line)) {
    const bool indented = line.starts_with("  ");
    if (indented != example) text += (example = indented) ? ".PP\n.nf\n.RS\n" : ".RE\n.fi\n";
    if (line.empty())
      text += ".PP\n";
    else
      text += line == "Examples:" || line == "Example:"
                  ? ".SH EXAMPLES\n"
                  : roff(indented ? line.substr(2) : line) + "\n";
  }
  if (example) text += ".RE\n.fi\n";
  // What follows the examples is what the help says of the output.
  const std::size_t after = text.find(".fi\n.PP\n");
  if (after != std::string::npos) text.insert(after + 4, ".SH NOTES\n");
  return replaced(replaced(text, ".SH NOTES\n.PP\n", ".SH NOTES\n"), ".SH EXAMPLES\n.PP\n",
                  ".SH EXAMPLES\n");
}

constexpr const char* kManStatus = R"(.SH EXIT STATUS
.TP
0
All good.
.TP
1
Some inputs failed and the rest were done, or the output could not be written.
.TP
2
The command line makes no sense.
.TP
3
The model or the device is missing, damaged or lacks the task.
.TP
130, 143
Ended by Ctrl\-C or SIGTERM.
.SH ENVIRONMENT
.TP
BLIP_MODEL
The model where \fB\-\-model\fR is not given.
.TP
BLIP_FORCE_ISA
The best instruction set to use, for tests.
)";

std::string man_page(const CommandSpec& command) {
  std::string usage;
  for (const OptionSpec& positional : command.positionals) {
    const std::string word =
        "\\fI" + roff(positional.value) + "\\fR" + (positional.repeatable ? "..." : "");
    usage += ' ' + (positional.required ? word : "[" + word + "]");
  }
  std::string description = command.description;
  if (!description.empty() && description[0] >= 'A' && description[0] <= 'Z')
    description[0] = static_cast<char>(description[0] + 32);
  return man_head("BLIP\\-" + roff(upper(command.name)), "blip-" + command.name, description) +
         ".SH SYNOPSIS\n\\fBblip " + roff(command.name) + "\\fR [\\fIOPTION\\fR...]" + usage +
         "\n.SH OPTIONS\n" + man_options(command) + man_footer(command.footer) + kManStatus +
         ".SH SEE ALSO\n.BR blip (1)\n";
}

std::string man_page(const CLI::App& app, const std::vector<CommandSpec>& commands) {
  std::string text =
      man_head("BLIP", "blip", "describe pictures, match them with texts, ask about them") +
      ".SH SYNOPSIS\n\\fBblip\\fR \\fICOMMAND\\fR [\\fIOPTION\\fR...]\n.SH DESCRIPTION\nRuns BLIP "
      "checkpoints on this machine. A small model comes with it.\n"
      "Results go to standard output, a line each; everything else goes to standard error. In "
      "these lines a backslash is \\e\\e, a tab,\n"
      "line feed and carriage return are \\et, \\en and \\er, and other control characters and "
      "bytes that are not UTF\\-8 are \\exHH.\n.SH COMMANDS\n";
  std::string also;
  for (const CommandSpec& command : commands) {
    text += ".TP\n\\fB" + roff(command.name) + "\\fR\n" + roff(command.description) + ".\n";
    also += (also.empty() ? "" : ",\n") + std::string(".BR blip\\-") + roff(command.name) + " (1)";
  }
  return text + ".SH OPTIONS\n" + man_options(describe(app)) + man_footer(app.get_footer()) +
         kManStatus + ".SH SEE ALSO\n" + also + "\n";
}

}  // namespace

std::string manual_page(const CLI::App& app, const std::string& name) {
  const std::vector<CommandSpec> commands = describe_commands(app);
  if (name.empty()) return man_page(app, commands);
  for (const CommandSpec& command : commands)
    if (command.name == name) return man_page(command);
  throw Exit(kExitUsage,
             "no command \"" + name + "\"; commands are " + command_words(commands, ", "));
}

std::string completion_script(const CLI::App& app, const std::string& shell) {
  const std::vector<CommandSpec> commands = describe_commands(app);
  if (shell == "bash") return bash_script(app, commands);
  return shell == "zsh" ? zsh_script(app, commands) : fish_script(app, commands);
}

void add_completions(CLI::App& app, Run& run) {
  auto shell = std::make_shared<std::string>();
  auto page = std::make_shared<std::string>();
  CLI::App& command =
      *app.add_subcommand("completions", "Print completions for a shell, or a manual page");
  add_choice(command, "shell", *shell, {"bash", "zsh", "fish", "man"},
             "The shell, or man: the manual page")
      ->required();
  add_named(command, "command", *page, "With man: the command whose page it is", "COMMAND");
  command.footer(kCompletionsExamples);
  command.callback([&app, shell, page, &run] {
    run = [&app, shell, page] {
      if (*shell != "man" && !page->empty())
        throw Exit(
            kExitUsage,
            "a command's name has no effect on completions, which are of all; only man takes one");
      std::string script =
          *shell == "man" ? manual_page(app, *page) : completion_script(app, *shell);
      script.pop_back();  // line() ends it
      Console({}).line(script);
      return 0;
    };
  });
}

}  // namespace blip::cli
