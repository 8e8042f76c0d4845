// What the command line says of compiled models for SOPHON chips, by the names that the vendor's
// sample programs use, as device options.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "blip/blip.h"

namespace blip::cli {

struct SophonFlags {
  std::string bmodel, vision, question, answer, tokenizer;  // "" = not given

  std::vector<std::string> files() const;
  std::string first_file() const { return files().empty() ? "" : files().front(); }
  // Where these files run unless --device says otherwise.
  std::string device() const { return "sophon:0"; }
  std::vector<DeviceOption> device_options() const;
  // Throws Exit(2) where the device takes no compiled model, or no vocabulary.
  void check(const DeviceKind& device) const;
};

// The compiled model: one file, or one for each stage of visual question answering; and its
// vocabulary.
enum class BmodelFiles { kWholeTask, kStages };
void add_sophon_options(CLI::App& command, SophonFlags& flags, BmodelFiles files);

}  // namespace blip::cli
