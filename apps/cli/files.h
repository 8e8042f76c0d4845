// Writing a result file.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "cli/console.h"

namespace blip::cli {

// Throws Exit, before any work, when `path` is a folder or lies in one that does not exist.
void check_destination(const std::string& path);
// The same, and when it names a file that does not begin with `magic`: the model, picture or list
// that is read, or anything else that is not to be lost. kind: what such a file is.
void check_replaceable(const std::string& path, std::string_view magic, const char* kind);
void check_npy_destination(const std::string& path);
// Writes the whole file or, on any failure, none: an older one of that name survives. "-" is
// standard output; a device or a pipe is written to, not replaced. Throws Exit(1).
void write_result(Console& console, const std::string& path, std::span<const std::byte> bytes);

}  // namespace blip::cli
