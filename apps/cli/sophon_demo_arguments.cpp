#include "cli/sophon_demo_arguments.h"

#include <array>
#include <string_view>
#include <utility>

namespace blip::cli {
namespace {

constexpr std::array<std::pair<std::string_view, std::string_view>, 3> kCommands = {
    {{"cap", "caption"}, {"itm", "match"}, {"vqa", "ask"}}};

// A path that could be read as an option stays a path.
std::string as_path(std::string value) {
  return value.size() > 1 && value.front() == '-' ? "./" + value : value;
}

}  // namespace

std::vector<std::string> sophon_demo_arguments(std::vector<std::string> arguments) {
  if (arguments.empty()) return arguments;
  std::string_view command;
  for (const auto& [program, ours] : kCommands)
    if (arguments.front() == program) command = ours;
  if (command.empty()) return arguments;
  std::vector<std::string> result{std::string(command)};
  bool device = false;
  for (std::size_t i = 1; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    const std::size_t equals = argument.find('=');
    const std::string name = argument.substr(0, equals);
    if (name != "--image_path" && name != "--dev_id") {
      device = device || name == "--device";
      result.push_back(argument);
      continue;
    }
    const bool has_value = equals != std::string::npos || i + 1 < arguments.size();
    if (!has_value) {
      // the parser says that the value is missing
      result.push_back(name == "--dev_id" ? "--device" : argument);
      continue;
    }
    std::string value = equals != std::string::npos ? argument.substr(equals + 1) : arguments[++i];
    if (name == "--image_path") {
      result.push_back(as_path(std::move(value)));
    } else {
      result.push_back("--device=sophon:" + value);
      device = true;
    }
  }
  if (!device) result.push_back("--device=sophon:0");  // as the samples do
  return result;
}

}  // namespace blip::cli
