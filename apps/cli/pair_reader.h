// Pictures with texts, a JSON object a line: {"image": "a.jpg", "text": "a cat"}, or with two
// pictures: {"images": ["a.jpg", "b.jpg"], "text": "both show a cat"}.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "cli/list_reader.h"
#include "cli/source.h"

namespace blip::cli {

// What the text of a picture is called in a row, by its writers' customs: see PairOptions.
inline const std::vector<const char*> kTextKeys = {"text", "texts", "caption", "captions"};

// By the ending of the name: .jsonl or .ndjson.
bool is_pair_file(const std::string& path);
// Whether one of the arguments is such a file, or a pattern of them.
bool names_pair_file(const std::vector<std::string>& arguments);

class PairReader {
 public:
  // path: "-" is standard input. options outlive it. Throws Error(kIo).
  PairReader(std::string path, const PairOptions& options);

  // The next row as an input: its picture, its texts and all of its fields. A row that cannot be
  // used is a failed input, named by its line. nullopt after the last. Throws Error(kIo) where the
  // file cannot be read on, Exit when interrupted or stopped.
  std::optional<Input> next(const Stop& stop);

 private:
  std::optional<std::string> next_line(const Stop& stop);
  void read(const std::string& line, Input& input) const;
  std::string picture_of(const Json& row) const;
  std::string name_in(const Json& value, const std::string& key, const std::string& folder) const;
  void read_two(Json& row, Input& input) const;
  void read_texts(const Json& row, Input& input) const;

  std::string path_;
  const PairOptions& options_;
  ListReader lines_;
  bool too_long_ = false;
  std::string before_;  // the picture of the row before
};

}  // namespace blip::cli
