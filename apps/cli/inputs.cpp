#include "cli/inputs.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>

#include "base/ascii.h"
#include "base/file.h"
#include "base/utf8.h"
#include "cli/exit.h"
#include "cli/interrupt.h"
#include "cli/printable.h"
#include "cli/stream.h"

namespace blip::cli {
namespace {

constexpr std::size_t kMaxLine = std::size_t{1} << 20;
constexpr std::size_t kMaxListBytes = std::size_t{64} << 20;

// Standard input, or a pipe or device by its name.
std::string read_special(const std::string& name, std::size_t max_bytes,
                         const std::function<bool()>& stop) {
  constexpr std::size_t kBlock = std::size_t{64} << 10;
  const std::string what = name == "-" ? "standard input" : name;
  std::string bytes;
  std::unique_ptr<Stream> stream;
  try {
    stream = std::make_unique<Stream>(name);
    while (stream->read(bytes, kBlock, stop)) {
      if (max_bytes != 0 && bytes.size() > max_bytes)
        throw Error(ErrorCode::kImage,
                    what + " is larger than the limit of " + std::to_string(max_bytes) + " bytes");
    }
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kIo) throw;
    throw Error(ErrorCode::kIo,
                (stream ? "cannot read " : "cannot open ") + what + ": " + error.what());
  }
  return bytes;
}

bool is_special(const std::string& name) {
  struct stat status = {};
  return name == "-" || (::stat(name.c_str(), &status) == 0 && !S_ISREG(status.st_mode) &&
                         !S_ISDIR(status.st_mode));
}

// UTF-8 of UTF-16. Half of a pair comes out as what is not UTF-8, which check_encoding refuses; so
// does an odd byte.
std::string from_utf16(std::string_view bytes, bool little) {
  std::string text;
  const auto unit = [&](std::size_t i) {
    const auto a = static_cast<unsigned char>(bytes[i]),
               b = static_cast<unsigned char>(bytes[i + 1]);
    return static_cast<std::uint32_t>(little ? a | b << 8 : a << 8 | b);
  };
  for (std::size_t i = 0; i + 1 < bytes.size(); i += 2) {
    std::uint32_t code = unit(i);
    const bool high = code >= 0xd800 && code < 0xdc00,
               pair = high && i + 3 < bytes.size() && unit(i + 2) >> 10 == 0x37;
    if (pair) {
      code = 0x10000 + ((code & 0x3ff) << 10 | (unit(i + 2) & 0x3ff));
      i += 2;
    }
    append_utf8(text, code);
  }
  if (bytes.size() % 2 != 0) text += '\xff';
  return text;
}

// Without its byte order mark, as UTF-8.
std::string decoded_text(std::string content) {
  if (content.starts_with("\xef\xbb\xbf")) return content.substr(3);
  const bool little = content.starts_with("\xff\xfe");
  return little || content.starts_with("\xfe\xff")
             ? from_utf16(std::string_view(content).substr(2), little)
             : content;
}

// Throws Exit(2) for what is no text in UTF-8, with the line.
void check_encoding(const std::string& content, const std::string& where) {
  const std::size_t bad = find_not_utf8(content);
  if (bad == std::string::npos) return;
  const auto line =
      1 + std::count(content.begin(), content.begin() + static_cast<std::ptrdiff_t>(bad), '\n');
  const bool nul = content[bad] == '\0';
  throw Exit(kExitUsage, where + ", line " + std::to_string(line) + ": " +
                             (nul ? "a NUL byte" : "bytes that are not UTF-8") +
                             "; save the file as UTF-8" +
                             (nul ? " (it looks like UTF-16 or UTF-32, or is no text)"
                                  : " (it may be in Latin-1 or another older encoding)"));
}

}  // namespace

timespec read_time(const std::string& text, const std::string& what) {
  struct stat status = {};
  if (::stat(text.c_str(), &status) == 0) return status.st_mtim;
  for (const char* format :
       {"%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S"}) {
    tm parts = {};
    const char* end = ::strptime(text.c_str(), format, &parts);
    const int day = parts.tm_mday;
    parts.tm_isdst = -1;
    const time_t seconds = end && *end == '\0' ? ::mktime(&parts) : -1;
    if (seconds != -1 && parts.tm_mday == day) return {seconds, 0};  // no 31st of February
  }
  throw Exit(kExitUsage,
             what + ": \"" + text +
                 "\" is neither a file nor a date such as 2026-01-31 or 2026-01-31T18:30:00");
}

