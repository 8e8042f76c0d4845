#include "jobs/append_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "blip/error.h"

namespace blip::jobs {
namespace {

[[noreturn]] void fail(const std::string& action, const std::string& path, int code) {
  throw Error(ErrorCode::kIo,
              "cannot " + action + " " + path + ": " + std::generic_category().message(code));
}

}  // namespace

AppendFile::AppendFile(std::string path) : path_(std::move(path)) {
  // O_NONBLOCK: a named pipe is refused below instead of waiting for its reader.
  fd_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0666);
  if (fd_ < 0) fail("write", path_, errno);
  struct stat status {};
  if (::fstat(fd_, &status) == 0 && S_ISREG(status.st_mode)) return;
  ::close(fd_);
  throw Error(ErrorCode::kIo, "cannot write " + path_ + ": it exists and is not a regular file");
}

AppendFile::~AppendFile() { ::close(fd_); }

bool AppendFile::is_named() const {
  struct stat named {
  }, open{};
  return ::stat(path_.c_str(), &named) == 0 && ::fstat(fd_, &open) == 0 &&
         named.st_dev == open.st_dev && named.st_ino == open.st_ino;
}

std::uint64_t AppendFile::size() const {
  struct stat status {};
  if (::fstat(fd_, &status) != 0) fail("read", path_, errno);
  return static_cast<std::uint64_t>(status.st_size);
}

void AppendFile::write_at(std::uint64_t offset, std::string_view bytes) {
  for (std::size_t done = 0; done < bytes.size();) {
    const ssize_t written =
        ::pwrite(fd_, bytes.data() + done, bytes.size() - done, static_cast<off_t>(offset + done));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      const int code = written < 0 ? errno : ENOSPC;
      if (done > 0) (void)!::ftruncate(fd_, static_cast<off_t>(offset));
      fail("write", path_, code);
    }
    done += static_cast<std::size_t>(written);
  }
}

void AppendFile::cut(std::uint64_t size) {
  if (::ftruncate(fd_, static_cast<off_t>(size)) != 0) fail("cut", path_, errno);
}

std::string AppendFile::read(std::uint64_t offset, std::size_t bytes) const {
  std::string text(bytes, '\0');
  std::size_t done = 0;
  while (done < bytes) {
    const ssize_t got =
        ::pread(fd_, text.data() + done, bytes - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail("read", path_, errno);
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  text.resize(done);
  return text;
}

void AppendFile::sync() {
  if (::fdatasync(fd_) != 0 && errno != EINVAL && errno != EROFS) fail("write", path_, errno);
}

}  // namespace blip::jobs
