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
  bool demo_times = false;  // tell times as the vendor's sample programs do

  // The files of the one model that these options name; empty where they name none.
  std::vector<std::string> files() const;
  // Where these files run unless --device says otherwise.
  std::string device() const { return "sophon:0"; }
  // Of the model whose files these are.
  std::vector<DeviceOption> device_options(const std::vector<std::string>& files) const;
  // Throws Exit(2) where the device takes no compiled model, or no vocabulary.
  void check(const DeviceKind& device, const std::vector<std::string>& files) const;
};

// The files of a compiled model that has several, given as one name: A.bmodel,B.bmodel. Empty for
// any other name, that of a file with commas in it included.
std::vector<std::string> split_bmodels(const std::string& given);

// The compiled model: one file, or one for each stage of visual question answering; and its
// vocabulary.
void add_sophon_options(CLI::App& command, SophonFlags& flags);
// --sophon-demo-times, of the commands that the sample's programs became.
void add_sophon_demo_times(CLI::App& command, SophonFlags& flags);

}  // namespace blip::cli
