// blip bench on SOPHON chips: how often each compiled network runs for a task, and how long.
#pragma once

#include <string>

#include "cli/options.h"

namespace blip::cli {

// Runs every task that the model has `runs` times, after one that is not counted, on `image` ("" = a picture made in memory), and
// prints a line for each network.
int bench_networks(const ModelOptions& model, const std::string& image, int runs, Console& console);

}  // namespace blip::cli
