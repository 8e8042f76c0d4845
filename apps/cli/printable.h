// Names and texts of strangers, made fit for a line of output and a terminal.
#pragma once

#include <string>
#include <string_view>

namespace blip::cli {

// The text on one line, with nothing in it that could break the line, drive the terminal or print
// like another text: a backslash becomes \\, tab, line feed and carriage return \t, \n and \r, and
// every byte of what is not UTF-8, of another control character (C1 included), of a line separator
// or of a character that turns the writing direction \xHH. Unescaping gives the bytes back.
std::string printable(std::string_view text);

// JSON (already serialised) in which those characters are written as \uHHHH.
std::string printable_json(std::string json);

// Where the first byte lies that is not UTF-8 (a NUL counts as one that is not); npos: none.
std::size_t find_not_utf8(std::string_view text);

std::string base64(std::string_view bytes);

}  // namespace blip::cli
