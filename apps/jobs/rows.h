// The files that a job's captions go to.
#pragma once

#include <array>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace blip::jobs {

using Json = nlohmann::ordered_json;

enum class Format {
  kJsonl,     // one object a line, as the command prints it
  kCsv,       // image,caption in UTF-8, as RFC 4180 quotes, lines end with \n
  kMetadata,  // metadata.jsonl of the `datasets` library: file_name, relative to its folder, and
              // text
  kCoco,      // COCO results: [{"image_id", "caption"}]
};

// The endings of their names.
inline constexpr std::array<const char*, 3> kEndings = {".jsonl", ".csv", ".json"};

// By the name of the file: metadata.jsonl, .jsonl, .csv or .json. Throws Error(kUsage) for another.
Format format_of(const std::string& path);

// A picture's caption.
struct Caption {
  std::string name;  // of the picture
  std::string text;
  Json object;  // of kJsonl
};

// What the file begins with.
std::string preamble(Format format);

// The caption's bytes in the file at `path`. Throws Error(kImage) for a name that the format cannot
// hold.
std::string row(Format format, const std::string& path, const Caption& caption);

// COCO results are an array, which has an end: rows are collected in this file, and the array is
// written when the job is complete. The path itself for the others.
std::string rows_path(Format format, const std::string& path);
// Writes the file at `path` from its rows. Throws Error(kIo).
void finish(Format format, const std::string& path);

// The number of the picture in COCO: that at the end of its name (COCO_val2014_000000391895.jpg),
// or the name without its ending where there is none.
Json coco_id(const std::string& name);

}  // namespace blip::jobs
