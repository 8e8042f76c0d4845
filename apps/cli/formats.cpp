// blip formats: which pictures this build reads.
#include <memory>

#include "cli/commands.h"

namespace blip::cli {
namespace {

std::string joined_words(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

int run_formats(const OutputOptions& output) {
  Console console(output);
  for (const ImageFormat& format : image_formats()) {
    if (console.json()) {
      console.object(Json{{"name", format.name},
                          {"readable", format.readable},
                          {"reader", format.reader},
                          {"endings", format.endings},
                          {"media_types", format.media_types}});
    } else {
      console.line(format.name + '\t' + (format.readable ? "read by " : "not read: ") +
                   format.reader + '\t' + joined_words(format.endings));
    }
  }
  return 0;
}

}  // namespace

void add_formats(CLI::App& app, Run& run) {
  auto output = std::make_shared<OutputOptions>();
  CLI::App& command = *app.add_subcommand("formats", "List the formats of pictures");
  add_output_options(command, *output);
  command.footer(
      "Example:\n  blip formats --json\n\nName, what reads it in this build, and the endings by "
      "which folders are searched. A picture's format is found by its content.");
  command.callback([output, &run] { run = [output] { return run_formats(*output); }; });
}

}  // namespace blip::cli
