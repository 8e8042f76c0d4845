#include "cli/inputs.h"

#include <fcntl.h>
#include <fnmatch.h>
#include <glob.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <memory>
#include <set>
#include <span>
#include <utility>

#include "cli/exit.h"
#include "cli/interrupt.h"
#include "cli/printable.h"
#include "image/formats.h"
#include "io/file.h"

namespace blip::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxLine = std::size_t{1} << 20;
constexpr std::size_t kMaxListBytes = std::size_t{64} << 20;

// A file that cannot be opened counts as one, so that its error is told.
bool holds_picture(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return true;
  std::array<std::byte, image::kFormatHead> head{};
  const ssize_t got = ::read(fd, head.data(), head.size());
  ::close(fd);
  return got > 0 && image::looks_like_picture(std::span(head).first(static_cast<std::size_t>(got)));
}

bool is_hidden(const fs::path& path) { return path.filename().string().starts_with('.'); }

using FolderId = std::pair<dev_t, ino_t>;

// The folders under one argument.
class FolderSearch {
 public:
  FolderSearch(std::string root, const FolderFilter& filter, std::vector<Input>& inputs,
               LeftOut& left_out)
      : root_(std::move(root)), filter_(filter), inputs_(inputs), left_out_(left_out) {}

  // Each folder's entries sorted by name; a subfolder that cannot be read is one failed input.
  void list(const std::string& folder) {
    stop_if_interrupted();
    std::error_code error;
    std::vector<std::string> paths;
    for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) paths.push_back(it->path().string());
    if (error) return inputs_.push_back({folder, "cannot list folder " + folder + ": " + error.message()});
    std::sort(paths.begin(), paths.end());
    for (const std::string& path : paths) add(path);
  }

  void enter(const std::string& folder, const struct stat& status) {
    if (!searched_.insert(FolderId(status.st_dev, status.st_ino)).second) {
      ++left_out_.again;
    } else {
      list(folder);
    }
  }

 private:
  bool is_excluded(const std::string& path) const {
    const std::string below = fs::path(path).lexically_relative(root_).string(),
                      name = fs::path(path).filename().string();
    return std::any_of(filter_.exclude.begin(), filter_.exclude.end(),
                       [&](const std::string& pattern) {
                         const bool whole = pattern.find('/') != std::string::npos;
                         return ::fnmatch(pattern.c_str(), (whole ? below : name).c_str(),
                                          whole ? FNM_PATHNAME : 0) == 0;
                       });
  }

  bool is_newer(const struct stat& status) const {
    if (!filter_.newer_than) return true;
    const timespec &time = status.st_mtim, &limit = *filter_.newer_than;
    return time.tv_sec != limit.tv_sec ? time.tv_sec > limit.tv_sec : time.tv_nsec > limit.tv_nsec;
  }

  void add(const std::string& path) {
    if (is_hidden(path)) {
      ++left_out_.hidden;
      return;
    }
    if (is_excluded(path)) {
      ++left_out_.excluded;
      return;
    }
    struct stat status = {};
    if (::stat(path.c_str(), &status) != 0) return inputs_.push_back({path, ""});  // fails with the system's reason
    if (S_ISDIR(status.st_mode)) return enter(path, status);
    if (!S_ISREG(status.st_mode)) {
      ++left_out_.special;
    } else if (image::find_format_by_ending(path) || holds_picture(path)) {
      if (is_newer(status)) {
        inputs_.push_back({path, ""});
      } else {
        ++left_out_.older;
      }
    } else {
      ++left_out_.others;
    }
  }

  const std::string root_;
  const FolderFilter& filter_;
  std::vector<Input>& inputs_;
  LeftOut& left_out_;
  std::set<FolderId> searched_;
};

void expand_path(const std::string& path, const FolderFilter& filter, std::vector<Input>& inputs,
                 LeftOut& left_out) {
  struct stat status = {};
  // One that is missing fails when it is opened, with the system's reason.
  if (::stat(path.c_str(), &status) != 0 || !S_ISDIR(status.st_mode)) return inputs.push_back({path, ""});
  const std::size_t before = inputs.size(), filtered = left_out.excluded + left_out.older;
  FolderSearch(path, filter, inputs, left_out).enter(path, status);
  if (inputs.size() == before && left_out.excluded + left_out.older == filtered)
    inputs.push_back({path, "no picture in folder " + path});
}

void expand_pattern(const std::string& pattern, const FolderFilter& filter,
                    std::vector<Input>& inputs, LeftOut& left_out) {
  glob_t matches = {};
  const int result = ::glob(pattern.c_str(), 0, nullptr, &matches);
  for (std::size_t i = 0; result == 0 && i < matches.gl_pathc; ++i)
    expand_path(matches.gl_pathv[i], filter, inputs, left_out);
  ::globfree(&matches);
  if (result != 0) inputs.push_back({pattern, "no file matches " + pattern});
}

