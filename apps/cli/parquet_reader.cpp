#include "cli/parquet_reader.h"

#include <algorithm>
#include <set>
#include <utility>

#include "base/ascii.h"
#include "base/file.h"
#include "base/json.h"
#include "blip/error.h"

namespace blip::cli {
namespace {

constexpr const char* kParquetModule = "blipcpp.parquet";

std::vector<std::string> reader_words(const std::string& path, const std::string& column) {
  std::vector<std::string> words = {"-m", kParquetModule, "read", path};
  if (!column.empty()) words.push_back(column);
  return words;
}

// what: "cannot read FILE". Throws Error(kIo).
std::unique_ptr<PythonChild> start(std::vector<std::string> words, const std::string& what) {
  try {
    return std::make_unique<PythonChild>(std::move(words));
  } catch (const Error& error) {
    const std::string missing = missing_for_parquet();
    throw Error(ErrorCode::kIo, what + ": " + (missing.empty() ? error.what() : missing));
  }
}

// What the child says next. Throws Error(kIo) where that is that it cannot go on, or nothing.
Json message_of(PythonChild& child, const std::string& what, const Stop& stop) {
  const std::optional<std::string> line = child.read_line(stop);
  Json message;
  try {
    if (line) message = read_json<Json>(*line);
  } catch (const JsonError&) {
    // Not what the package says.
  }
  if (!message.is_object()) {
    const std::string missing = missing_for_parquet();
    throw Error(ErrorCode::kIo, what + ": " +
                                    (missing.empty() ? std::string("python3 -m ") + kParquetModule +
                                                           " ended before it was done"
                                                     : missing));
  }
  if (message.contains("error") && !message.contains("columns"))
    throw Error(ErrorCode::kIo, message.value("error", ""));
  return message;
}

}  // namespace

bool is_parquet(const std::string& path) {
  constexpr std::string_view kEnding = ".parquet";
  return path.size() > kEnding.size() &&
         lower(path.substr(path.size() - kEnding.size())) == kEnding;
}

std::string missing_for_parquet() {
  return missing_of({"Parquet files are read and written", "blipcpp.parquet, pyarrow.parquet",
                     "parquet", "docs/DATASETS.md"});
}

void write_parquet(const std::string& rows, const std::string& path,
                   const std::function<void(std::string_view)>& write) {
  const Stop stop = [] { return false; };
  const std::string what = "cannot write " + path;
  const auto child = start({"-m", kParquetModule, "write", rows}, what);
  for (;;) {
    const Json message = message_of(*child, what, stop);
    if (message.contains("end")) break;
    const auto size = message.value("bytes", std::size_t{0});
    if (child->read(size, stop, write) != size)
      throw Error(ErrorCode::kIo, what + ": python3 ended before it was done");
  }
}

ParquetReader::ParquetReader(std::string path, const SourceOptions& options, const Stop& stop)
    : path_(std::move(path)),
      options_(options),
      child_(start(reader_words(path_, options.image_column), "cannot read " + path_)) {
  const Json message = read_message(stop);
  why_not_ = message.value("error", "");
  is_ambiguous_ = message.value("columns", Json()) == "several";
}

Json ParquetReader::read_message(const Stop& stop) {
  return message_of(*child_, "cannot read " + path_, stop);
}

// The next rows' names, and says which of their pictures are wanted; false after the last.
bool ParquetReader::read_names(const Stop& stop, const Wanted& wanted, LeftOut& left_out) {
  const Json message = read_message(stop);
  if (message.contains("end")) return false;
  names_.clear();
  rows_.clear();
  next_ = 0;
  std::set<std::string> seen;
  std::string answer;
  for (const Json& one : message.value("names", Json::array())) {
    const std::string name = one.get<std::string>();
    Row row = Row::kWanted;
    if (options_.filter.excludes(name)) {
      row = Row::kLeftOut;
      ++left_out.excluded;
    } else if (seen.insert(name).second && wanted && !wanted(path_ + "/" + name)) {
      // Of those that are named again, what is wanted is known when the one before was seen.
      row = Row::kNameAlone;
    }
    answer += row == Row::kWanted ? '1' : '0';
    rows_.push_back(row);
    names_.push_back(name);
  }
  child_->write(answer + '\n');
  return true;
}

void ParquetReader::read_picture(Input& input, const Stop& stop) {
  const Json message = read_message(stop);
  if (message.contains("why")) {
    input.error = input.name + ": " + message.value("why", "");
    return;
  }
  const auto size = message.value("bytes", std::size_t{0});
  const bool fits = options_.max_bytes == 0 || size <= options_.max_bytes;
  std::string bytes;
  const auto take = [&](std::string_view piece) {
    if (fits) bytes += piece;
  };
  if (child_->read(size, stop, take) != size)
    throw Error(ErrorCode::kIo, "cannot read " + path_ + ": python3 ended before it was done");
  if (!fits) {
    input.error = input.name + " is larger than the limit of " +
                  std::to_string(options_.max_bytes) + " bytes";
    return;
  }
  input.bytes = std::make_shared<const std::string>(std::move(bytes));
}

std::optional<Input> ParquetReader::next(const Stop& stop, const Wanted& wanted,
                                         LeftOut& left_out) {
  for (;;) {
    if (next_ == names_.size()) {
      if (!read_names(stop, wanted, left_out)) return std::nullopt;
      continue;
    }
    const std::size_t i = next_++;
    if (rows_[i] == Row::kLeftOut) continue;
    Input input{path_ + "/" + names_[i], ""};
    input.archive = path_.size();
    if (rows_[i] == Row::kWanted) read_picture(input, stop);
    return input;
  }
}

}  // namespace blip::cli
