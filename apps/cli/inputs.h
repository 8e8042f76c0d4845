// From the arguments of a command line to pictures and texts.
#pragma once

#include <string>
#include <vector>

#include "blip/blip.h"

namespace blip::cli {

// One thing to do, in the order given. A failed one keeps its place, so that results and errors come in order.
struct Input {
  std::string name;   // a path, or "-" for standard input
  std::string error;  // not empty: the argument led to no picture, and why
};

// Files stay; a folder becomes the pictures under it, by extension, sorted by path, hidden ones left out; a pattern (* ? [)
// that the shell did not expand becomes its matches, sorted; "-" is standard input, once. Never throws for a bad argument.
std::vector<Input> expand_inputs(const std::vector<std::string>& arguments);

// Whether a line of text output must say its picture: several arguments, a folder or a pattern, however many pictures they hold.
bool names_needed(const std::vector<std::string>& arguments);

// Decodes one input. Throws Error(kIo | kImage).
Image read_image(const std::string& name, const ImageLimits& limits);

// The lines of a file ("-": standard input) without empty ones, a byte order mark and carriage returns.
// Throws Exit(2) when the file cannot be read or has no line.
std::vector<std::string> read_lines(const std::string& path, const std::string& what);

// Throws Exit(2) when a text is empty or blank.
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
