// Shell completions, made from the program's own definitions.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace blip::cli {

// shell: "bash", "zsh" or "fish".
std::string completion_script(const CLI::App& app, const std::string& shell);

// The manual page of a command in roff; "": of the program.
std::string manual_page(const CLI::App& app, const std::string& command);

}  // namespace blip::cli
