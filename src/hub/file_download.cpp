#include "hub/file_download.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <memory>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "blip/error.h"
#include "hub/pull.h"

namespace blip::hub {
namespace {

namespace fs = std::filesystem;

constexpr int kTries = 6;
constexpr double kMaxWaitSeconds = 300;  // a server that asks for more is not waited for
constexpr auto kPoll = std::chrono::milliseconds(100);
constexpr std::size_t kReadBlock = std::size_t{1} << 20;

[[noreturn]] void fail(const std::string& message) { throw Error(ErrorCode::kIo, message); }
[[noreturn]] void fail_with_errno(const std::string& message) {
  fail(message + ": " + std::generic_category().message(errno));
}

void stop_if_cancelled(const CancelCallback& cancel) {
  if (cancel && cancel()) throw Error(ErrorCode::kCancelled, "the download was cancelled");
}

void wait(double seconds, const CancelCallback& cancel) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  while (std::chrono::steady_clock::now() < until) {
    stop_if_cancelled(cancel);
    std::this_thread::sleep_for(kPoll);
  }
}

bool passes(long status) { return status == 408 || status == 429 || status >= 500; }

struct Descriptor {
  int fd = -1;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

// The checksum that an entity tag states, over the bytes as they come.
class Checksum {
 public:
  explicit Checksum(const RemoteFile& file) : expected_(file.etag) {
    const bool hexadecimal = expected_.find_first_not_of("0123456789abcdef") == std::string::npos;
    if (hexadecimal && expected_.size() == 64) start(EVP_sha256());
    if (hexadecimal && expected_.size() == 40 && file.size_known) {
      start(EVP_sha1());  // git's name of a blob
      const std::string head = "blob " + std::to_string(file.size);
      EVP_DigestUpdate(context_.get(), head.c_str(), head.size() + 1);
    }
  }

  void add(std::string_view bytes) {
    if (context_) EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size());
  }

  bool holds() {
    if (!context_) return true;
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    EVP_DigestFinal_ex(context_.get(), digest, &size);
    std::string text;
    for (unsigned i = 0; i < size; ++i) {
      constexpr char kDigits[] = "0123456789abcdef";
      text += {kDigits[digest[i] >> 4], kDigits[digest[i] & 15]};
    }
    return text == expected_;
  }

 private:
  void start(const EVP_MD* kind) {
    context_.reset(EVP_MD_CTX_new());
    if (!context_ || EVP_DigestInit_ex(context_.get(), kind, nullptr) != 1) throw std::bad_alloc();
  }
  struct Free {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  std::string expected_;
  std::unique_ptr<EVP_MD_CTX, Free> context_;
};

// The part of a file that is on disk already, and what comes after it.
class PartialFile {
 public:
  PartialFile(fs::path path, const RemoteFile& file) : path_(std::move(path)), file_(file) {
    fd_.fd = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd_.fd < 0) fail_with_errno("cannot write " + path_.string());
    struct stat status = {};
    if (fstat(fd_.fd, &status) == 0) size_ = static_cast<std::uint64_t>(status.st_size);
    if (file.size_known && size_ > file.size) restart();
  }

  std::uint64_t size() const { return size_; }

  void restart() {
    if (ftruncate(fd_.fd, 0) != 0) fail_with_errno("cannot write " + path_.string());
    size_ = 0;
  }

  void write(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t written = pwrite(fd_.fd, bytes.data(), bytes.size(), static_cast<off_t>(size_));
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0)
        fail_with_errno("cannot write " + path_.string() + " (what arrived is kept)");
      size_ += static_cast<std::uint64_t>(written);
      bytes.remove_prefix(static_cast<std::size_t>(written));
    }
  }

  bool is_as_promised(const CancelCallback& cancel) const {
    Checksum checksum(file_);
    std::vector<char> block(kReadBlock);
    for (std::uint64_t at = 0; at < size_;) {
      stop_if_cancelled(cancel);
      const ssize_t got = pread(fd_.fd, block.data(), block.size(), static_cast<off_t>(at));
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) fail_with_errno("cannot read " + path_.string());
      checksum.add({block.data(), static_cast<std::size_t>(got)});
      at += static_cast<std::uint64_t>(got);
    }
    return checksum.holds();
  }

  void publish(const fs::path& target) {
    if (fsync(fd_.fd) != 0) fail_with_errno("cannot write " + path_.string());
    if (::rename(path_.c_str(), target.c_str()) != 0)
      fail_with_errno("cannot write " + target.string());
  }

 private:
  fs::path path_;
  const RemoteFile& file_;
  Descriptor fd_;
  std::uint64_t size_ = 0;
};

void check_space(const fs::path& folder, const RemoteFile& file, std::uint64_t there) {
  struct statvfs disk = {};
  if (!file.size_known || statvfs(folder.c_str(), &disk) != 0) return;
  const auto free = static_cast<std::uint64_t>(disk.f_bavail) * disk.f_frsize;
  if (file.size - there <= free) return;
  fail(file.name + " needs " + std::to_string(file.size - there) + " bytes more in " +
       folder.string() + ", and " + std::to_string(free) +
       " are free; make room, or choose another folder with HF_HUB_CACHE");
}

// "bytes 100-199/200": 100; npos where it says nothing of the kind.
std::uint64_t range_start(const std::string& header) {
  if (!header.starts_with("bytes ")) return UINT64_MAX;
  const std::size_t end = header.find('-');
  const std::string digits = header.substr(6, end == std::string::npos ? 0 : end - 6);
  if (digits.empty() || digits.size() > 18 ||
      digits.find_first_not_of("0123456789") != std::string::npos)
    return UINT64_MAX;
  return std::stoull(digits);
}

