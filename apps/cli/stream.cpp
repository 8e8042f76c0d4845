#include "cli/stream.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "blip/error.h"
#include "cli/exit.h"
#include "cli/interrupt.h"

namespace blip::cli {
namespace {

[[noreturn]] void fail() { throw Error(ErrorCode::kIo, std::generic_category().message(errno)); }

// <(command) gives /dev/fd/N, a pipe without a name: its writer is there already.
bool is_nameless_pipe(int fd) {
  std::error_code error;
  return std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(fd), error)
      .string()
      .starts_with("pipe:");
}

}  // namespace

Stream::Stream(const std::string& path)
    : fd_(path == "-" ? ::dup(STDIN_FILENO)
                      : ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
  if (fd_ < 0) fail();
  struct stat status = {};
  waits_ = ::fstat(fd_, &status) != 0 || !S_ISREG(status.st_mode);
  may_try_ = path != "-";
  was_written_ = may_try_ && is_nameless_pipe(fd_);
}

Stream::~Stream() { ::close(fd_); }

bool Stream::read(std::string& bytes, std::size_t most, const std::function<bool()>& stop) {
  const std::size_t used = bytes.size();
  for (;;) {
    const Wait wait = waits_ ? wait_for_input(fd_, stop) : Wait::kReady;
    stop_if_interrupted();
    if (wait == Wait::kStopped) throw Exit(kExitSomeFailed, "");
    // A pipe whose writer went before it was opened here shows no end to poll().
    if (wait == Wait::kNothing && !(may_try_ && was_written_)) continue;
    bytes.resize(used + most);
    const ssize_t got = ::read(fd_, bytes.data() + used, most);
    bytes.resize(used + static_cast<std::size_t>(got > 0 ? got : 0));
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got < 0) fail();
    was_written_ = was_written_ || got > 0;
    return got > 0;
  }
}

}  // namespace blip::cli
