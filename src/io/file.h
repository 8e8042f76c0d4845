// Whole files: mapping, reading with a limit, writing beside the target and renaming.
#pragma once

#include <cstddef>
#include <functional>
#include <iosfwd>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace blip::io {

// A read-only memory mapping of a whole file. Throws Error(kIo) ("cannot open X: No such file or directory").
class MappedFile {
 public:
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  std::span<const std::byte> bytes() const { return bytes_; }
  // Unmaps the pages that lie wholly in `bytes` (of this mapping or not) until they are read again.
  void release(std::span<const std::byte> bytes) const;

 private:
  std::span<const std::byte> bytes_;
};

// The whole file; Error(kIo) if it cannot be read or is larger than max_bytes (0 = no limit).
std::vector<std::byte> read_file(const std::string& path, std::size_t max_bytes = 0);
std::string read_text(const std::string& path, std::size_t max_bytes = 0);

// A file that appears under its name only on commit(): written to a temporary beside it, flushed, synced, renamed.
// Destroyed without commit, nothing is left. Every failure is Error(kIo) naming the target.
class AtomicFile {
 public:
  explicit AtomicFile(std::string path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text);
  void commit();

 private:
  std::string path_, temporary_;
  int fd_ = -1;
};

}  // namespace blip::io
