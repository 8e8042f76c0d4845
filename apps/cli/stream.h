// Pipes, devices and standard input, which may keep a reader waiting: for who writes them, or for
// more.
#pragma once

#include <cstddef>
#include <functional>
#include <string>

namespace blip::cli {

class Stream {
 public:
  // path: "-" is standard input; a regular file will do too. Opening does not wait for a writer.
  // Throws Error(kIo) with the system's reason alone.
  explicit Stream(const std::string& path);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // Appends up to `most` bytes, waiting for the first of them; false at the end. Throws Error(kIo)
  // with the reason alone, Exit when interrupted or stopped.
  bool read(std::string& bytes, std::size_t most, const std::function<bool()>& stop);

 private:
  int fd_;
  bool waits_;                // reading may block
  bool may_try_ = false;      // reading before there is something to read returns at once
  bool was_written_ = false;  // somebody has written, or never will again
};

}  // namespace blip::cli
