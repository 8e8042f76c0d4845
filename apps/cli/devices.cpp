// blip devices: where models can run.
#include <memory>

#include "cli/commands.h"

namespace blip::cli {
namespace {

int run_devices(const OutputOptions& output) {
  Console console(output);
  keep_output_for_results(output.quiet);
  for (const DeviceInfo& device : devices()) {
    if (console.json()) {
      console.object(Json{{"id", device.id}, {"description", device.description}});
    } else {
      console.line(device.id + '\t' + printable(device.description));
    }
  }
  return 0;
}

}  // namespace

void add_devices(CLI::App& app, Run& run) {
  auto output = std::make_shared<OutputOptions>();
  CLI::App& command = *app.add_subcommand("devices", "List what --device accepts");
  add_output_options(command, *output);
  command.footer("Example:\n  blip devices --json");
  command.callback([output, &run] { run = [output] { return run_devices(*output); }; });
}

}  // namespace blip::cli