bool exists(const std::string& path) {
  struct stat status = {};
  return lstat(path.c_str(), &status) == 0;
}

enum class Wait { kReady, kNothing, kStopped };

// Waits a moment for something to read. A signal may reach another thread, which would leave a plain read() waiting here.
Wait wait_for_input(int fd, const std::function<bool()>& stop = {}) {
  constexpr int kMilliseconds = 100;
  if (interrupted() != 0 || (stop && stop())) return Wait::kStopped;
  pollfd input = {fd, POLLIN, 0};
  const int ready = ::poll(&input, 1, kMilliseconds);
  if (ready < 0 && errno != EINTR) return Wait::kReady;  // read() says what is wrong
  return ready > 0 ? Wait::kReady : Wait::kNothing;
}

struct Stream {
  int fd;
  std::string what;       // for messages
  bool may_try = false;   // reading before there is something to read returns at once: the end, once somebody has written
  bool written = false;   // somebody has written, or never will again
};

std::string read_stream(Stream stream, std::size_t max_bytes, const std::function<bool()>& stop) {
  std::string bytes;
  std::array<char, 65536> block;
  for (;;) {
    const Wait wait = wait_for_input(stream.fd, stop);
    if (wait == Wait::kStopped) {
      stop_if_interrupted();
      throw Exit(kExitSomeFailed, "");
    }
    // A pipe whose writer went before it was opened here shows no end to poll().
    if (wait == Wait::kNothing && !(stream.may_try && stream.written)) continue;
    const ssize_t count = ::read(stream.fd, block.data(), block.size());
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (count < 0) throw Error(ErrorCode::kIo, "cannot read " + stream.what + ": " + std::strerror(errno));
    if (count == 0) return bytes;
    stream.written = true;
    bytes.append(block.data(), static_cast<std::size_t>(count));
    if (max_bytes != 0 && bytes.size() > max_bytes)
      throw Error(ErrorCode::kImage, stream.what + " is larger than the limit of " + std::to_string(max_bytes) + " bytes");
  }
}

// <(command) gives /dev/fd/N, a pipe without a name: its writer is there already.
bool is_nameless_pipe(int fd) {
  std::error_code error;
  return std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(fd), error).string().starts_with("pipe:");
}

// Standard input, or a pipe or device by its name: opened so that it does not wait for who writes it.
std::string read_special(const std::string& name, std::size_t max_bytes, const std::function<bool()>& stop) {
  if (name == "-") return read_stream({STDIN_FILENO, "standard input"}, max_bytes, stop);
  const int fd = ::open(name.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) throw Error(ErrorCode::kIo, "cannot open " + name + ": " + std::strerror(errno));
  const std::unique_ptr<const int, void (*)(const int*)> closer(&fd, [](const int* open) { ::close(*open); });
  return read_stream({fd, name, true, is_nameless_pipe(fd)}, max_bytes, stop);
}

bool is_special(const std::string& name) {
  struct stat status = {};
  return name == "-" || (::stat(name.c_str(), &status) == 0 && !S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode));
}

// UTF-8 of UTF-16. Half of a pair comes out as what is not UTF-8, which check_encoding refuses; so does an odd byte.
std::string from_utf16(std::string_view bytes, bool little) {
  std::string text;
  const auto unit = [&](std::size_t i) {
    const auto a = static_cast<unsigned char>(bytes[i]), b = static_cast<unsigned char>(bytes[i + 1]);
    return static_cast<std::uint32_t>(little ? a | b << 8 : a << 8 | b);
  };
  const auto put = [&](std::uint32_t lead, std::uint32_t code, int more) {
    text += static_cast<char>(lead | code >> (6 * more));
    while (more-- > 0) text += static_cast<char>(0x80u | (code >> (6 * more) & 0x3fu));
  };
  for (std::size_t i = 0; i + 1 < bytes.size(); i += 2) {
    std::uint32_t code = unit(i);
    const bool high = code >= 0xd800 && code < 0xdc00, pair = high && i + 3 < bytes.size() && unit(i + 2) >> 10 == 0x37;
    if (pair) {
      code = 0x10000 + ((code & 0x3ff) << 10 | (unit(i + 2) & 0x3ff));
      i += 2;
    }
    if (code < 0x80) text += static_cast<char>(code);
    else if (code < 0x800) put(0xc0, code, 1);
    else if (code < 0x10000) put(0xe0, code, 2);
    else put(0xf0, code, 3);
  }
  if (bytes.size() % 2 != 0) text += '\xff';
  return text;
}

