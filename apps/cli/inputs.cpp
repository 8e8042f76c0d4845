#include "cli/inputs.h"

#include <fcntl.h>
#include <glob.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <set>
#include <span>
#include <utility>

#include "cli/exit.h"
#include "cli/interrupt.h"
#include "cli/printable.h"
#include "io/file.h"

namespace blip::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxLine = std::size_t{1} << 20;
constexpr std::size_t kMaxListBytes = std::size_t{64} << 20;

// Endings of pictures: those that this program reads, then those that it names when it leaves them out.
constexpr std::array<std::string_view, 38> kPictureEndings = {
    ".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".mpo", ".png", ".apng", ".webp", ".bmp", ".dib", ".gif",
    ".tif", ".tiff", ".heic", ".heif", ".hif", ".avif", ".jxl", ".jp2", ".j2k", ".jpx", ".psd", ".ico", ".tga", ".ppm", ".pgm", ".pbm",
    ".pnm", ".qoi", ".exr", ".hdr", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf"};

bool has_picture_ending(const fs::path& path) {
  std::string ending = path.extension().string();
  for (char& c : ending) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return std::find(kPictureEndings.begin(), kPictureEndings.end(), ending) != kPictureEndings.end();
}

bool begins_as_picture(std::string_view head) {
  using namespace std::string_view_literals;
  for (const std::string_view magic : {"\xff\xd8\xff"sv, "\x89PNG\r\n\x1a\n"sv, "GIF87a"sv, "GIF89a"sv, "II\x2a\0"sv, "MM\0\x2a"sv, "8BPS"sv,
                                       "\xff\x0a"sv, "\0\0\0\x0cJXL "sv, "\0\0\0\x0cjP  "sv})
    if (head.starts_with(magic)) return true;
  if (head.size() < 16) return false;
  if (head.starts_with("RIFF") && head.substr(8, 4) == "WEBP") return true;
  // Two letters are few: the size of the header that follows must be one of a bitmap's.
  if (head.starts_with("BM")) return head.substr(15, 1) == "\0"sv && "\x0c\x28\x34\x38\x40\x6c\x7c"sv.find(head[14]) != std::string_view::npos;
  if (head.substr(4, 4) != "ftyp") return false;
  const std::string_view brand = head.substr(8, 4);
  for (const std::string_view known : {"avif", "avis", "heic", "heix", "heim", "heis", "hevc", "mif1", "msf1"})
    if (brand == known) return true;
  return false;
}

// A file that cannot be opened counts as one, so that its error is told.
bool holds_picture(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return true;
  std::array<char, 16> head{};
  const ssize_t got = ::read(fd, head.data(), head.size());
  ::close(fd);
  return got > 0 && begins_as_picture({head.data(), static_cast<std::size_t>(got)});
}

bool is_hidden(const fs::path& path) { return path.filename().string().starts_with('.'); }

using FolderId = std::pair<dev_t, ino_t>;

// The folders under one argument.
class FolderSearch {
 public:
  FolderSearch(std::vector<Input>& inputs, LeftOut& left_out) : inputs_(inputs), left_out_(left_out) {}

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
  void add(const std::string& path) {
    if (is_hidden(path)) {
      ++left_out_.hidden;
      return;
    }
    struct stat status = {};
    if (::stat(path.c_str(), &status) != 0) return inputs_.push_back({path, ""});  // fails with the system's reason
    if (S_ISDIR(status.st_mode)) return enter(path, status);
    if (!S_ISREG(status.st_mode)) {
      ++left_out_.special;
    } else if (has_picture_ending(path) || holds_picture(path)) {
      inputs_.push_back({path, ""});
    } else {
      ++left_out_.others;
    }
  }

  std::vector<Input>& inputs_;
  LeftOut& left_out_;
  std::set<FolderId> searched_;
};

void expand_path(const std::string& path, std::vector<Input>& inputs, LeftOut& left_out) {
  struct stat status = {};
  // One that is missing fails when it is opened, with the system's reason.
  if (::stat(path.c_str(), &status) != 0 || !S_ISDIR(status.st_mode)) return inputs.push_back({path, ""});
  const std::size_t before = inputs.size();
  FolderSearch(inputs, left_out).enter(path, status);
  if (inputs.size() == before) inputs.push_back({path, "no picture in folder " + path});
}

void expand_pattern(const std::string& pattern, std::vector<Input>& inputs, LeftOut& left_out) {
  glob_t matches = {};
  const int result = ::glob(pattern.c_str(), 0, nullptr, &matches);
  for (std::size_t i = 0; result == 0 && i < matches.gl_pathc; ++i) expand_path(matches.gl_pathv[i], inputs, left_out);
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
  add(left_out.again, "link to a folder searched already", "links to folders searched already");
  return text;
}

std::vector<Input> expand_inputs(const std::vector<std::string>& arguments, LeftOut* left_out) {
  std::vector<Input> inputs;
  LeftOut ignored;
  LeftOut& counts = left_out != nullptr ? *left_out : ignored;
  bool standard_input = false;
  for (const std::string& argument : arguments) {
    if (argument == "-") {
      inputs.push_back({"-", standard_input ? "standard input was given twice; it can be read once" : ""});
      standard_input = true;
    } else if (!exists(argument) && argument.find_first_of("*?[") != std::string::npos) {
      expand_pattern(argument, inputs, counts);
    } else {
      expand_path(argument, inputs, counts);
    }
  }
  return inputs;
}

bool names_needed(const std::vector<std::string>& arguments) {
  if (arguments.size() != 1) return true;
  struct stat status = {};
  return arguments.front() != "-" && (stat(arguments.front().c_str(), &status) != 0 || S_ISDIR(status.st_mode));
}

Image read_image(const std::string& name, const ImageLimits& limits, const std::function<bool()>& stop) {
  if (!is_special(name)) return Image::from_file(name, limits);
  const std::string bytes = read_special(name, limits.max_bytes, stop);
  const std::string what = name == "-" ? "standard input" : name;
  if (bytes.empty()) throw Error(ErrorCode::kImage, what + " is empty; a picture was expected");
  return Image::from_memory(std::as_bytes(std::span(bytes)), limits);
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
