#include "base/file.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <random>
#include <system_error>
#include <utility>

#include "blip/error.h"

namespace blip {
namespace {

[[noreturn]] void fail(const std::string& action, const std::string& path, int code) {
  throw Error(ErrorCode::kIo,
              "cannot " + action + " " + path + ": " + std::generic_category().message(code));
}

[[noreturn]] void fail(const std::string& action, const std::string& path,
                       const std::string& reason) {
  throw Error(ErrorCode::kIo, "cannot " + action + " " + path + ": " + reason);
}

// A path with a zero byte would name another file than the one in our messages.
void check_path(const std::string& action, const std::string& path) {
  if (path.empty()) fail(action, "\"\"", "the path is empty");
  if (path.find('\0') != std::string::npos)
    // NOLINTNEXTLINE(readability-redundant-string-cstr): what stands before the zero byte.
    fail(action, path.c_str(), "the path holds a zero byte");
}

// A file descriptor that closes itself.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(Descriptor&& other) noexcept : fd_(other.release()) {}
  Descriptor& operator=(Descriptor&&) = delete;
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

struct stat status_of(int fd, const std::string& path) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) fail("open", path, errno);
  return status;
}

// Opens for reading what is no folder and, unless any kind will do, a regular file.
Descriptor open_to_read(const std::string& path, FileKind kind) {
  check_path("open", path);
  // O_NONBLOCK: opening a named pipe must be refused below, not wait for a writer.
  const int wait = kind == FileKind::kRegular ? O_NONBLOCK : 0;
  Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | wait));
  if (file.get() < 0) fail("open", path, errno);
  const struct stat status = status_of(file.get(), path);
  if (S_ISDIR(status.st_mode)) fail("read", path, EISDIR);
  if (kind == FileKind::kRegular && !S_ISREG(status.st_mode))
    fail("open", path, "it is not a regular file");
  return file;
}

}  // namespace

MappedFile::MappedFile(const std::string& path) : path_(path) {
  Descriptor file = open_to_read(path, FileKind::kRegular);
  const struct stat status = status_of(file.get(), path);
  const auto size = static_cast<std::size_t>(status.st_size);
  if (size == 0) return;  // an empty mapping is an error to mmap; an empty span says the same
  void* const address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (address == MAP_FAILED) fail("map", path, errno);
  bytes_ = {static_cast<const std::byte*>(address), size};
  seconds_ = status.st_mtim.tv_sec;
  nanoseconds_ = status.st_mtim.tv_nsec;
  fd_ = file.release();
  guard_.emplace(bytes_);
}

MappedFile::~MappedFile() {
  guard_.reset();  // before other memory may come to lie there
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
  if (fd_ >= 0) ::close(fd_);
}

void MappedFile::check_unchanged() const {
  if (!guard_) return;
  struct stat status {};
  const bool same = ::fstat(fd_, &status) == 0 &&
                    static_cast<std::uint64_t>(status.st_size) == bytes_.size() &&
                    status.st_mtim.tv_sec == seconds_ && status.st_mtim.tv_nsec == nanoseconds_;
  if (!same)
    fail("read", path_, "the file changed while it was read; try again once nothing writes to it");
  if (guard_->damaged()) fail("read", path_, EIO);
}

