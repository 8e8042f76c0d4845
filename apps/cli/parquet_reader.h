// The pictures in a column of a Parquet file, row after row, which the Python package reads.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/python_package.h"
#include "cli/source.h"

namespace blip::cli {

// By the ending of the name.
bool is_parquet(const std::string& path);
// What of the Python package and of what it needs is missing to read and write such files, and how
// to get it; "" for nothing.
std::string missing_for_parquet();
// Gives out the bytes of a Parquet file of the objects in a file of JSON lines. path: the file, for
// messages. Throws Error(kIo), Exit when interrupted.
void write_parquet(const std::string& rows, const std::string& path,
                   const std::function<void(std::string_view)>& write);

class ParquetReader {
 public:
  // options, which outlive it: the column, which rows are left out by their names, and how large a
  // picture may be. Throws Error(kIo).
  ParquetReader(std::string path, const SourceOptions& options, const Stop& stop);

  // Whether one column holds pictures, as far as can be told; why_not() says what is wrong.
  bool has_pictures() const { return why_not_.empty(); }
  const std::string& why_not() const { return why_not_; }
  // Several columns do.
  bool is_ambiguous() const { return is_ambiguous_; }

  // The next row as an input: FILE/ROW, where ROW is the path that comes with the picture or else
  // the number of the row from 0 on; with its bytes, or without where `wanted` says so of its name.
  // nullopt after the last. Throws Error(kIo) where the file cannot be read on.
  std::optional<Input> next(const Stop& stop, const Wanted& wanted, LeftOut& left_out);

 private:
  Json read_message(const Stop& stop);
  bool read_names(const Stop& stop, const Wanted& wanted, LeftOut& left_out);
  void read_picture(Input& input, const Stop& stop);

  std::string path_;
  const SourceOptions& options_;
  std::unique_ptr<PythonChild> child_;
  std::string why_not_;
  bool is_ambiguous_ = false;
  // Rows that were told, what is done with each, and which is the next.
  enum class Row { kLeftOut, kNameAlone, kWanted };
  std::vector<std::string> names_;
  std::vector<Row> rows_;
  std::size_t next_ = 0;
};

}  // namespace blip::cli