Image read_image(const Input& input, const DecodeOptions& options, const Stop& stop) {
  const std::string& name = input.name;
  if (input.bytes)
    return Image::from_memory(std::as_bytes(std::span(*input.bytes)), options.limits,
                              options.background);
  if (!is_special(name)) return Image::from_file(name, options.limits, options.background);
  const std::string bytes = read_special(name, options.limits.max_bytes, stop);
  const std::string what = name == "-" ? "standard input" : name;
  if (bytes.empty()) throw Error(ErrorCode::kImage, what + " is empty; a picture was expected");
  return Image::from_memory(std::as_bytes(std::span(bytes)), options.limits, options.background);
}

std::optional<jobs::Key> content_of(const Input& input, std::size_t max_bytes) {
  if (input.bytes) return jobs::key_of(std::as_bytes(std::span(*input.bytes)));
  if (is_special(input.name)) return std::nullopt;
  try {
    return jobs::key_of(std::span<const std::byte>(read_file(input.name, max_bytes)));
  } catch (const Error&) {
    return std::nullopt;  // decoding it says why
  }
}

std::vector<std::string> read_lines(const std::string& path, const std::string& what) {
  const std::string where = what + ": " + (path == "-" ? "standard input" : path);
  std::string content;
  try {
    content = decoded_text(is_special(path) ? read_special(path, kMaxListBytes, {})
                                            : read_text(path, kMaxListBytes));
  } catch (const Error& error) {
    throw Exit(kExitUsage, what + ": " + error.what());
  }
  check_encoding(content, where);
  std::vector<std::string> lines;
  for (std::size_t begin = 0; begin < content.size();) {
    std::size_t end = std::min(content.find('\n', begin), content.size());
    std::string line = content.substr(begin, end - begin);
    if (line.ends_with('\r')) line.pop_back();
    if (!is_blank(line)) lines.push_back(std::move(line));
    begin = end + 1;
  }
  if (lines.empty()) throw Exit(kExitUsage, where + " has no line of text");
  return lines;
}

void check_utf8(const std::string& text, const std::string& what) {
  if (find_not_utf8(text) != std::string::npos)
    throw Exit(kExitUsage, what + " is not UTF-8: \"" + text + "\"");
}

void check_texts(const std::vector<std::string>& texts, const std::string& what) {
  for (const std::string& text : texts) {
    if (is_blank(text)) throw Exit(kExitUsage, what + " must not be empty");
    check_utf8(text, what);
  }
}

std::vector<std::string> given_texts(std::vector<std::string> texts, const std::string& file) {
  if (!file.empty()) {
    for (std::string& line : read_lines(file, "--texts")) texts.push_back(std::move(line));
  }
  check_texts(texts, "--text");
  return texts;
}

bool LineReader::next(std::string& line) {
  for (;;) {
    const std::size_t end = buffer_.find('\n');
    if (end != std::string::npos || buffer_.size() >= kMaxLine || (ended_ && !buffer_.empty())) {
      line = buffer_.substr(0, std::min(end, kMaxLine));
      buffer_.erase(
          0, end == std::string::npos ? line.size() : line.size() + (line.size() == end ? 1 : 0));
      if (line.ends_with('\r')) line.pop_back();
      return true;
    }
    Wait wait = Wait::kNothing;
    while (!ended_ && wait == Wait::kNothing) wait = wait_for_input(STDIN_FILENO);
    if (wait != Wait::kReady) return false;
    char block[4096];
    const ssize_t count = ::read(STDIN_FILENO, block, sizeof block);
    if (count > 0) {
      buffer_.append(block, static_cast<std::size_t>(count));
    } else if (count == 0 || errno != EINTR) {
      ended_ = true;
    }
  }
}

}  // namespace blip::cli
