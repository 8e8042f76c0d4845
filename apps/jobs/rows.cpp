#include "jobs/rows.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <filesystem>
#include <fstream>

#include "base/json.h"
#include "blip/error.h"
#include "jobs/key.h"

namespace blip::jobs {
namespace {

namespace fs = std::filesystem;

// A field of CSV: in quotes where it holds what would end it, or what a reader might strip.
std::string field(const std::string& text) {
  const bool blank = !text.empty() && (text.front() == ' ' || text.back() == ' ');
  if (!blank && text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"') quoted += '"';
    quoted += c;
  }
  return quoted + '"';
}

// As it is seen from the folder of the file.
std::string relative_name(const std::string& name, const std::string& path) {
  std::error_code error;
  const fs::path folder = fs::absolute(path, error).parent_path().lexically_normal();
  const fs::path picture = fs::absolute(name, error).lexically_normal();
  return error ? name : picture.lexically_relative(folder).string();
}

// A field as CSV shows it: texts as they are, null as nothing, anything else as JSON.
std::string shown_field(const Json& object, const char* name) {
  const auto found = object.find(name);
  if (found == object.end() || found->is_null()) return "";
  return field(found->is_string() ? found->get<std::string>() : found->dump());
}

// Names that are not UTF-8 have their bytes beside them (cli/console.h).
void require_utf8(const Json& object, const char* format) {
  if (object.contains("image_bytes") || object.contains("images_bytes"))
    throw Error(ErrorCode::kImage, std::string(format) + " cannot hold its name, which is not " +
                                       "UTF-8; rename it, or write a .jsonl file");
}

// Of an object on one line.
std::string_view first_field(std::string_view object) {
  bool quoted = false;
  for (std::size_t i = 0; i < object.size(); ++i) {
    if (object[i] == '\\')
      ++i;
    else if (object[i] == '"')
      quoted = !quoted;
    else if (object[i] == ',' && !quoted)
      return object.substr(0, i);
  }
  return object;
}

std::string name_of(const Json& object) { return object.value("image", ""); }

Json array_object(const Table& table, const Json& object) {
  require_utf8(object, "JSON");
  if (table.array == Array::kCocoCaptions)
    return {{"image_id", coco_id(name_of(object))}, {"caption", object.at("caption")}};
  if (table.array == Array::kTrainingPairs)
    return {{"image", name_of(object)}, {"caption", object.at("text")}};
  if (object.value("question_id", Json()).is_null())
    throw Error(ErrorCode::kImage,
                "VQA results need the \"question_id\" of a question, which its row does not have; "
                "add it, or write a .jsonl file");
  return {{"question_id", object["question_id"]}, {"answer", object.at("answer")}};
}

}  // namespace

std::string endings(const Table& table) {
  std::vector<std::string> all = {".jsonl"};
  if (table.has_metadata) all.back() += " (metadata.jsonl: for the datasets library)";
  if (!table.columns.empty()) all.push_back(".csv");
  if (table.array != Array::kNone)
    all.push_back(table.array == Array::kCocoCaptions ? ".json (COCO results)"
                  : table.array == Array::kVqaAnswers ? ".json (VQA results)"
                                                      : ".json (an array)");
  all.push_back(".parquet");
  std::string text = all.front();
  for (std::size_t i = 1; i < all.size(); ++i)
    text += (i + 1 == all.size() ? " or " : ", ") + all[i];
  return text;
}

Format format_of(const std::string& path, const Table& table) {
  const fs::path name = fs::path(path).filename();
  const std::string ending = name.extension().string();
  if (name == "metadata.jsonl" && table.has_metadata) return Format::kMetadata;
  if (ending == ".jsonl") return Format::kJsonl;
  if (ending == ".csv" && !table.columns.empty()) return Format::kCsv;
  if (ending == ".json" && table.array != Array::kNone) return Format::kArray;
  if (ending == ".parquet") return Format::kParquet;
  throw Error(ErrorCode::kUsage, "cannot tell the format of \"" + path + "\" by its name; " +
                                     table.noun + " go to files that end with " + endings(table));
}

std::string json_line(const Json& object) { return json_text(object) + '\n'; }

std::string preamble(Format format, const Table& table) {
  if (format != Format::kCsv) return "";
  std::string text;
  for (const char* column : table.columns) text += (text.empty() ? "" : ",") + std::string(column);
  return text + '\n';
}

std::string row(Format format, const std::string& path, const Table& table, const Json& object) {
  switch (format) {
    case Format::kJsonl:
    case Format::kParquet:
      return json_line(object);
    case Format::kCsv: {
      require_utf8(object, "CSV");
      std::string text;
      for (const char* column : table.columns)
        text += (column == table.columns.front() ? "" : ",") + shown_field(object, column);
      return text + '\n';
    }
    case Format::kMetadata:
      require_utf8(object, "metadata.jsonl");
      return json_line(
          {{"file_name", relative_name(name_of(object), path)}, {"text", object.at("caption")}});
    case Format::kArray:
      return json_line(array_object(table, object));
  }
  return "";
}

std::string rows_path(Format format, const std::string& path) {
  return format == Format::kArray || format == Format::kParquet ? path + ".rows" : path;
}

std::size_t write_array(const std::string& path,
                        const std::function<void(std::string_view)>& write) {
  std::ifstream rows(path, std::ios::binary);
  if (!rows) throw Error(ErrorCode::kIo, "cannot open " + path);
  std::string text = "[", one;
  constexpr std::size_t kBlock = std::size_t{1} << 20;
  KeySet firsts;
  std::size_t repeated = 0;
  for (bool first = true; std::getline(rows, one); first = false) {
    repeated += firsts.insert(key_of(first_field(one))) ? 0 : 1;
    text += (first ? "\n" : ",\n") + one;
    if (text.size() < kBlock) continue;
    write(text);
    text.clear();
  }
  if (rows.bad()) throw Error(ErrorCode::kIo, "cannot read " + path);
  write(text + "\n]\n");
  return repeated;
}

Json coco_id(const std::string& name) {
  const std::string stem = fs::path(name).stem().string();
  const std::size_t last = stem.find_last_not_of("0123456789");
  const std::string digits = stem.substr(last == std::string::npos ? 0 : last + 1);
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (error != std::errc() || digits.empty()) return stem;
  return number;
}

}  // namespace blip::jobs