// Without its byte order mark, as UTF-8.
std::string decoded_text(std::string content) {
  if (content.starts_with("\xef\xbb\xbf")) return content.substr(3);
  const bool little = content.starts_with("\xff\xfe");
  return little || content.starts_with("\xfe\xff") ? from_utf16(std::string_view(content).substr(2), little) : content;
}

// Throws Exit(2) for what is no text in UTF-8, with the line.
void check_encoding(const std::string& content, const std::string& where) {
  const std::size_t bad = find_not_utf8(content);
  if (bad == std::string::npos) return;
  const auto line = 1 + std::count(content.begin(), content.begin() + static_cast<std::ptrdiff_t>(bad), '\n');
  const bool nul = content[bad] == '\0';
  throw Exit(kExitUsage, where + ", line " + std::to_string(line) + ": " + (nul ? "a NUL byte" : "bytes that are not UTF-8") + "; save the file as UTF-8" +
                             (nul ? " (it looks like UTF-16 or UTF-32, or is no text)" : " (it may be in Latin-1 or another older encoding)"));
}

bool is_blank(const std::string& text) { return text.find_first_not_of(" \t\r\n\v\f") == std::string::npos; }

}  // namespace

std::string describe(const LeftOut& left_out) {
  std::string text;
  const auto add = [&](std::size_t count, const char* one, const char* many) {
    if (count > 0) text += (text.empty() ? "" : ", ") + std::to_string(count) + ' ' + (count == 1 ? one : many);
  };
  add(left_out.others, "file that is no picture", "files that are no pictures");
  add(left_out.hidden, "hidden file or folder", "hidden files or folders");
  add(left_out.special, "pipe, socket or device", "pipes, sockets or devices");
  add(left_out.excluded, "excluded file or folder", "excluded files or folders");
  add(left_out.older, "picture that is not newer", "pictures that are not newer");
  add(left_out.again, "link to a folder searched already", "links to folders searched already");
  return text;
}

std::vector<Input> expand_inputs(const std::vector<std::string>& arguments,
                                 const FolderFilter& filter, LeftOut* left_out) {
  std::vector<Input> inputs;
  LeftOut ignored;
  LeftOut& counts = left_out != nullptr ? *left_out : ignored;
  bool standard_input = false;
  for (const std::string& argument : arguments) {
    if (argument == "-") {
      inputs.push_back({"-", standard_input ? "standard input was given twice; it can be read once" : ""});
      standard_input = true;
    } else if (!exists(argument) && argument.find_first_of("*?[") != std::string::npos) {
      expand_pattern(argument, filter, inputs, counts);
    } else {
      expand_path(argument, filter, inputs, counts);
    }
  }
  return inputs;
}

bool names_needed(const std::vector<std::string>& arguments) {
  if (arguments.size() != 1) return true;
  struct stat status = {};
  return arguments.front() != "-" && (stat(arguments.front().c_str(), &status) != 0 || S_ISDIR(status.st_mode));
}

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

Image read_image(const std::string& name, const DecodeOptions& options,
                 const std::function<bool()>& stop) {
  if (!is_special(name)) return Image::from_file(name, options.limits, options.background);
  const std::string bytes = read_special(name, options.limits.max_bytes, stop);
  const std::string what = name == "-" ? "standard input" : name;
  if (bytes.empty()) throw Error(ErrorCode::kImage, what + " is empty; a picture was expected");
  return Image::from_memory(std::as_bytes(std::span(bytes)), options.limits, options.background);
}

std::vector<std::string> read_lines(const std::string& path, const std::string& what) {
  const std::string where = what + ": " + (path == "-" ? "standard input" : path);
  std::string content;
  try {
    content = decoded_text(is_special(path) ? read_special(path, kMaxListBytes, {}) : io::read_text(path, kMaxListBytes));
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
  if (find_not_utf8(text) != std::string::npos) throw Exit(kExitUsage, what + " is not UTF-8: \"" + text + "\"");
}

void check_texts(const std::vector<std::string>& texts, const std::string& what) {
  for (const std::string& text : texts) {
    if (is_blank(text)) throw Exit(kExitUsage, what + " must not be empty");
    check_utf8(text, what);
  }
}

bool LineReader::next(std::string& line) {
  for (;;) {
    const std::size_t end = buffer_.find('\n');
    if (end != std::string::npos || buffer_.size() >= kMaxLine || (ended_ && !buffer_.empty())) {
      line = buffer_.substr(0, std::min(end, kMaxLine));
      buffer_.erase(0, end == std::string::npos ? line.size() : line.size() + (line.size() == end ? 1 : 0));
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
