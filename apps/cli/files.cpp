#include "cli/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "base/file.h"
#include "blip/error.h"
#include "cli/exit.h"

namespace blip::cli {
namespace {

bool is_written_to(const std::string& path) {
  struct stat status = {};
  return stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode);
}

void write_special(const std::string& path, std::span<const std::byte> bytes) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  bool good = fd >= 0;
  for (std::size_t done = 0; good && done < bytes.size();) {
    const ssize_t written = ::write(fd, bytes.data() + done, bytes.size() - done);
    if (written > 0) done += static_cast<std::size_t>(written);
    good = written > 0 || errno == EINTR;
  }
  const std::string reason = good ? "" : std::generic_category().message(errno);
  if (fd >= 0) ::close(fd);
  if (!good) throw Exit(kExitSomeFailed, "cannot write " + path + ": " + reason);
}

}  // namespace

void check_destination(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  if (path.empty()) throw Exit(kExitUsage, "the name of the file to write must not be empty");
  if (fs::is_directory(path, ignored))
    throw Exit(kExitSomeFailed, "cannot write " + path + ": it is a folder; give a file name");
  const fs::path folder = fs::path(path).parent_path();
  if (!folder.empty() && !fs::is_directory(folder, ignored)) {
    throw Exit(kExitSomeFailed, "cannot write " + path + ": there is no folder " + folder.string());
  }
}

void check_replaceable(const std::string& path, std::string_view magic, const char* kind) {
  namespace fs = std::filesystem;
  check_destination(path);
  std::error_code ignored;
  if (!fs::is_regular_file(path, ignored) || fs::file_size(path, ignored) == 0) return;
  std::string start(magic.size(), '\0');
  std::ifstream(path, std::ios::binary)
      .read(start.data(), static_cast<std::streamsize>(start.size()));
  if (start != magic)
    throw Exit(kExitUsage, "cannot write " + path + ": it exists and is no " + kind +
                               "; give another name, or remove it first");
}

void check_npy_destination(const std::string& path) {
  check_replaceable(path, "\x93NUMPY", ".npy file");
}

void write_result(Console& console, const std::string& path, std::span<const std::byte> bytes) {
  if (path == "-") return console.bytes(bytes);
  if (is_written_to(path)) return write_special(path, bytes);
  try {
    AtomicFile file(path);
    file.write(bytes);
    file.commit();
  } catch (const Error& error) {
    throw Exit(kExitSomeFailed, error.what());
  }
}

}  // namespace blip::cli
