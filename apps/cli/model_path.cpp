#include "cli/model_path.h"

#include <cstdlib>
#include <filesystem>

#include "cli/exit.h"

namespace blip::cli {

std::string find_model(const std::string& given) {
  if (!given.empty()) return given;
  // NOLINTNEXTLINE(concurrency-mt-unsafe): nothing here writes the environment.
  if (const char* path = std::getenv("BLIP_MODEL"); path != nullptr && *path != '\0') return path;
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::path executable = fs::read_symlink("/proc/self/exe", error);
  const fs::path bundled = (executable.parent_path() / BLIP_DATA_FROM_BIN / "models" / "blip-demo.gguf").lexically_normal();
  if (!error && fs::exists(bundled, error)) return bundled.string();
  throw Exit(kExitModel, "no model: the bundled one is not at " + bundled.string() +
                             "; give one with --model PATH or in the environment variable BLIP_MODEL");
}

}  // namespace blip::cli
