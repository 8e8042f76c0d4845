#include "cli/list_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "blip/error.h"
#include "cli/exit.h"
#include "cli/interrupt.h"

namespace blip::cli {
namespace {

constexpr std::size_t kBlock = std::size_t{64} << 10, kLongestName = kBlock;

[[noreturn]] void fail(const std::string& path, const std::string& why) {
  throw Error(ErrorCode::kIo,
              "cannot read the list " + (path == "-" ? "on standard input" : path) + ": " + why);
}

}  // namespace

ListReader::ListReader(std::string path, char end)
    : path_(std::move(path)),
      end_(end),
      fd_(path_ == "-" ? ::dup(STDIN_FILENO) : ::open(path_.c_str(), O_RDONLY | O_CLOEXEC)) {
  if (fd_ < 0) fail(path_, std::strerror(errno));
  struct stat status {};
  waits_ = ::fstat(fd_, &status) != 0 || !S_ISREG(status.st_mode);
}

ListReader::~ListReader() {
  if (fd_ >= 0) ::close(fd_);
}

bool ListReader::fill(const std::function<bool()>& stop) {
  buffer_.erase(0, at_);
  at_ = 0;
  const std::size_t used = buffer_.size();
  for (;;) {
    const Wait wait = waits_ ? wait_for_input(fd_, stop) : Wait::kReady;
    stop_if_interrupted();
    if (wait == Wait::kStopped) throw Exit(kExitSomeFailed, "");
    if (wait == Wait::kNothing) continue;
    buffer_.resize(used + kBlock);
    const ssize_t got = ::read(fd_, buffer_.data() + used, kBlock);
    buffer_.resize(used + static_cast<std::size_t>(got > 0 ? got : 0));
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got < 0) fail(path_, std::strerror(errno));
    return got > 0;
  }
}

std::optional<std::string> ListReader::next(const std::function<bool()>& stop) {
  for (;;) {
    std::size_t end = buffer_.find(end_, at_);
    while (end == std::string::npos && !ended_) {
      if (buffer_.size() - at_ > kLongestName)
        fail(path_, "a name is longer than 64 KiB; names end with " +
                        std::string(end_ == '\0' ? "NUL" : "a line end (-0: with NUL)"));
      ended_ = !fill(stop);
      if (!std::exchange(begun_, true)) {
        if (buffer_.starts_with("\xff\xfe") || buffer_.starts_with("\xfe\xff"))
          fail(path_, "it is UTF-16; save it as UTF-8");
        if (buffer_.starts_with("\xef\xbb\xbf")) at_ = 3;
      }
      end = buffer_.find(end_, at_);
    }
    if (end == std::string::npos && at_ >= buffer_.size()) return std::nullopt;
    std::string name = buffer_.substr(at_, end == std::string::npos ? end : end - at_);
    at_ = end == std::string::npos ? buffer_.size() : end + 1;
    if (end_ == '\n' && name.ends_with('\r')) name.pop_back();
    if (end_ == '\n' && name.find('\0') != std::string::npos)
      fail(path_, "a name holds a NUL; lists whose names end with NUL are read with -0");
    if (!name.empty()) return name;
  }
}

}  // namespace blip::cli
