// blip info: what a model holds and can do.
#include <memory>

#include "cli/commands.h"
#include "cli/exit.h"
#include "cli/model_path.h"
#include "cli/pictures.h"

namespace blip::cli {
namespace {

constexpr const char* kInfoExamples = R"(Examples:
  blip info
  blip info --model blip-vqa-base/ --json
  blip info --model blip-base-bm1684x-f16/ --verify)";

struct InfoFlags {
  OutputOptions output;
  ModelOptions model;
  bool verify = false;
};

std::string millions(std::size_t parameters) {
  return fixed(static_cast<double>(parameters) / 1e6, 2) + " M";
}

Json to_json(const Engine& engine) {
  const ModelInfo& info = engine.info();
  Json parts = Json::array();
  for (const PartInfo& part : info.parts) {
    parts.push_back({{"name", part.name},
                     {"layers", part.layers},
                     {"width", part.width},
                     {"heads", part.heads},
                     {"mlp", part.mlp},
                     {"parameters", part.parameters},
                     {"type", part.type}});
  }
  Json networks = Json::array();
  for (const ExecutableUse& network : engine.executables())
    networks.push_back({{"device", network.device},
                        {"name", network.name},
                        {"inputs", network.inputs},
                        {"outputs", network.outputs},
                        {"cores", network.cores}});
  return Json{{"path", info.path},
              {"name", info.name},
              {"format", info.format},
              {"image_size", info.image_size},
              {"patch_size", info.patch_size},
              {"vocab_size", info.vocab_size},
              {"embed_dim", info.embed_dim},
              {"prompt", info.prompt},
              {"text_length", info.text_length},
              {"max_text_length", info.max_text_length},
              {"max_length", info.max_length},
              {"tokens",
               {{"bos", info.bos_token},
                {"eos", info.eos_token},
                {"pad", info.pad_token},
                {"question", info.question_token}}},
              {"adapters", info.adapters},
              {"warnings", info.warnings},
              {"parameters", info.parameters},
              {"tasks",
               {{"caption", info.can_caption},
                {"match_itm", info.can_match_itm},
                {"match_itc", info.can_match_itc},
                {"ask", info.can_ask},
                {"rank", info.can_rank},
                {"nlvr", info.can_nlvr}}},
              {"parts", parts},
              {"networks", networks},
              {"device", engine.device()},
              {"dtype", to_string(engine.dtype())},
              {"threads", engine.threads()}};
}

void print_networks(Console& console, const Engine& engine) {
  console.line("");
  for (const ExecutableUse& network : engine.executables())
    console.line(network.device + ": " + printable(network.name) + ": " +
                 printable(network.inputs) + " -> " + printable(network.outputs) +
                 (network.cores > 1 ? ", " + std::to_string(network.cores) + " cores" : ""));
}

void print(Console& console, const Engine& engine) {
  const ModelInfo& info = engine.info();
  console.line("name        " + printable(info.name));
  console.line("path        " + printable(info.path));
  console.line("format      " + info.format);
  for (const std::string& adapter : info.adapters)
    console.line("adapter     " + printable(adapter) + ", merged");
  console.line("tasks       " + task_list(info));
  const std::string side = std::to_string(info.image_size);
  console.line("picture     " + side + " x " + side +
               (info.patch_size > 0 ? ", patches of " + std::to_string(info.patch_size) : ""));
  console.line("vocabulary  " + std::to_string(info.vocab_size));
  if (info.embed_dim > 0) console.line("embedding   " + std::to_string(info.embed_dim));
  if (info.can_caption) console.line("prompt      \"" + printable(info.prompt) + "\"");
  if (info.max_text_length > 0)
    console.line("texts       " + std::to_string(info.text_length) + " tokens, up to " +
                 std::to_string(info.max_text_length));
  if (info.max_length > 0)
    console.line("length      " + std::to_string(info.max_length) + " tokens, prompt included");
  if (!engine.executables().empty()) return print_networks(console, engine);
  console.line("parameters  " + millions(info.parameters));
  console.line("");
  console.line(left_aligned("part", 18) + left_aligned("layers", 8) + left_aligned("width", 8) +
               left_aligned("heads", 8) + left_aligned("mlp", 8) + left_aligned("parameters", 12) +
               "type");
  for (const PartInfo& part : info.parts) {
    console.line(left_aligned(part.name, 18) + left_aligned(std::to_string(part.layers), 8) +
                 left_aligned(std::to_string(part.width), 8) +
                 left_aligned(std::to_string(part.heads), 8) +
                 left_aligned(std::to_string(part.mlp), 8) +
                 left_aligned(millions(part.parameters), 12) + part.type);
  }
}

// Reads every file of the model, and says which are not what was made. No device is needed.
int run_verify(const InfoFlags& flags, Console& console) {
  if (!flags.model.sophon.files().empty() || !split_bmodels(flags.model.model).empty())
    throw Exit(kExitUsage,
               "--verify reads a folder of build-bmodels (--model DIR): a bmodel alone comes with "
               "no digests");
  bool good = true;
  for (const FileCheck& check : verify(model_path(flags.model.model, flags.model.hub, console))) {
    good = good && check.good();
    const std::string result = !check.problem.empty() ? "unreadable"
                               : check.good()         ? "good"
                                                      : "changed";
    if (console.json()) {
      console.object(Json{{"file", check.path},
                          {"result", result},
                          {"sha256", check.got.empty() ? Json() : Json(check.got)},
                          {"expected", check.expected}});
    } else {
      console.line(result + "\t" + printable(check.path) +
                   (check.good() ? ""
                    : check.got.empty()
                        ? "\t" + printable(check.problem)
                        : "\tSHA-256 " + check.got + ", expected " + check.expected));
    }
    if (check.good()) continue;
    console.warning(check.problem.empty() ? check.path + " is not what was compiled; copy it again"
                                          : check.problem);
  }
  return good ? kExitOk : kExitSomeFailed;
}

int run_info(const InfoFlags& flags) {
  Console console(flags.output);
  if (flags.verify) return run_verify(flags, console);
  const Engine engine = load_engine(flags.model, console);
  if (console.json()) {
    console.object(to_json(engine));
  } else {
    print(console, engine);
  }
  return 0;
}

}  // namespace

void add_info(CLI::App& app, Run& run) {
  auto flags = std::make_shared<InfoFlags>();
  CLI::App& command = *app.add_subcommand("info", "Show what a model holds and can do");
  add_model_options(command, flags->model);
  command.add_flag("--verify", flags->verify,
                   "Read every file of a model compiled for SOPHON chips and compare it with the "
                   "SHA-256 that it was made with");
  add_output_options(command, flags->output);
  command.footer(kInfoExamples);
  command.callback([flags, &run] { run = [flags] { return run_info(*flags); }; });
}

}  // namespace blip::cli