void MappedFile::release(std::span<const std::byte> bytes) const {
  if (bytes.data() < bytes_.data() || bytes.data() + bytes.size() > bytes_.data() + bytes_.size())
    return;
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = (reinterpret_cast<std::uintptr_t>(bytes.data()) + page - 1) / page * page;
  const auto end = reinterpret_cast<std::uintptr_t>(bytes.data() + bytes.size()) / page * page;
  // The mapping is private and never written, so the pages come back from the file.
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

std::vector<std::byte> read_file(const std::string& path, std::size_t max_bytes, FileKind kind) {
  const Descriptor file = open_to_read(path, kind);
  const struct stat status = status_of(file.get(), path);
  const std::string too_large =
      "it is larger than the limit of " + std::to_string(max_bytes) + " bytes";
  if (S_ISREG(status.st_mode) && max_bytes != 0 &&
      static_cast<std::uint64_t>(status.st_size) > max_bytes) {
    fail("read", path, too_large);
  }
  std::vector<std::byte> bytes;
  try {
    // Pipes and files in /proc have no size beforehand, so the size is a first guess only. One byte
    // more shows the end.
    if (S_ISREG(status.st_mode)) bytes.reserve(static_cast<std::size_t>(status.st_size) + 1);
    constexpr std::size_t kSmallest = std::size_t{64} << 10;
    std::size_t used = 0;
    for (;;) {
      if (used == bytes.size())
        bytes.resize(std::max({used + used / 2, kSmallest, bytes.capacity()}));
      const ssize_t got = ::read(file.get(), bytes.data() + used,
                                 std::min<std::size_t>(bytes.size() - used, INT_MAX));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) fail("read", path, errno);
      if (got == 0) break;
      used += static_cast<std::size_t>(got);
      if (max_bytes != 0 && used > max_bytes) fail("read", path, too_large);
    }
    bytes.resize(used);
  } catch (const std::bad_alloc&) {
    fail("read", path, "not enough memory");
  } catch (const std::length_error&) {
    fail("read", path, "not enough memory");
  }
  return bytes;
}

bool is_there(const std::string& path) {
  struct stat status = {};
  return ::lstat(path.c_str(), &status) == 0 || (errno != ENOENT && errno != ENOTDIR);
}

std::string read_text(const std::string& path, std::size_t max_bytes, FileKind kind) {
  const std::vector<std::byte> bytes = read_file(path, max_bytes, kind);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

namespace {

// Holds back SIGXFSZ, which a write over the process's file size limit raises and which would end
// the process before it could remove the temporary: the write then fails with EFBIG like any other.
class HoldSizeSignal {
 public:
  HoldSizeSignal() {
    sigemptyset(&size_signal_);
    sigaddset(&size_signal_, SIGXFSZ);
    pthread_sigmask(SIG_BLOCK, &size_signal_, &before_);
  }
  ~HoldSizeSignal() {
    if (raised && sigismember(&before_, SIGXFSZ) == 0) {
      const struct timespec now {};
      sigtimedwait(&size_signal_, nullptr, &now);
    }
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  HoldSizeSignal(const HoldSizeSignal&) = delete;
  HoldSizeSignal& operator=(const HoldSizeSignal&) = delete;
  bool raised = false;

 private:
  sigset_t size_signal_, before_;
};

// Where the bytes shall end up: symbolic links are followed, so that a link stays a link.
// Anything but a regular file is refused: renaming over /dev/null would replace the device.
std::string resolve_target(const std::string& path) {
  check_path("write", path);
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) {
    if (errno != ENOENT) fail("write", path, errno);
    if (path.back() == '/') fail("write", path, EISDIR);
    return path;
  }
  std::string target = path;
  if (S_ISLNK(status.st_mode)) {
    char* const resolved = ::realpath(path.c_str(), nullptr);
    if (resolved == nullptr)
      fail("write", path, "it is a link to nothing: " + std::generic_category().message(errno));
    target = resolved;
    std::free(resolved);
    if (::stat(target.c_str(), &status) != 0) fail("write", path, errno);
  }
  if (S_ISDIR(status.st_mode)) fail("write", path, EISDIR);
  if (!S_ISREG(status.st_mode)) fail("write", path, "it exists and is not a regular file");
  return target;
}

std::string folder_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? "./" : path.substr(0, slash + 1);
}

// What the name of a temporary ends with: ".0123456789abcdef.tmp".
constexpr std::string_view kDigits = "0123456789abcdef", kTemporary = ".tmp";
constexpr std::size_t kTemporaryDigits = 16;

// "FOLDER/NAME.0123456789abcdef.tmp"; NAME is truncated so that the whole fits into a directory
// entry (255 bytes).
std::string temporary_name(const std::string& target, std::random_device& random) {
  constexpr std::size_t kLongestName = 200;
  const std::string folder = folder_of(target);
  const std::size_t slash = target.rfind('/');
  const std::string name =
      (slash == std::string::npos ? target : target.substr(slash + 1)).substr(0, kLongestName);
  std::string digits;
  for (std::size_t i = 0; i < kTemporaryDigits; ++i) digits += kDigits[random() % kDigits.size()];
  return folder + name + "." + digits + std::string(kTemporary);
}

// A file without a name in the folder of the target; -1 where the system has none or could not give
// it a name later.
int open_nameless(const std::string& target) {
#ifdef O_TMPFILE
  if (::access("/proc/self/fd", X_OK) != 0) return -1;
  return ::open(folder_of(target).c_str(), O_WRONLY | O_TMPFILE | O_CLOEXEC, 0666);
#else
  return -1;
#endif
}

}  // namespace

