#include "cli/sophon_options.h"

#include <algorithm>
#include <filesystem>

#include "cli/exit.h"
#include "cli/options.h"

namespace blip::cli {
namespace {

constexpr const char *kFileOption = "file", *kTokenizerOption = "tokenizer";  // device options

}  // namespace

std::vector<std::string> SophonFlags::files() const {
  std::vector<std::string> given = split_bmodels(bmodel);
  if (given.empty() && !bmodel.empty()) given.push_back(bmodel);
  for (const std::string& file : {vision, question, answer})
    if (!file.empty()) given.push_back(file);
  return given;
}

std::vector<DeviceOption> SophonFlags::device_options(const std::vector<std::string>& files) const {
  std::vector<DeviceOption> options;
  for (const std::string& file : files) options.push_back({kFileOption, file});
  if (!tokenizer.empty()) options.push_back({kTokenizerOption, tokenizer});
  return options;
}

void SophonFlags::check(const DeviceKind& device, const std::vector<std::string>& files) const {
  if (!files.empty() && !device.option_named(kFileOption))
    throw Exit(kExitUsage,
               "a compiled model runs on a SOPHON chip: the device must be sophon or "
               "sophon:N, not " +
                   device.name);
  if (tokenizer.empty() || device.option_named(kTokenizerOption)) return;
  throw Exit(kExitUsage, "--tokenizer-path has no effect on " + device.name +
                             ": a model file brings its own vocabulary; only compiled models "
                             "take one");
}

std::vector<std::string> split_bmodels(const std::string& given) {
  std::error_code ignored;
  if (given.find(',') == std::string::npos || std::filesystem::exists(given, ignored)) return {};
  std::vector<std::string> files = CLI::detail::split(given, ',');
  const auto is_bmodel = [](const std::string& file) { return file.ends_with(".bmodel"); };
  return std::all_of(files.begin(), files.end(), is_bmodel) ? files : std::vector<std::string>();
}

void add_sophon_options(CLI::App& command, SophonFlags& flags) {
  const auto add = [&](const char* names, std::string& value, const char* description,
                       const char* type) {
    return add_named(command, names, value, description, type)->group("SOPHON");
  };
  add("--bmodel-path,--bmodel_path", flags.bmodel,
      "Compiled model, instead of --model; several files of one model with commas", "FILE");
  CLI::Option* vision = add("--venc-bmodel-path,--venc_bmodel_path", flags.vision,
                            "Compiled vision encoder, instead of --model", "FILE");
  CLI::Option* question = add("--tenc-bmodel-path,--tenc_bmodel_path", flags.question,
                              "Compiled question encoder", "FILE");
  CLI::Option* answer =
      add("--tdec-bmodel-path,--tdec_bmodel_path", flags.answer, "Compiled answer decoder", "FILE");
  vision->needs(question)->needs(answer);
  question->needs(vision);
  answer->needs(vision);
  add("--tokenizer-path,--tokenizer_path", flags.tokenizer,
      "Vocabulary of a compiled model; default: bert-base-uncased, built in", "PATH");
}

void add_sophon_demo_times(CLI::App& command, SophonFlags& flags) {
  command
      .add_flag("--sophon-demo-times", flags.demo_times,
                "Tell mean times as the vendor's sample programs do")
      ->group("SOPHON");
}

}  // namespace blip::cli
