#include "cli/model_path.h"

#include <cstdlib>
#include <filesystem>
#include <memory>

#include "cli/exit.h"
#include "cli/interrupt.h"

namespace blip::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMegabyte = 1'000'000;

std::string bundled_model() {
  std::error_code error;
  const fs::path executable = fs::read_symlink("/proc/self/exe", error);
  const fs::path bundled =
      (executable.parent_path() / BLIP_DATA_FROM_BIN / "models" / "blip-demo.gguf")
          .lexically_normal();
  if (!error && fs::exists(bundled, error)) return bundled.string();
  throw Exit(kExitModel,
             "no model: the bundled one is not at " + bundled.string() +
                 "; give one with --model PATH or NAME, or in the environment variable BLIP_MODEL");
}

// What looks like a path is one: its own error says that it is missing.
std::string here_or_pulled(const std::string& given, const HubFlags& flags, Console& console) {
  std::error_code ignored;
  const bool here = fs::exists(given, ignored) ? !flags.update : !is_model_name(given);
  return here ? given : pull_model(given, flags, console);
}

}  // namespace

std::string given_model(const std::string& given) {
  if (!given.empty()) return given;
  // NOLINTNEXTLINE(concurrency-mt-unsafe): nothing here writes the environment.
  const char* path = std::getenv("BLIP_MODEL");
  return path == nullptr ? "" : path;
}

HubOptions hub_options(const HubFlags& flags, Console& console) {
  HubOptions options;
  options.update = flags.update;
  options.offline = flags.offline;
  options.cancel = [] { return interrupted() != 0; };
  options.warning = [&console](const std::string& message) { console.warning(message); };
  options.progress = [&console, file = std::make_shared<std::string>()](
                         const std::string& name, std::uint64_t done, std::uint64_t total) {
    if (*file != name) {
      console.end_progress();
      console.start_progress("MB of " + name, total / kMegabyte);
      *file = name;
    }
    console.progress(done / kMegabyte);
    if (done == total) console.end_progress();
  };
  return options;
}

std::string pull_model(const std::string& name, const HubFlags& flags, Console& console) {
  try {
    std::string path = pull(name, hub_options(flags, console));
    console.end_progress();
    return path;
  } catch (const Error& error) {
    console.end_progress();
    stop_if_interrupted();
    throw Exit(error.code() == ErrorCode::kUsage ? kExitUsage : kExitModel, error.what());
  }
}

void pull_base(const std::string& path, const HubFlags& flags, Console& console) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return;
  std::string base;
  try {
    base = adapter_base(path);
  } catch (const Error& error) {
    throw Exit(kExitModel, error.what());
  }
  if (is_model_name(base) && !fs::exists(base, ignored)) pull_model(base, flags, console);
}

std::string model_path(const std::string& given, const HubFlags& flags, Console& console,
                       const std::vector<std::string>& adapters) {
  std::string model = given_model(given);
  if (model.empty() && !adapters.empty()) model = adapters.front();
  if (model.empty()) return bundled_model();
  std::string path = here_or_pulled(model, flags, console);
  pull_base(path, flags, console);
  return path;
}

std::vector<std::string> adapter_paths(const std::vector<std::string>& given, const HubFlags& flags,
                                       Console& console) {
  std::vector<std::string> paths;
  for (const std::string& adapter : given) paths.push_back(here_or_pulled(adapter, flags, console));
  return paths;
}

}  // namespace blip::cli
