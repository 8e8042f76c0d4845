// One function per command: defines it and, when the command line chooses it, sets what to run.
#pragma once

#include <CLI/CLI.hpp>

#include "cli/options.h"

namespace blip::cli {

void add_caption(CLI::App& app, Run& run);
void add_make_captions(CLI::App& app, Run& run);
void add_match(CLI::App& app, Run& run);
void add_ask(CLI::App& app, Run& run);
void add_capfilt(CLI::App& app, Run& run);
void add_nlvr(CLI::App& app, Run& run);
void add_embed(CLI::App& app, Run& run);
void add_convert(CLI::App& app, Run& run);
void add_pull(CLI::App& app, Run& run);
void add_models(CLI::App& app, Run& run);
void add_rm(CLI::App& app, Run& run);
void add_info(CLI::App& app, Run& run);
void add_devices(CLI::App& app, Run& run);
void add_formats(CLI::App& app, Run& run);
void add_dump(CLI::App& app, Run& run);
void add_serve(CLI::App& app, Run& run);
void add_bench(CLI::App& app, Run& run);
void add_eval(CLI::App& app, Run& run);
void add_completions(CLI::App& app, Run& run);

}  // namespace blip::cli
