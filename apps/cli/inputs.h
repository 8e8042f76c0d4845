// From the arguments of a command line to pictures and texts.
#pragma once

#include <time.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "blip/blip.h"

namespace blip::cli {

// One thing to do, in the order given. A failed one keeps its place, so that results and errors come in order.
struct Input {
  std::string name;   // a path, or "-" for standard input
  std::string error;  // not empty: the argument led to no picture, and why
};

// How a picture is decoded.
struct DecodeOptions {
  ImageLimits limits;
  std::optional<Color> background;  // beneath transparent pixels; not given: their own colours show
};

// Which files of folders are inputs. Files that are named themselves always are.
struct FolderFilter {
  // Patterns (* ? [) of names of files and folders, or with a slash of paths below the folder
  // given. A folder is left out whole.
  std::vector<std::string> exclude;
  std::optional<timespec> newer_than;  // changed after it; not given: any
};
// When a file was changed, or a date. Throws Exit(2) for what is neither a file nor a date
// (2026-01-31, 2026-01-31 18:30, 2026-01-31T18:30:00; local time).
timespec read_time(const std::string& text, const std::string& what);

// What the folders among the arguments held that is no input.
struct LeftOut {
  std::size_t others = 0;   // files that are no pictures, by name and content
  std::size_t hidden = 0;   // files and folders whose names begin with a dot
  std::size_t special = 0;  // pipes, sockets and devices
  std::size_t again = 0;    // links to folders that were searched already
  std::size_t excluded = 0;  // files and folders, by FolderFilter::exclude
  std::size_t older = 0;     // pictures that are not newer than FolderFilter::newer_than
};
// "3 files that are no pictures, 1 hidden file or folder"; "" for nothing.
std::string describe(const LeftOut& left_out);

// Files stay; a folder becomes the pictures under it, sorted by path, links followed, each folder
// once; a pattern (* ? [) that the shell did not expand becomes its matches, sorted; "-" is
// standard input, once. A file of a folder is a picture by its ending or its first bytes, whether
// this program reads that format or not: one it cannot read fails by name when it is opened. Never
// throws for a bad argument; Exit when interrupted. A folder of which the filter left something out
// may have no picture; any other without one is a failed input.
std::vector<Input> expand_inputs(const std::vector<std::string>& arguments,
                                 const FolderFilter& filter, LeftOut* left_out = nullptr);

// Whether a line of text output must say its picture: several arguments, a folder or a pattern, however many pictures they hold.
bool names_needed(const std::vector<std::string>& arguments);

// Decodes one input: a file, a pipe by its name, or "-". Throws Error(kIo | kImage); Exit when interrupted, or when `stop` says
// that nobody waits for it any more.
Image read_image(const std::string& name, const DecodeOptions& options,
                 const std::function<bool()>& stop = {});

// The lines of a file or pipe ("-": standard input) without empty ones, a byte order mark and carriage returns. UTF-16 with a byte
// order mark is read as well. Throws Exit(2) when the file cannot be read, has no line, or holds a NUL or bytes that are not UTF-8.
std::vector<std::string> read_lines(const std::string& path, const std::string& what);

// Throws Exit(2) when a text is not UTF-8.
void check_utf8(const std::string& text, const std::string& what);
// Throws Exit(2) when a text is empty, blank or not UTF-8.
void check_texts(const std::vector<std::string>& texts, const std::string& what);

// Reads standard input a line at a time; unlike std::getline it returns when a signal arrives.
class LineReader {
 public:
  // False at the end of input and when interrupted. A line longer than 1 MiB is cut there.
  bool next(std::string& line);

 private:
  std::string buffer_;
  bool ended_ = false;
};

}  // namespace blip::cli
