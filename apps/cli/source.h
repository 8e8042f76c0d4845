// Where the pictures of a command come from: files, folders, patterns, lists and archives, one
// after the other, in memory that does not grow with their number (but for the names of the folders
// that are open).
#pragma once

#include <time.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/console.h"
#include "jobs/key.h"

namespace blip::cli {

// One thing to do, in the order given. A failed one keeps its place, so that results and errors
// come in order.
struct Input {
  std::string name;  // a path, or "-" for standard input; of a picture in an archive ARCHIVE/MEMBER
  std::string error;  // not empty: the argument led to no picture, and why
  // Of a picture in an archive, where they were wanted.
  std::shared_ptr<const std::string> bytes{};
  jobs::Key key{};  // of a job
  // No picture: the next one may take long, so what is there is not to wait for it.
  bool pause = false;
  // Of a picture in an archive or a Parquet file: the length of that file's name.
  std::size_t archive = 0;
  // Of a row of pairs: its fields, where it has any; its texts; itself.
  std::shared_ptr<const Json> row{};
  std::vector<std::string> texts{};
  const char* texts_key = nullptr;  // what they are called there
  std::string row_text{};
  bool again = false;    // its picture is that of the row before it
  std::string second{};  // of a row with two pictures: the other one's name
  // The name of the picture whose result is its own, where duplicates were looked for.
  std::string duplicate_of{};

  // What tells it from others.
  const std::string& identity() const { return row_text.empty() ? name : row_text; }
  // {"image": ...}, or the fields of its row: what results and errors are added to.
  Json object() const;
};
// Of one of its texts: `key` and the text, without the list of all that its row may have.
Json object_of_text(const Input& input, const char* key, const std::string& text);

// Which files are inputs, whether they are named themselves or lie in folders and archives. Folders
// that are named themselves are always searched.
struct InputFilter {
  // Patterns (* ? [) of names of files and folders, or with a slash of paths: below the folder or
  // archive given, else as they are given. A folder is left out whole.
  std::vector<std::string> exclude;
  std::optional<timespec> newer_than;  // changed after it; not given: any
  bool subfolders = true;

  bool excludes(const std::string& path) const;
  bool is_newer(const timespec& time) const;
};

// What the arguments held that is no input.
struct LeftOut {
  std::size_t others = 0;    // files of folders that are no pictures, by name and content
  std::size_t hidden = 0;    // files and folders whose names begin with a dot
  std::size_t special = 0;   // pipes, sockets and devices
  std::size_t links = 0;     // of either kind in archives, whose members are read as they come
  std::size_t again = 0;     // links to folders that were searched already
  std::size_t excluded = 0;  // files and folders, by InputFilter::exclude
  std::size_t older = 0;     // pictures that are not newer than InputFilter::newer_than
  std::size_t below = 0;     // folders in folders, without InputFilter::subfolders
};
// "3 files that are no pictures, 1 hidden file or folder"; "" for nothing.
std::string describe(const LeftOut& left_out);

// Asked while something blocks: true = give up.
using Stop = std::function<bool()>;

// Whether the bytes of a picture in an archive are to be read; unset = of all.
using Wanted = std::function<bool(const std::string& name)>;

// How rows of pairs are read (pair_reader.h).
struct PairOptions {
  // What texts are called, the first of them that a row has counts: one or a list.
  std::vector<const char*> keys;
  bool needs_texts = true;  // a row without is a failed input
  std::string images;       // the folder of relative names; "" = where the program runs
  bool two = false;         // rows have "images", two of them; "-" is rows on standard input
};

// What the names of this program's own hidden files begin with, which no search shows.
inline constexpr const char* kOwnFiles = ".blip-";

// How a Source reads its arguments.
struct SourceOptions {
  InputFilter filter{};
  bool nul_lists = false;              // lists end their names with NUL instead of line ends
  std::size_t max_bytes = 0;           // of a picture in an archive; 0 = no limit
  std::string image_column{};          // of Parquet files; "" = the one that holds pictures
  bool parquet_in_folders = true;      // else such files of folders are no pictures
  std::optional<PairOptions> pairs{};  // files of pairs are read; unset = they are no pictures
};

// Files stay; a folder becomes the pictures under it, sorted by path, links followed, each folder
// once; a pattern (* ? [) that the shell did not expand becomes its matches, sorted; "-" is
// standard input, once; @FILE, where no file has that name, becomes what the lines of FILE name
// (@-: of standard input). An archive (tar, zip) that is named itself, by a pattern or by a list
// becomes the pictures in it, in its order, and a file of pairs, where they are wanted, its rows. A
// Parquet file becomes the pictures in its rows, in a folder too where it has a column of them. A
// file of a folder is a picture by its ending or its first bytes, whether this program reads that
// format or not: one it cannot read fails by name when it is opened. A folder or an archive of
// which the filter left something out may have no picture; any other without one is a failed input.
class Source {
 public:
  Source(std::vector<std::string> arguments, SourceOptions options);
  ~Source();
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;

  // nullopt after the last. Never throws for a bad argument; Exit when interrupted or stopped.
  std::optional<Input> next(const Stop& stop = {}, const Wanted& wanted = {});
  // Complete after the last.
  const LeftOut& left_out() const;
  // Whether another Source gives the same soon: nothing is read from standard input or a pipe, and
  // no argument is a compressed tar, which would have to be read whole. (Those that a list names
  // are not known before it is read.)
  bool can_be_repeated() const;

 private:
  class Walk;
  std::unique_ptr<Walk> walk_;
};

// Whether a line of text output must say its picture: several arguments, a list, a folder or a
// pattern, however many pictures they hold.
bool names_needed(const std::vector<std::string>& arguments);

}  // namespace blip::cli
