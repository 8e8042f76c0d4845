#include "cli/sophon_demo_arguments.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <filesystem>
#include <set>
#include <span>

#include "cli/exit.h"
#include "cli/model_path.h"

namespace blip::cli {
namespace {

// An option of the sample and the file that it takes by itself, below the sample's folder.
struct FileOption {
  std::string_view option, file;
};

struct Program {
  std::string_view name, command;
  std::string_view text_option;  // what --text is called here; "" = the program has none
  std::string_view picture;
  std::span<const FileOption> bmodels;
  std::span<const std::string_view> texts;
};

constexpr std::array<FileOption, 1> kCaptionFiles = {
    {{"--bmodel_path", "models/BM1684X/blip_cap_bm1684x_f32_1b.bmodel"}}};
constexpr std::array<FileOption, 1> kMatchFiles = {
    {{"--bmodel_path", "models/BM1684X/blip_itm_bm1684x_f32_1b.bmodel"}}};
constexpr std::array<FileOption, 3> kAskFiles = {
    {{"--venc_bmodel_path", "models/BM1684X/blip_vqa_venc_bm1684x_f32_1b.bmodel"},
     {"--tenc_bmodel_path", "models/BM1684X/blip_vqa_tenc_bm1684x_f32_1b.bmodel"},
     {"--tdec_bmodel_path", "models/BM1684X/blip_vqa_tdec_bm1684x_f32_1b.bmodel"}}};
constexpr FileOption kTokenizer{"--tokenizer_path", "models/bert-base-uncased"};
constexpr std::array<std::string_view, 2> kMatchTexts = {"a woman sitting on the beach with a dog",
                                                         "a woman sitting on the beach with a cat"};

constexpr std::array<Program, 3> kPrograms = {
    {{"cap", "caption", "", "datasets/test", kCaptionFiles, {}},
     {"itm", "match", "--text", "datasets/test/demo.jpg", kMatchFiles, kMatchTexts},
     {"vqa", "ask", "--question", "datasets/test/demo.jpg", kAskFiles, {}}}};

bool exists(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

// Options have names with dashes here.
std::string dashed(std::string name) {
  std::replace(name.begin(), name.end(), '_', '-');
  return name;
}

// A path that could be read as an option or as a list of names stays a path.
std::string as_path(std::string value) {
  return value.starts_with('-') || value.starts_with('@') ? "./" + value : value;
}

// As Python's argparse tells options from values: what has a space or is a negative number is none.
bool is_option(std::string_view argument) {
  if (argument.size() < 2 || argument.front() != '-') return false;
  if (argument.find(' ') != std::string_view::npos) return false;
  return !std::all_of(argument.begin() + 1, argument.end(),
                      [](unsigned char c) { return std::isdigit(c) != 0 || c == '.'; });
}

// One command line of the sample, read from left to right.
class Translation {
 public:
  Translation(const Program& program, const std::vector<std::string>& arguments,
              const CLI::App& app)
      : program_(program),
        command_(*app.get_subcommand(std::string(program.command))),
        arguments_(arguments),
        result_{std::string(program.command)} {
    while (next_ < arguments_.size()) read();
    if (wants_help()) return;
    add_default_picture();
    add_default_texts();
    add_default_model();
    if (!given("--device")) result_.emplace_back("--device=sophon:0");
    result_.emplace_back("--sophon-demo-times");
  }
  std::vector<std::string> result() && { return std::move(result_); }

 private:
  bool given(const std::string& name) const { return given_.contains(dashed(name)); }
  bool wants_help() const { return given("--help") || given("-h"); }

  void read() {
    const std::string argument = arguments_[next_++];
    const std::size_t equals = argument.find('=');
    const std::string name = argument.substr(0, equals);
    const std::string value = equals == std::string::npos ? "" : argument.substr(equals + 1);
    if (!is_option(argument)) {
      has_picture_ = true;
      result_.push_back(argument);
      return;
    }
    given_.insert(dashed(name));
    if (name == "--text" && !program_.text_option.empty())
      read_texts(equals != std::string::npos, value);
    else if (name == "--image_path" || name == "--dev_id" || takes_file(name))
      read_value(name, equals != std::string::npos, value);
    else
      read_ours(argument, equals != std::string::npos);
  }

  // An option of ours with its value, which is no picture.
  void read_ours(const std::string& argument, bool has_value) {
    result_.push_back(argument);
    const CLI::Option* option =
        command_.get_option_no_throw(argument.substr(0, argument.find('=')));
    const bool takes_value = option != nullptr && option->get_items_expected_max() > 0;
    if (takes_value && !has_value && next_ < arguments_.size())
      result_.push_back(arguments_[next_++]);
  }

  bool takes_file(const std::string& name) const {
    const auto has_name = [&](const FileOption& one) { return one.option == name; };
    return has_name(kTokenizer) ||
           std::any_of(program_.bmodels.begin(), program_.bmodels.end(), has_name);
  }

  // CLI11 takes --option= for an option whose value follows.
  void add(std::string_view option, const std::string& value) {
    if (value.empty()) {
      result_.emplace_back(option);
      result_.push_back(value);
    } else {
      result_.push_back(std::string(option) + "=" + value);
    }
  }

  // All values up to the next option.
  void read_texts(bool has_value, const std::string& value) {
    const std::string_view option = program_.text_option;
    given_.insert(std::string(option));
    if (has_value) return add(option, value);
    const std::size_t first = next_;
    while (next_ < arguments_.size() && !is_option(arguments_[next_]))
      add(option, arguments_[next_++]);
    if (next_ == first) throw Exit(kExitUsage, "--text needs a value");
  }

  void read_value(const std::string& name, bool has_value, std::string value) {
    if (!has_value && (next_ == arguments_.size() || arguments_[next_].starts_with("--")))
      throw Exit(kExitUsage, name + " needs a value");
    if (!has_value) value = arguments_[next_++];
    if (name == "--image_path") {
      has_picture_ = true;
      result_.push_back(as_path(std::move(value)));
    } else if (name == "--dev_id") {
      given_.insert("--device");
      add("--device", "sophon:" + value);
    } else {
      add(name, value);
    }
  }

  void add_default_picture() {
    if (has_picture_) return;
    if (!exists(program_.picture))
      throw Exit(kExitUsage, missing("a picture: --image_path PATH", program_.picture));
    result_.emplace_back(program_.picture);
  }

  void add_default_texts() {
    if (program_.texts.empty() || given("--text") || given("--texts")) return;
    for (const std::string_view text : program_.texts) add(program_.text_option, std::string(text));
  }

  void add_default_model() {
    if (given("--model") || given("-m") || !given_model("").empty()) return;
    for (const FileOption& one : program_.bmodels) {
      if (given(std::string(one.option))) continue;
      if (exists(one.file))
        add(one.option, std::string(one.file));
      else if (!given("--device") || given("--dev-id"))
        throw Exit(kExitUsage,
                   missing("a compiled model: " + std::string(one.option) + " FILE", one.file));
      else
        return;  // of ours, on the device that was named
    }
    if (!given(std::string(kTokenizer.option)) && exists(kTokenizer.file))
      add(kTokenizer.option, std::string(kTokenizer.file));
  }

  std::string missing(const std::string& what, std::string_view file) const {
    return "blip " + std::string(program_.name) + " needs " + what + "; the sample's own, " +
           std::string(file) + ", is not in this folder";
  }

  const Program& program_;
  const CLI::App& command_;
  const std::vector<std::string>& arguments_;
  std::size_t next_ = 1;
  std::vector<std::string> result_;
  std::set<std::string> given_;  // names of options, with dashes
  bool has_picture_ = false;
};

}  // namespace

std::vector<std::string> sophon_demo_arguments(std::vector<std::string> arguments,
                                               const CLI::App& app) {
  for (const Program& program : kPrograms)
    if (!arguments.empty() && arguments.front() == program.name)
      return Translation(program, arguments, app).result();
  return arguments;
}

std::vector<std::string> sophon_demo_bmodels(std::string_view command, const std::string& root) {
  std::vector<std::string> files;
  for (const Program& program : kPrograms)
    if (program.command == command)
      for (const FileOption& one : program.bmodels)
        files.push_back((std::filesystem::path(root) / one.file).string());
  return files;
}

}  // namespace blip::cli