// One request for what is missing; what arrives is kept even where the connection breaks.
Reply fetch_rest(HttpClient& client, const RemoteFile& file, PartialFile& partial,
                 const HubOptions& options) {
  const auto start = [&](const Reply& reply) {
    if (reply.status == 206 && range_start(reply.header("content-range")) == partial.size())
      return true;
    if (reply.status == 200 || reply.status == 206) partial.restart();
    return reply.status == 200;
  };
  const auto sink = [&](std::string_view piece) {
    // more than promised
    if (file.size_known && partial.size() + piece.size() > file.size) return false;
    partial.write(piece);
    if (options.progress) options.progress(file.name, partial.size(), file.size);
    return true;
  };
  Reply reply = client.download(file.url, partial.size(), start, sink);
  if ((reply.status == 200 || reply.status == 206) && file.size_known && partial.size() < file.size)
    throw ConnectionError(file.name + ": the answer ended after " + std::to_string(partial.size()) +
                          " of " + std::to_string(file.size) + " bytes");
  return reply;
}

}  // namespace

Reply with_retries(const HubOptions& options, const std::function<Reply()>& request,
                   const std::function<bool()>& progressed) {
  double pause = options.retry_ms / 1000.0;
  for (int tried = 1;; ++tried) {
    std::string reason;
    double asked = 0;
    try {
      Reply reply = request();
      if (!passes(reply.status)) return reply;
      asked = reply.retry_after;
      if (tried >= kTries || asked > kMaxWaitSeconds) return reply;
      reason = "the answer was " + std::to_string(reply.status);
    } catch (const ConnectionError& error) {
      if (progressed && progressed()) tried = 1, pause = options.retry_ms / 1000.0;
      if (tried >= kTries) throw;
      reason = error.what();
    }
    if (options.warning) options.warning(reason + "; trying again");
    wait(std::max(pause, asked), options.cancel);
    pause *= 2;
  }
}

FileLock::FileLock(const fs::path& path, const CancelCallback& cancel) {
  std::error_code error;
  fs::create_directories(path.parent_path(), error);
  fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0664);
  if (fd_ < 0) fail_with_errno("cannot lock " + path.string());
  while (flock(fd_, LOCK_EX | LOCK_NB) != 0) {
    // a file system without locks: the rename is still atomic
    if (errno != EWOULDBLOCK && errno != EINTR) return;
    stop_if_cancelled(cancel);
    std::this_thread::sleep_for(kPoll);
  }
}

FileLock::~FileLock() { ::close(fd_); }

void download_file(HttpClient& client, const RemoteFile& file, const fs::path& target,
                   const HubOptions& options) {
  PartialFile partial(target.string() + ".incomplete", file);
  check_space(target.parent_path(), file, partial.size());
  if (options.progress) options.progress(file.name, partial.size(), file.size);
  // A second time from the beginning where the sum is wrong: an older part may have been damaged.
  for (int attempt = 0; attempt < 2; ++attempt) {
    if (!file.size_known || partial.size() < file.size) {
      std::uint64_t before = partial.size();
      const auto progressed = [&] {
        return std::exchange(before, partial.size()) < partial.size();
      };
      const Reply reply = with_retries(
          options, [&] { return fetch_rest(client, file, partial, options); }, progressed);
      const bool complete = reply.status == 416 && !file.size_known && partial.size() > 0;
      if (reply.status == 416 && !complete) {
        partial.restart();
        continue;
      }
      if (reply.status != 200 && reply.status != 206 && !complete)
        refuse(reply, file.name, reply.url);
    }
    if ((!file.size_known || partial.size() == file.size) &&
        partial.is_as_promised(options.cancel)) {
      return partial.publish(target);
    }
    partial.restart();
  }
  fail(file.name +
       ": what arrived is not what the hub promised (wrong checksum, twice); nothing was kept. Try "
       "again, or "
       "another endpoint if HF_ENDPOINT names a mirror");
}

void refuse(const Reply& reply, const std::string& what, const std::string& endpoint) {
  const std::string code = reply.header("x-error-code");
  const std::string status = std::to_string(reply.status);
  const std::string told = reply.header("x-error-message").substr(0, 200);
  if (code == "GatedRepo")
    fail(what + " is gated: accept its terms on its page at " + endpoint +
         ", then give an access token in HF_TOKEN (" + status + ")");
  if (reply.status == 401 || code == "RepoNotFound")
    throw NotFound(ErrorCode::kIo, what + ": " + endpoint +
                                       " has no such model, or it is private (" + status +
                                       "); check the name, or give an access token in HF_TOKEN");
  if (reply.status == 403)
    fail(what + ": access denied by " + endpoint + " (403)" + (told.empty() ? "" : ": " + told) +
         "; check HF_TOKEN");
  if (code == "RevisionNotFound")
    fail(what + ": " + endpoint + " has the model, but no such revision (" + status + ")");
  if (reply.status == 404)
    throw NotFound(ErrorCode::kIo, what + ": " + endpoint + " has no such model or file (404)");
  if (reply.status == 429 && reply.retry_after > kMaxWaitSeconds)
    fail(what + ": " + endpoint + " asks to come back in " +
         std::to_string(static_cast<long>(reply.retry_after)) + " s (429)");
  fail(what + ": " + endpoint + " answered " + status + (told.empty() ? "" : ": " + told) +
       "; try again later");
}

}  // namespace blip::hub
