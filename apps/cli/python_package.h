// The Python package blipcpp, for what other people's Python packages do best: it runs in a process
// of its own.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace blip::cli {

inline constexpr const char* kPython = "python3";

// For execvp and its like: `words` outlives it.
std::vector<char*> pointers(std::vector<std::string>& words);

// What of the package is missing.
struct PythonNeed {
  const char* task;     // "blip eval is done"
  const char* modules;  // to import: "blipcpp.eval"
  const char* extra;    // of the package: "eval"
  const char* document;
};
// "blip eval is done by the Python package blipcpp, and there is no python3 here: install ..."; ""
// where nothing is missing.
std::string missing_of(const PythonNeed& need);

// A child that is talked with over a socket, which is its standard input and output; what it says
// on standard error is dropped.
class PythonChild {
 public:
  // `python3 words...`. Throws Error(kIo).
  explicit PythonChild(std::vector<std::string> words);
  // Ends it.
  ~PythonChild();
  PythonChild(const PythonChild&) = delete;
  PythonChild& operator=(const PythonChild&) = delete;

  // Asked while the child is waited for: true = give up. The next two throw Exit then.
  using Stop = std::function<bool()>;
  // Without its end; nullopt where the child has ended.
  std::optional<std::string> read_line(const Stop& stop);
  // So many bytes, or fewer where the child has ended; `take` gets them in pieces.
  std::size_t read(std::size_t count, const Stop& stop,
                   const std::function<void(std::string_view)>& take);
  // A child that has ended is not told.
  void write(std::string_view text);

 private:
  bool fill(const Stop& stop);

  pid_t pid_ = -1;
  int socket_ = -1;
  std::string buffer_;
  std::size_t used_ = 0;  // of it
};

}  // namespace blip::cli
