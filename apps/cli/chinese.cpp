#include "cli/chinese.h"

#include <algorithm>
#include <cstdlib>
#include <set>

#include "cli/chinese_glosses.h"

namespace blip::cli {
namespace {

std::string with_gloss(const std::string& english, std::string_view gloss) {
  return gloss.empty() ? english : english + " / " + std::string(gloss);
}

template <typename Table>
std::string_view find_gloss(const Table& table, std::string_view english) {
  const auto found = std::find_if(table.begin(), table.end(),
                                  [&](const Gloss& one) { return one.english == english; });
  return found == table.end() ? "" : found->chinese;
}

// "serve --batch" where an option means something of its own in a command, else "--batch".
std::string_view option_gloss(const std::string& command, const std::string& name) {
  const std::string_view own = find_gloss(kOptionGlosses, command + " " + name);
  return own.empty() ? find_gloss(kOptionGlosses, name) : own;
}

void add_to_command(CLI::App& command) {
  command.description(
      with_gloss(command.get_description(), find_gloss(kCommandGlosses, command.get_name())));
  for (CLI::Option* option : command.get_options()) {
    const std::string name = option->get_name();
    option->description(
        with_gloss(option->get_description(), option_gloss(command.get_name(), name)));
    option->group(with_gloss(option->get_group(), find_gloss(kTitleGlosses, option->get_group())));
  }
}

}  // namespace

bool speaks_chinese() {
  for (const char* name : {"LC_ALL", "LC_MESSAGES", "LANG"})
    // NOLINTNEXTLINE(concurrency-mt-unsafe): nothing here writes the environment.
    if (const char* value = std::getenv(name); value != nullptr && *value != '\0')
      return std::string_view(value).starts_with("zh");
  return false;
}

void add_chinese(CLI::App& app) {
  for (const auto& [english, chinese] : kTitleGlosses)
    app.get_formatter()->label(std::string(english), with_gloss(std::string(english), chinese));
  add_to_command(app);
  for (CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    command->formatter(app.get_formatter());
    command->group(
        with_gloss(command->get_group(), find_gloss(kTitleGlosses, command->get_group())));
    add_to_command(*command);
  }
}

std::string with_chinese(std::string_view message) {
  for (const auto& [english, chinese] : kErrorGlosses)
    if (message.find(english) != std::string_view::npos)
      return std::string(message) + "（" + std::string(chinese) + "）";
  return std::string(message);
}

}  // namespace blip::cli
