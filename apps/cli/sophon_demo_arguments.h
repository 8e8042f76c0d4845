// The command lines of SOPHON's sample programs, so that they work after replacing `python3
// python/blip_X.py` by `blip X`.
#pragma once

#include <string>
#include <vector>

namespace blip::cli {

// `cap`, `itm` and `vqa` with their options -> `caption`, `match` and `ask` with ours; anything
// else stays as it is.
// (--bmodel_path, --tokenizer_path and their like are known to those commands already.)
std::vector<std::string> sophon_demo_arguments(std::vector<std::string> arguments);

}  // namespace blip::cli
