// From the arguments of a command line to pictures and texts.
#pragma once

#include <time.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "blip/blip.h"
#include "cli/source.h"

namespace blip::cli {

// How a picture is decoded.
struct DecodeOptions {
  ImageLimits limits;
  std::optional<Color> background;  // beneath transparent pixels; not given: their own colours show
};

// When a file was changed, or a date. Throws Exit(2) for what is neither a file nor a date
// (2026-01-31, 2026-01-31 18:30, 2026-01-31T18:30:00; local time).
timespec read_time(const std::string& text, const std::string& what);

// Decodes one input: a file, a pipe by its name, "-", or the bytes that come with it. Throws
// Error(kIo | kImage); Exit when interrupted, or when `stop` says that nobody waits for it any
// more.
Image read_image(const Input& input, const DecodeOptions& options, const Stop& stop = {});

// The key of a file's bytes; nullopt for what cannot be read or is no regular file.
std::optional<jobs::Key> content_of(const Input& input, std::size_t max_bytes);

// The lines of a file or pipe ("-": standard input) without empty ones, a byte order mark and
// carriage returns. UTF-16 with a byte order mark is read as well. Throws Exit(2) when the file
// cannot be read, has no line, or holds a NUL or bytes that are not UTF-8.
std::vector<std::string> read_lines(const std::string& path, const std::string& what);

// Throws Exit(2) when a text is not UTF-8.
void check_utf8(const std::string& text, const std::string& what);
// Throws Exit(2) when a text is empty, blank or not UTF-8.
void check_texts(const std::vector<std::string>& texts, const std::string& what);

// The values of --text and, where a file is given, the lines of --texts. Throws Exit(2) as
// read_lines() and check_texts() do.
std::vector<std::string> given_texts(std::vector<std::string> texts, const std::string& file);

// Reads standard input a line at a time; unlike std::getline it returns when a signal arrives.
class LineReader {
 public:
  // False at the end of input and when interrupted. A line longer than 1 MiB is truncated to it.
  bool next(std::string& line);

 private:
  std::string buffer_;
  bool ended_ = false;
};

}  // namespace blip::cli
