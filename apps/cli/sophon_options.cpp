#include "cli/sophon_options.h"

#include "cli/exit.h"
#include "cli/options.h"

namespace blip::cli {
namespace {

constexpr const char *kFile = "file", *kTokenizer = "tokenizer";  // device options

}  // namespace

std::vector<std::string> SophonFlags::files() const {
  std::vector<std::string> given;
  for (const std::string& file : {bmodel, vision, question, answer})
    if (!file.empty()) given.push_back(file);
  return given;
}

std::vector<DeviceOption> SophonFlags::device_options() const {
  std::vector<DeviceOption> options;
  for (const std::string& file : files()) options.push_back({kFile, file});
  if (!tokenizer.empty()) options.push_back({kTokenizer, tokenizer});
  return options;
}

void SophonFlags::check(const DeviceKind& device) const {
  if (!files().empty() && !device.option_named(kFile))
    throw Exit(kExitUsage,
               "a compiled model runs on a SOPHON chip: the device must be sophon or "
               "sophon:N, not " +
                   device.name);
  if (tokenizer.empty() || device.option_named(kTokenizer)) return;
  throw Exit(kExitUsage, "--tokenizer-path has no effect on " + device.name +
                             ": a model file brings its own vocabulary; only compiled models "
                             "take one");
}

void add_sophon_options(CLI::App& command, SophonFlags& flags, BmodelFiles files) {
  const auto add = [&](const char* names, std::string& value, const char* description,
                       const char* type) {
    return add_named(command, names, value, description, type)->group("SOPHON");
  };
  if (files == BmodelFiles::kWholeTask) {
    add("--bmodel-path,--bmodel_path", flags.bmodel, "Compiled model, instead of --model", "FILE");
  } else {
    CLI::Option* vision = add("--venc-bmodel-path,--venc_bmodel_path", flags.vision,
                              "Compiled vision encoder, instead of --model", "FILE");
    CLI::Option* question = add("--tenc-bmodel-path,--tenc_bmodel_path", flags.question,
                                "Compiled question encoder", "FILE");
    CLI::Option* answer = add("--tdec-bmodel-path,--tdec_bmodel_path", flags.answer,
                              "Compiled answer decoder", "FILE");
    vision->needs(question)->needs(answer);
    question->needs(vision);
    answer->needs(vision);
  }
  add("--tokenizer-path,--tokenizer_path", flags.tokenizer,
      "Vocabulary of a compiled model; default: bert-base-uncased, built in", "PATH");
}

}  // namespace blip::cli
