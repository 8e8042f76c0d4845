// A file that only grows at its end, or is cut back to what was good.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace blip::jobs {

class AppendFile {
 public:
  // Opens it for reading and writing, creates it where it is missing. Throws Error(kIo), as all of
  // these do; anything but a regular file is refused.
  explicit AppendFile(std::string path);
  ~AppendFile();
  AppendFile(const AppendFile&) = delete;
  AppendFile& operator=(const AppendFile&) = delete;

  const std::string& path() const { return path_; }
  int descriptor() const { return fd_; }
  // Whether its name still leads to it.
  bool is_named() const;
  std::uint64_t size() const;
  // All of it or, on any failure, nothing: the file then ends at `offset`.
  void write_at(std::uint64_t offset, std::string_view bytes);
  void cut(std::uint64_t size);
  // Fewer bytes where the file ends before.
  std::string read(std::uint64_t offset, std::size_t bytes) const;
  // What was written survives the loss of power.
  void sync();

 private:
  std::string path_;
  int fd_ = -1;
};

}  // namespace blip::jobs
