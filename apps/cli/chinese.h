// Chinese glosses beside the English of the help and of frequent errors, where the user's locale is
// Chinese.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <string_view>

namespace blip::cli {

// By LC_ALL, else LC_MESSAGES, else LANG, as gettext has it.
bool speaks_chinese();

// Puts a gloss behind each title, description of a command and of an option that has one.
void add_chinese(CLI::App& app);

// The message with a gloss behind it, where it is one of the frequent ones.
std::string with_chinese(std::string_view message);

}  // namespace blip::cli
