// The files that a job's results go to.
#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace blip::jobs {

using Json = nlohmann::ordered_json;

enum class Format {
  kJsonl,     // one object a line, as the command prints it
  kCsv,       // the table's columns in UTF-8, as RFC 4180 quotes, lines end with \n
  kMetadata,  // metadata.jsonl of the `datasets` library: file_name, relative to its folder, and
              // text
  kArray,     // one JSON array of objects that other programs read: see Array
  kParquet,   // the objects as rows, made of those in rows_path()
};

// What the objects of Format::kArray are.
enum class Array {
  kNone,           // there is no such format
  kCocoCaptions,   // COCO results: {"image_id", "caption"}
  kVqaAnswers,     // VQA results: {"question_id", "answer"}
  kTrainingPairs,  // what BLIP itself is trained on: {"image", "caption"}
};

// What the rows of a command are: objects, of which the formats show parts.
struct Table {
  const char* noun;                  // of its rows: "captions"
  std::vector<const char*> columns;  // of CSV; empty: there is no such format
  Array array = Array::kNone;
  bool has_metadata = false;
};

inline const Table kCaptions{"captions", {"image", "caption"}, Array::kCocoCaptions, true};
inline const Table kMatches{"scores", {"image", "text", "match_probability", "cosine"}};
inline const Table kAnswers{"answers", {"image", "question", "answer"}, Array::kVqaAnswers};
inline const Table kJudgements{"judgements", {"images", "text", "answer", "probability"}};
inline const Table kFiltered{"texts", {}};
inline const Table kPairs{"pairs", {"image", "text"}, Array::kTrainingPairs};

// The endings of the names of files.
inline constexpr std::array<const char*, 4> kEndings = {".jsonl", ".csv", ".json", ".parquet"};

// How the names of files end that the table can be written to: ".jsonl, .csv or .parquet".
std::string endings(const Table& table);
// By the name of the file: metadata.jsonl, .jsonl, .csv, .json or .parquet. Throws Error(kUsage)
// for another, and for one that the table does not have.
Format format_of(const std::string& path, const Table& table);

// An object as a line of JSON; bytes that are not UTF-8 become U+FFFD.
std::string json_line(const Json& object);

// What the file begins with.
std::string preamble(Format format, const Table& table);

// The bytes of an object in the file at `path`. Throws Error(kImage) for one that the format cannot
// hold.
std::string row(Format format, const std::string& path, const Table& table, const Json& object);

// An array and a Parquet file have an end: rows are collected in this file, and that is written
// when the job is complete. The path itself for the other formats.
std::string rows_path(Format format, const std::string& path);
// Gives out the array of the rows in a file. Returns how many of its objects begin with the same
// field, such as "image_id", as one before. Throws Error(kIo).
std::size_t write_array(const std::string& rows,
                        const std::function<void(std::string_view)>& write);

// The number of the picture in COCO: that at the end of its name (COCO_val2014_000000391895.jpg),
// or the name without its ending where there is none.
Json coco_id(const std::string& name);

}  // namespace blip::jobs
