// blip bench on devices that run a model in parts of their own: how often each runs for a task, and
// how long.
#pragma once

#include <string>

#include "cli/options.h"

namespace blip::cli {

// Runs every task that the model has `runs` times, after one that is not counted, on `image` ("" =
// a picture made in memory), and prints a line for each of Engine::executables().
int bench_executables(const ModelOptions& model, const std::string& image, int runs,
                      Console& console);

}  // namespace blip::cli
