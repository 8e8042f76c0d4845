#include "cli/python_package.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>
#include <utility>

#include "blip/error.h"
#include "cli/exit.h"
#include "cli/interrupt.h"

extern char** environ;

namespace blip::cli {
namespace {

// posix_spawn's list of what becomes of the child's files.
class Files {
 public:
  Files() { ::posix_spawn_file_actions_init(&actions_); }
  ~Files() { ::posix_spawn_file_actions_destroy(&actions_); }
  Files(const Files&) = delete;
  Files& operator=(const Files&) = delete;

  void drop(int fd) { ::posix_spawn_file_actions_addopen(&actions_, fd, "/dev/null", O_WRONLY, 0); }
  void use(int from, int fd) { ::posix_spawn_file_actions_adddup2(&actions_, from, fd); }
  const posix_spawn_file_actions_t* get() const { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_;
};

// posix_spawn's settings: a group of its own, so that Ctrl-C is this program's alone, which ends
// the child when it is through with what it did.
class OwnGroup {
 public:
  OwnGroup() {
    ::posix_spawnattr_init(&attributes_);
    ::posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETPGROUP);
    ::posix_spawnattr_setpgroup(&attributes_, 0);
  }
  ~OwnGroup() { ::posix_spawnattr_destroy(&attributes_); }
  OwnGroup(const OwnGroup&) = delete;
  OwnGroup& operator=(const OwnGroup&) = delete;

  const posix_spawnattr_t* get() const { return &attributes_; }

 private:
  posix_spawnattr_t attributes_;
};

// The exit code; 1 where a signal ended it.
int wait_for(pid_t child) {
  int status = 0;
  while (::waitpid(child, &status, 0) < 0)
    if (errno != EINTR) return 1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

// 0 where the interpreter has the modules, else its exit code; -1 where there is no interpreter.
int try_import(const std::string& modules) {
  std::vector<std::string> words = {kPython, "-c", "import " + modules};
  Files silent;
  silent.drop(STDOUT_FILENO);
  silent.drop(STDERR_FILENO);
  pid_t child = 0;
  if (::posix_spawnp(&child, kPython, silent.get(), nullptr, pointers(words).data(), environ) != 0)
    return -1;
  return wait_for(child);
}

[[noreturn]] void fail(int code) {
  throw Error(ErrorCode::kIo, std::string("cannot start ") + kPython + ": " +
                                  std::generic_category().message(code));
}

}  // namespace

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  return argv;
}

std::string missing_of(const PythonNeed& need) {
  const int imported = try_import(need.modules);
  if (imported == 0) return "";
  return std::string(need.task) + " by the Python package blipcpp, " +
         (imported < 0
              ? "and there is no python3 here"
              : std::string("which `python3 -c \"import ") + need.modules + "\"` does not find") +
         ": install Python 3.8 or newer and, from a checkout of blip.cpp, pip install './python[" +
         need.extra + "]' (" + need.document + ")";
}

PythonChild::PythonChild(std::vector<std::string> words) {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) fail(errno);
  words.insert(words.begin(), kPython);
  Files files;
  files.use(ends[1], STDIN_FILENO);
  files.use(ends[1], STDOUT_FILENO);
  files.drop(STDERR_FILENO);
  const OwnGroup group;
  const int problem =
      ::posix_spawnp(&pid_, kPython, files.get(), group.get(), pointers(words).data(), environ);
  ::close(ends[1]);
  socket_ = ends[0];
  if (problem == 0) return;
  ::close(socket_);
  fail(problem);
}

PythonChild::~PythonChild() {
  ::close(socket_);
  ::kill(pid_, SIGKILL);
  wait_for(pid_);
}

// Appends to the buffer; false where the child has ended.
bool PythonChild::fill(const Stop& stop) {
  constexpr std::size_t kBlock = std::size_t{256} << 10;
  buffer_.erase(0, std::exchange(used_, 0));
  for (;;) {
    const Wait wait = wait_for_input(socket_, stop);
    stop_if_interrupted();
    if (wait == Wait::kStopped) throw Exit(kExitSomeFailed, "");
    if (wait == Wait::kNothing) continue;
    const std::size_t before = buffer_.size();
    buffer_.resize(before + kBlock);
    const ssize_t got = ::recv(socket_, buffer_.data() + before, kBlock, 0);
    buffer_.resize(before + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    return got > 0;
  }
}

std::optional<std::string> PythonChild::read_line(const Stop& stop) {
  for (std::size_t searched = 0;;) {
    const std::size_t end = buffer_.find('\n', used_ + searched);
    if (end != std::string::npos) {
      std::string line = buffer_.substr(used_, end - used_);
      used_ = end + 1;
      return line;
    }
    searched = buffer_.size() - used_;
    if (!fill(stop)) return std::nullopt;
  }
}

std::size_t PythonChild::read(std::size_t count, const Stop& stop,
                              const std::function<void(std::string_view)>& take) {
  std::size_t taken = 0;
  while (taken < count && (used_ < buffer_.size() || fill(stop))) {
    const std::size_t now = std::min(count - taken, buffer_.size() - used_);
    take(std::string_view(buffer_).substr(used_, now));
    used_ += now;
    taken += now;
  }
  return taken;
}

void PythonChild::write(std::string_view text) {
  while (!text.empty()) {
    const ssize_t sent = ::send(socket_, text.data(), text.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return;
    text.remove_prefix(static_cast<std::size_t>(sent));
  }
}

}  // namespace blip::cli