bool AtomicFile::is_temporary(std::string_view name) {
  if (!name.ends_with(kTemporary)) return false;
  name.remove_suffix(kTemporary.size());
  if (name.size() < kTemporaryDigits + 2) return false;
  const std::string_view digits = name.substr(name.size() - kTemporaryDigits);
  return name[name.size() - kTemporaryDigits - 1] == '.' &&
         digits.find_first_not_of(kDigits) == std::string_view::npos;
}

// `make` is tried with names until one is free.
template <class Make>
bool AtomicFile::name_temporary(const Make& make) {
  constexpr int kAttempts = 100;
  std::random_device random;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    temporary_ = temporary_name(path_, random);
    if (make(temporary_.c_str())) return true;
    if (errno != EEXIST) break;
  }
  temporary_.clear();
  return false;
}

// 0666 under the process's umask: the permissions a plainly written file would have.
AtomicFile::AtomicFile(std::string path, Temporary temporary) : path_(resolve_target(path)) {
  if (temporary == Temporary::kNameless) fd_ = open_nameless(path_);
  const auto create = [this](const char* name) {
    fd_ = ::open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    return fd_ >= 0;
  };
  if (fd_ < 0 && !name_temporary(create)) fail("write", path_, errno);
  struct stat existing {};
  if (::stat(path_.c_str(), &existing) == 0) (void)!::fchmod(fd_, existing.st_mode & 07777);
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) ::close(fd_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  if (fd_ < 0) fail("write", path_, "the file is already complete");
  HoldSizeSignal hold;
  while (!bytes.empty()) {
    // Linux writes at most 2 GiB a call.
    const ssize_t written =
        ::write(fd_, bytes.data(), std::min<std::size_t>(bytes.size(), std::size_t{1} << 30));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      const int code = errno;
      hold.raised = code == EFBIG;
      fail("write", path_, code);
    }
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

void AtomicFile::write(std::string_view text) {
  write(std::span(reinterpret_cast<const std::byte*>(text.data()), text.size()));
}

void AtomicFile::commit() {
  if (fd_ < 0) fail("write", path_, "the file is already complete");
  if (::fsync(fd_) != 0) fail("write", path_, errno);
  const std::string nameless = "/proc/self/fd/" + std::to_string(fd_);
  const auto link = [&nameless](const char* name) {
    return ::linkat(AT_FDCWD, nameless.c_str(), AT_FDCWD, name, AT_SYMLINK_FOLLOW) == 0;
  };
  if (temporary_.empty() && !name_temporary(link)) fail("write", path_, errno);
  const int closed = ::close(fd_);
  fd_ = -1;
  if (closed != 0) fail("write", path_, errno);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail("write", path_, errno);
  temporary_.clear();
  // The name itself is safe once its folder is synced. The content already is, so a folder that
  // cannot be is no failure.
  const Descriptor folder(::open(folder_of(path_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.get() >= 0) (void)!::fsync(folder.get());
}

}  // namespace blip
