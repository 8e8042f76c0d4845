// What `blip caption` and `blip make-captions` share.
#pragma once

#include <functional>

#include "cli/job.h"
#include "cli/options.h"
#include "jobs/wording.h"

namespace blip::cli {

struct CaptionPlan {
  OutputOptions output;
  ModelOptions model;
  PictureOptions pictures;
  JobFlags job;
  jobs::WordingOptions wording;
  CaptionOptions options;
  // Fits the options to the model; throws Exit(3).
  std::function<void(GenerateOptions& options, const ModelInfo& info)> fit;
  bool log_captions = false;  // on standard error too
};

// Captions the pictures; returns the exit code.
int run_captions(CaptionPlan plan, Console& console);

}  // namespace blip::cli
