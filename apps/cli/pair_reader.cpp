#include "cli/pair_reader.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "base/ascii.h"
#include "base/json.h"
#include "blip/error.h"
#include "cli/inputs.h"

namespace blip::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kLongestRow = std::size_t{16} << 20;

// What is wrong with a row.
[[noreturn]] void refuse(const std::string& message) { throw Error(ErrorCode::kUsage, message); }

std::string text_in(const Json& value, const std::string& key) {
  if (!value.is_string()) refuse("its \"" + key + "\" is " + shown(value) + ", not a text");
  std::string text = value.get<std::string>();
  if (is_blank(text)) refuse("its \"" + key + "\" is empty");
  if (text.find('\0') != std::string::npos) refuse("its \"" + key + "\" holds a NUL");
  return text;
}

}  // namespace

bool is_pair_file(const std::string& path) {
  return path.ends_with(".jsonl") || path.ends_with(".ndjson");
}

bool names_pair_file(const std::vector<std::string>& arguments) {
  return std::any_of(arguments.begin(), arguments.end(), [](const std::string& argument) {
    std::error_code ignored;
    const bool list = argument.starts_with('@') && !fs::exists(argument, ignored);
    return !list && is_pair_file(argument) && !fs::is_directory(argument, ignored);
  });
}

PairReader::PairReader(std::string path, const PairOptions& options)
    : path_(std::move(path)), options_(options), lines_(path_, '\n', kLongestRow) {}

// Of a line that is too long, what is told of it; too_long_ says so.
std::optional<std::string> PairReader::next_line(const Stop& stop) {
  too_long_ = false;
  try {
    return lines_.next(stop);
  } catch (const TooLong&) {
    too_long_ = true;
    lines_.skip(stop);
    return "line " + std::to_string(lines_.line());
  }
}

std::optional<Input> PairReader::next(const Stop& stop) {
  while (const std::optional<std::string> line = next_line(stop)) {
    if (line->find_first_not_of(" \t") == std::string::npos) continue;
    Input input{
        (path_ == "-" ? "standard input" : path_) + ", line " + std::to_string(lines_.line()), ""};
    input.row_text = *line;
    try {
      if (too_long_) refuse("it is longer than " + std::to_string(kLongestRow >> 20) + " MiB");
      read(*line, input);
    } catch (const Error& error) {
      input.error = input.name + ": " + error.what();
    } catch (const JsonError& error) {
      input.error = input.name + " is not a JSON object: " + error.what();
    }
    input.again = input.error.empty() && input.name == before_;
    if (input.error.empty()) before_ = input.name;
    return input;
  }
  return std::nullopt;
}

void PairReader::read(const std::string& line, Input& input) const {
  // Its fields are written again.
  JsonLimits limits;
  limits.exact_integers = true;
  Json row = read_json<Json>(line, limits);
  if (!row.is_object()) refuse("an object such as {\"image\": \"a.jpg\"} was expected");
  row.erase("error");  // of a file of errors, whose rows may be tried again
  // What is wrong with the row from here on is told with its fields.
  input.row = std::make_shared<const Json>(row);
  read_texts(row, input);
  if (options_.two) return read_two(row, input);
  input.name = picture_of(row);
  if (row.contains("image")) return;
  row["image"] = input.name;
  input.row = std::make_shared<const Json>(std::move(row));
}

// Relative names are of the folder that options_ says; a file_name, as the `datasets` library has
// it, of the file's own.
std::string PairReader::picture_of(const Json& row) const {
  const char* const key = row.contains("image") ? "image" : "file_name";
  if (!row.contains(key)) refuse("it has no \"image\"");
  fs::path folder = options_.images;
  if (folder.empty() && key == std::string("file_name")) folder = fs::path(path_).parent_path();
  return name_in(row[key], key, folder.string());
}

std::string PairReader::name_in(const Json& value, const std::string& key,
                                const std::string& folder) const {
  const std::string name = (fs::path(folder) / text_in(value, key)).string();
  return name == "-" ? "./-" : name;
}

// The row tells the pictures by the names that they are opened by.
void PairReader::read_two(Json& row, Input& input) const {
  const std::string key = "images";
  if (!row.contains(key)) refuse("it has no \"images\"");
  Json& images = row[key];
  if (!images.is_array() || images.size() != 2)
    refuse("its \"images\" is " + shown(images) + ", not the names of two pictures");
  std::string first = name_in(images[0], key, options_.images);
  input.second = name_in(images[1], key, options_.images);
  images = {first, input.second};
  input.name = std::move(first);
  input.row = std::make_shared<const Json>(std::move(row));
}

void PairReader::read_texts(const Json& row, Input& input) const {
  const auto key = std::find_if(options_.keys.begin(), options_.keys.end(),
                                [&](const char* name) { return row.contains(name); });
  if (key == options_.keys.end()) {
    if (options_.needs_texts) refuse("it has no \"" + std::string(options_.keys.front()) + "\"");
    return;
  }
  input.texts_key = *key;
  const Json& value = row[*key];
  if (!value.is_array()) return input.texts.push_back(text_in(value, *key));
  if (value.empty()) refuse("its \"" + std::string(*key) + "\" is empty");
  for (const Json& one : value) input.texts.push_back(text_in(one, *key));
}

}  // namespace blip::cli
