#include "cli/inputs.h"

#include <glob.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "cli/exit.h"
#include "cli/interrupt.h"
#include "io/file.h"

namespace blip::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxLine = std::size_t{1} << 20;
constexpr std::size_t kMaxListBytes = std::size_t{64} << 20;

bool has_picture_extension(const fs::path& path) {
  constexpr std::array<std::string_view, 8> kExtensions = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif"};
  std::string extension = path.extension().string();
  for (char& c : extension) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return std::find(kExtensions.begin(), kExtensions.end(), extension) != kExtensions.end();
}

bool is_hidden(const fs::path& path) { return path.filename().string().starts_with('.'); }

// Pictures in and under the folder, each folder's entries sorted by name; a subfolder that cannot be read is one failed input.
void list_folder(const std::string& folder, std::vector<Input>& inputs) {
  std::error_code error;
  std::vector<fs::directory_entry> entries;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) entries.push_back(*it);
  if (error) return inputs.push_back({folder, "cannot list folder " + folder + ": " + error.message()});
  std::sort(entries.begin(), entries.end());
  for (const fs::directory_entry& entry : entries) {
    if (is_hidden(entry.path())) continue;
    std::error_code ignored;
    if (entry.is_directory(ignored)) {
      if (!entry.is_symlink(ignored)) list_folder(entry.path().string(), inputs);  // a link may lead back up
    } else if (has_picture_extension(entry.path())) {
      inputs.push_back({entry.path().string(), ""});
    }
  }
}

void expand_folder(const std::string& folder, std::vector<Input>& inputs) {
  const std::size_t before = inputs.size();
  list_folder(folder, inputs);
  if (inputs.size() == before) {
    inputs.push_back({folder, "no picture in folder " + folder + " (looked for jpg, jpeg, jpe, jfif, png, webp, bmp, gif)"});
  }
}

void expand_path(const std::string& path, std::vector<Input>& inputs) {
  struct stat status = {};
  if (stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode)) return expand_folder(path, inputs);
  inputs.push_back({path, ""});  // one that is missing fails when it is opened, with the system's reason
}

void expand_pattern(const std::string& pattern, std::vector<Input>& inputs) {
  glob_t matches = {};
  const int result = ::glob(pattern.c_str(), 0, nullptr, &matches);
  for (std::size_t i = 0; result == 0 && i < matches.gl_pathc; ++i) expand_path(matches.gl_pathv[i], inputs);
  ::globfree(&matches);
  if (result != 0) inputs.push_back({pattern, "no file matches " + pattern});
}

bool exists(const std::string& path) {
  struct stat status = {};
  return lstat(path.c_str(), &status) == 0;
}

// Waits until standard input can be read; false when interrupted. A signal may reach another thread, which would leave a
// plain read() waiting here.
bool wait_for_input() {
  constexpr int kMilliseconds = 100;
  pollfd input = {STDIN_FILENO, POLLIN, 0};
  while (interrupted() == 0) {
    const int ready = ::poll(&input, 1, kMilliseconds);
    if (ready > 0 || (ready < 0 && errno != EINTR)) return true;
  }
  return false;
}

std::vector<std::byte> read_standard_input(std::size_t max_bytes) {
  std::vector<std::byte> bytes;
  std::array<std::byte, 65536> block;
  for (;;) {
    if (!wait_for_input()) stop_if_interrupted();
    const ssize_t count = ::read(STDIN_FILENO, block.data(), block.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw Error(ErrorCode::kIo, std::string("cannot read standard input: ") + std::strerror(errno));
    if (count == 0) break;
    bytes.insert(bytes.end(), block.begin(), block.begin() + count);
    if (max_bytes != 0 && bytes.size() > max_bytes) {
      throw Error(ErrorCode::kImage, "the picture on standard input is larger than the limit of " + std::to_string(max_bytes) +
                                         " bytes (see --max-bytes)");
    }
  }
  if (bytes.empty()) throw Error(ErrorCode::kImage, "standard input is empty; a picture was expected");
  return bytes;
}

bool is_blank(const std::string& text) { return text.find_first_not_of(" \t\r\n\v\f") == std::string::npos; }

}  // namespace

std::vector<Input> expand_inputs(const std::vector<std::string>& arguments) {
  std::vector<Input> inputs;
  bool standard_input = false;
  for (const std::string& argument : arguments) {
    if (argument == "-") {
      inputs.push_back({"-", standard_input ? "standard input was given twice; it can be read once" : ""});
      standard_input = true;
    } else if (!exists(argument) && argument.find_first_of("*?[") != std::string::npos) {
      expand_pattern(argument, inputs);
    } else {
      expand_path(argument, inputs);
    }
  }
  return inputs;
}

bool names_needed(const std::vector<std::string>& arguments) {
  if (arguments.size() != 1) return true;
  struct stat status = {};
  return arguments.front() != "-" && (stat(arguments.front().c_str(), &status) != 0 || S_ISDIR(status.st_mode));
}

Image read_image(const std::string& name, const ImageLimits& limits) {
  if (name != "-") return Image::from_file(name, limits);
  return Image::from_memory(read_standard_input(limits.max_bytes), limits);
}

std::vector<std::string> read_lines(const std::string& path, const std::string& what) {
  std::string content;
  try {
    if (path == "-") {
      const std::vector<std::byte> bytes = read_standard_input(kMaxListBytes);
      content.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    } else {
      content = io::read_text(path, kMaxListBytes, io::FileKind::kAny);  // a shell's <(...) is a pipe
    }
  } catch (const Error& error) {
    throw Exit(kExitUsage, what + ": " + error.what());
  }
  if (content.starts_with("\xef\xbb\xbf")) content.erase(0, 3);
  std::vector<std::string> lines;
  for (std::size_t begin = 0; begin < content.size();) {
    std::size_t end = std::min(content.find('\n', begin), content.size());
    std::string line = content.substr(begin, end - begin);
    if (line.ends_with('\r')) line.pop_back();
    if (!is_blank(line)) lines.push_back(std::move(line));
    begin = end + 1;
  }
  if (lines.empty()) throw Exit(kExitUsage, what + ": " + path + " has no line of text");
  return lines;
}

void check_texts(const std::vector<std::string>& texts, const std::string& what) {
  for (const std::string& text : texts) {
    if (is_blank(text)) throw Exit(kExitUsage, what + " must not be empty");
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
    if (ended_ || !wait_for_input()) return false;
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
