// blip pull, models, rm: models by name, in the cache that the huggingface_hub package uses too.
#include <algorithm>
#include <map>
#include <memory>

#include "cli/commands.h"
#include "cli/convert.h"
#include "cli/exit.h"
#include "cli/files.h"
#include "cli/model_path.h"

namespace blip::cli {
namespace {

constexpr const char* kPullExamples = R"(Examples:
  blip pull Salesforce/blip-image-captioning-base
  blip pull caption-large --to caption.gguf --type q8_0
  HF_ENDPOINT=https://mirror.example blip pull vqa-base

Files go into the cache of the huggingface_hub package (HF_HUB_CACHE, HF_HOME), where transformers
finds them too. A download that was interrupted goes on where it was. HF_TOKEN, HF_ENDPOINT,
HF_HUB_OFFLINE and proxies are respected.)";

constexpr const char* kModelsExamples = R"(Examples:
  blip models
  blip models --known --json

Columns: name, revision, size, tasks, path; with --known: short name, source, size, task,
licence.)";

std::string megabytes(std::uint64_t bytes) {
  const double value = static_cast<double>(bytes);
  return value < 1e9 ? fixed(value / 1e6, 1) + " MB" : fixed(value / 1e9, 2) + " GB";
}

struct PullFlags {
  OutputOptions output;
  HubFlags hub;
  std::string name, revision, destination, type = "f16";
};

int run_pull(const PullFlags& flags) {
  Console console(flags.output);
  std::string name = flags.name;
  if (!flags.revision.empty()) {
    if (name.find('@') != std::string::npos)
      throw Exit(kExitUsage, "--revision and a name with @ exclude each other");
    for (const KnownModel& model : known_models())
      if (model.short_name == name) name = model.source;
    name += "@" + flags.revision;
  }
  if (!flags.destination.empty()) check_destination(flags.destination);
  const std::string path = pull_model(name, flags.hub, console);
  pull_base(path, flags.hub, console);
  if (!flags.destination.empty())
    return write_converted({path, flags.destination, flags.type}, console);
  if (console.json())
    console.object(Json{{"name", name}, {"path", path}});
  else
    console.line(path);
  return kExitOk;
}

struct ModelsFlags {
  OutputOptions output;
  bool known = false;
};

void list_known(Console& console) {
  for (const KnownModel& model : known_models()) {
    if (console.json()) {
      console.object(Json{{"short_name", model.short_name},
                          {"source", model.source},
                          {"bytes", model.bytes},
                          {"task", model.task},
                          {"licence", model.licence}});
    } else {
      console.line(model.short_name + '\t' + model.source + '\t' + megabytes(model.bytes) + '\t' +
                   model.task + '\t' + model.licence);
    }
  }
}

int run_models(const ModelsFlags& flags) {
  Console console(flags.output);
  if (flags.known) {
    list_known(console);
    return kExitOk;
  }
  std::size_t others = 0;
  for (const CachedModel& model : cached_models()) {
    ModelInfo info;
    try {
      info = inspect(model.path);
    } catch (const Error&) {
      ++others;  // the cache holds every kind of model
      continue;
    }
    if (console.json()) {
      console.object(Json{{"name", model.name},
                          {"revision", model.revision},
                          {"commit", model.commit},
                          {"bytes", model.bytes},
                          {"tasks", task_list(info)},
                          {"path", model.path}});
    } else {
      const std::string revision = model.revision.empty() ? model.commit : model.revision;
      console.line(printable(model.name + '@' + revision) + '\t' + megabytes(model.bytes) + '\t' +
                   task_list(info) + '\t' + printable(model.path));
    }
  }
  if (others > 0)
    console.note(std::to_string(others) + (others == 1 ? " model" : " models") +
                 " of other kinds in the cache");
  return kExitOk;
}

struct RemoveFlags {
  OutputOptions output;
  std::vector<std::string> names;
};

int run_remove(const RemoveFlags& flags) {
  Console console(flags.output);
  int code = kExitOk;
  for (const std::string& name : flags.names) {
    try {
      const std::uint64_t bytes = remove_cached(name);
      if (console.json())
        console.object(Json{{"name", name}, {"bytes", bytes}});
      else
        console.note("removed " + name + ", " + megabytes(bytes));
    } catch (const Error& error) {
      if (console.json())
        console.object(Json{{"name", name}, {"error", error.what()}});
      else
        console.error(error.what());
      code = kExitSomeFailed;
    }
  }
  return code;
}

}  // namespace

void add_pull(CLI::App& app, Run& run) {
  auto flags = std::make_shared<PullFlags>();
  CLI::App& command = *app.add_subcommand("pull", "Download a model by name");
  command
      .add_option("name", flags->name,
                  "ORG/NAME, ORG/NAME@REVISION or a short name of `blip models --known`")
      ->type_name("NAME")
      ->check(not_empty())
      ->required();
  add_named(command, "--revision", flags->revision, "Branch, tag or commit; default: main", "NAME");
  CLI::Option* to = add_named(command, "--to", flags->destination,
                              "Write it as one GGUF file as well, as `blip convert` does", "FILE");
  add_choice(command, "--type", flags->type, convert_types(), "Number type of that file's matrices")
      ->capture_default_str()
      ->needs(to);
  add_hub_options(command, flags->hub);
  add_output_options(command, flags->output);
  command.footer(kPullExamples);
  command.callback([flags, &run] { run = [flags] { return run_pull(*flags); }; });
}

void add_models(CLI::App& app, Run& run) {
  auto flags = std::make_shared<ModelsFlags>();
  CLI::App& command = *app.add_subcommand("models", "List the models that are in the cache");
  command.add_flag("--known", flags->known,
                   "List the published checkpoints that have short names instead");
  add_output_options(command, flags->output);
  command.footer(kModelsExamples);
  command.callback([flags, &run] { run = [flags] { return run_models(*flags); }; });
}

void add_rm(CLI::App& app, Run& run) {
  auto flags = std::make_shared<RemoveFlags>();
  CLI::App& command = *app.add_subcommand("rm", "Remove models from the cache");
  command
      .add_option("names", flags->names,
                  "ORG/NAME, all revisions; ORG/NAME@REVISION, that one; or a short name")
      ->type_name("NAME")
      ->check(not_empty())
      ->required();
  add_output_options(command, flags->output);
  command.footer("Example:\n  blip rm Salesforce/blip-vqa-base");
  command.callback([flags, &run] { run = [flags] { return run_remove(*flags); }; });
}

}  // namespace blip::cli
