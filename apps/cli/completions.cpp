// blip completions: what bash, zsh and fish need to complete the command line. Nothing is written down twice: commands,
// options, their descriptions and choices are read from the CLI11 definitions.
#include "cli/completions.h"

#include <memory>
#include <vector>

#include "cli/commands.h"

namespace blip::cli {
namespace {

constexpr const char* kExamples = R"(Examples:
  source <(blip completions bash)
  blip completions zsh > ~/.zsh/completions/_blip
  blip completions fish > ~/.config/fish/completions/blip.fish)";

struct OptionSpec {
  std::vector<std::string> names;    // "--model", "-m"; empty for a positional
  std::string description, value;    // value: its type's name; empty for a flag
  std::vector<std::string> choices;
  bool files = false, repeatable = false;
};

struct CommandSpec {
  std::string name, description;
  std::vector<OptionSpec> options, positionals;
};

// add_choice() shows the words as "{a,b}".
std::vector<std::string> choices_of(const std::string& type) {
  std::vector<std::string> choices;
  const std::size_t begin = type.find('{');
  if (begin == std::string::npos || type.back() != '}') return choices;
  for (const std::string& choice : CLI::detail::split(type.substr(begin + 1, type.size() - begin - 2), ',')) choices.push_back(choice);
  return choices;
}

OptionSpec describe(const CLI::Option& option) {
  OptionSpec spec;
  for (const std::string& name : option.get_lnames()) spec.names.push_back("--" + name);
  for (const std::string& name : option.get_snames()) spec.names.push_back("-" + name);
  spec.description = option.get_description();
  if (option.get_items_expected_max() > 0) {
    spec.value = option.get_type_name();
    spec.choices = choices_of(spec.value);
    spec.files = spec.value == "FILE" || spec.value == "PATH" || spec.value == "IMAGE";
    spec.repeatable = option.get_items_expected_max() > 1;
  }
  return spec;
}

CommandSpec describe(const CLI::App& app) {
  CommandSpec command{app.get_name(), app.get_description(), {}, {}};
  for (const CLI::Option* option : app.get_options()) {
    (option->get_positional() ? command.positionals : command.options).push_back(describe(*option));
  }
  return command;
}

std::vector<CommandSpec> describe_commands(const CLI::App& app) {
  std::vector<CommandSpec> commands;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) commands.push_back(describe(*command));
  return commands;
}

template <class Range>
std::string join(const Range& words, const std::string& separator) {
  std::string joined;
  for (const std::string& word : words) joined += (joined.empty() ? "" : separator) + word;
  return joined;
}

std::string option_words(const CommandSpec& command) {
  std::string words;
  for (const OptionSpec& option : command.options) words += (words.empty() ? "" : " ") + join(option.names, " ");
  return words;
}

std::string command_words(const std::vector<CommandSpec>& commands, const std::string& separator) {
  std::vector<std::string> names;
  for (const CommandSpec& command : commands) names.push_back(command.name);
  return join(names, separator);
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) text.replace(at, from.size(), to);
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
  text += "      " + command_words(commands, "|") + ") command=$word; break ;;\n    esac\n  done\n  COMPREPLY=()\n  case $command:$prev in\n";
  for (const CommandSpec& command : commands) text += bash_case(command);
  text += "  esac\n  case $command in\n    '') _blip_words '" + command_words(commands, " ") + " " + option_words(describe(app)) + "' ;;\n";
  for (const CommandSpec& command : commands) {
    text += "    " + command.name + ") if [[ $cur == -* ]]; then _blip_words '" + option_words(command) + "'; else ";
    const bool choices = !command.positionals.empty() && !command.positionals.front().choices.empty();
    text += choices ? "_blip_words '" + join(command.positionals.front().choices, " ") + "'" : command.positionals.empty() ? ":" : "_blip_files";
    text += "; fi ;;\n";
  }
  return text + "  esac\n}\ncomplete -o filenames -F _blip blip\n";
}

// ---- zsh

