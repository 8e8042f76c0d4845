// Shell completions, made from the program's own definitions.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace blip::cli {

// shell: "bash", "zsh" or "fish".
std::string completion_script(const CLI::App& app, const std::string& shell);

}  // namespace blip::cli
