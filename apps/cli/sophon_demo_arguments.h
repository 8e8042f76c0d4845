// The command lines of the programs of SOPHON's BLIP sample (sophon-demo), so that they work after
// replacing `python3 python/blip_X.py` by `blip X`.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace blip::cli {

// `cap`, `itm` and `vqa` with their options -> `caption`, `match` and `ask` with ours; anything
// else stays as it is. What the command line does not say is what the sample takes, where its files
// are there. Throws Exit(2) where a picture or a model is missing that is not there either. app:
// the program, which knows the options of ours that take values.
std::vector<std::string> sophon_demo_arguments(std::vector<std::string> arguments,
                                               const CLI::App& app);

// The compiled models that the sample's program for this command ("caption", "match", "ask") takes
// by itself, in the sample's folder `root`.
std::vector<std::string> sophon_demo_bmodels(std::string_view command, const std::string& root);

}  // namespace blip::cli