// For a description inside [...] within single quotes.
std::string zsh_text(const std::string& text) {
  std::string escaped = replaced(text, "\\", "\\\\");
  for (const char* special : {"[", "]", ":"}) escaped = replaced(escaped, special, std::string("\\") + special);
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
      text += " \\\n        '" + std::string(option.repeatable ? "*" : "") + name + "[" + zsh_text(option.description) + "]";
      if (!option.value.empty()) text += ":" + zsh_text(option.value) + ":" + zsh_action(option);
      text += "'";
    }
  }
  for (const OptionSpec& positional : command.positionals) {
    text += " \\\n        '" + std::string(positional.repeatable ? "*" : "") + ":" + zsh_text(positional.value) + ":" + zsh_action(positional) + "'";
  }
  return text;
}

std::string zsh_script(const CLI::App& app, const std::vector<CommandSpec>& commands) {
  std::string text = "#compdef blip\n_blip() {\n  local -a commands=(\n";
  for (const CommandSpec& command : commands) text += "    '" + command.name + ":" + zsh_text(command.description) + "'\n";
  text += "  )\n  if (( CURRENT == 2 )); then\n    _describe command commands\n    _arguments" + zsh_arguments(describe(app)) +
          "\n    return\n  fi\n  case $words[2] in\n";
  for (const CommandSpec& command : commands) {
    text += "    " + command.name + ")\n      shift words; (( CURRENT-- ))\n      _arguments" + zsh_arguments(command) + " ;;\n";
  }
  return text + "  esac\n}\nif [[ $funcstack[1] == _blip ]]; then _blip \"$@\"; else compdef _blip blip; fi\n";
}

// ---- fish

std::string fish_quoted(const std::string& text) { return "'" + replaced(replaced(text, "\\", "\\\\"), "'", "\\'") + "'"; }

std::string fish_value(const OptionSpec& option) {
  if (!option.choices.empty()) return " -x -a " + fish_quoted(join(option.choices, " "));
  if (option.files) return " -r -F";
  return option.value.empty() ? "" : " -x";
}

std::string fish_options(const CommandSpec& command, const std::string& condition) {
  std::string text;
  for (const OptionSpec& option : command.options) {
    text += "complete -c blip -n " + fish_quoted(condition);
    for (const std::string& name : option.names) text += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
    text += fish_value(option) + " -d " + fish_quoted(option.description) + "\n";
  }
  for (const OptionSpec& positional : command.positionals) {
    text += "complete -c blip -n " + fish_quoted(condition);
    text += positional.choices.empty() ? " -F\n" : " -a " + fish_quoted(join(positional.choices, " ")) + "\n";
  }
  return text;
}

std::string fish_script(const CLI::App& app, const std::vector<CommandSpec>& commands) {
  std::string text = "# fish completion for blip\ncomplete -c blip -f\n" + fish_options(describe(app), "__fish_use_subcommand");
  for (const CommandSpec& command : commands) {
    text += "complete -c blip -n __fish_use_subcommand -a " + command.name + " -d " + fish_quoted(command.description) + "\n";
    text += fish_options(command, "__fish_seen_subcommand_from " + command.name);
  }
  return text;
}

}  // namespace

std::string completion_script(const CLI::App& app, const std::string& shell) {
  const std::vector<CommandSpec> commands = describe_commands(app);
  if (shell == "bash") return bash_script(app, commands);
  return shell == "zsh" ? zsh_script(app, commands) : fish_script(app, commands);
}

void add_completions(CLI::App& app, Run& run) {
  auto shell = std::make_shared<std::string>();
  CLI::App& command = *app.add_subcommand("completions", "Print completions for a shell");
  add_choice(command, "shell", *shell, {"bash", "zsh", "fish"}, "The shell")->required();
  command.footer(kExamples);
  command.callback([&app, shell, &run] {
    run = [&app, shell] {
      std::string script = completion_script(app, *shell);
      script.pop_back();  // line() ends it
      Console({}).line(script);
      return 0;
    };
  });
}

}  // namespace blip::cli
