// Whole files: mapping, reading with a limit, writing beside the target and renaming.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <iosfwd>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/mapping_guard.h"

namespace blip {

// A read-only memory mapping of a whole regular file. Throws Error(kIo) ("cannot open X: No such
// file or directory"). Where the file shrinks while it is mapped, what it lost reads as zeros: call
// check_unchanged() after reading.
class MappedFile {
 public:
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  std::span<const std::byte> bytes() const { return bytes_; }
  // Unmaps the pages that lie wholly in `bytes` (of this mapping or not) until they are read again.
  void release(std::span<const std::byte> bytes) const;
  // Throws Error(kIo) where the file was truncated, written or could not be read since it was
  // opened: what was read of it is then not to be trusted.
  void check_unchanged() const;

 private:
  std::string path_;
  int fd_ = -1;
  std::span<const std::byte> bytes_;
  std::int64_t seconds_ = 0, nanoseconds_ = 0;  // when it was last written
  std::optional<MappingGuard> guard_;
};

// kRegular: a pipe or a device, which may have no end or keep the reader waiting, is Error(kIo).
enum class FileKind { kRegular, kAny };

// The whole file; Error(kIo) if it cannot be read or is larger than max_bytes (0 = no limit).
std::vector<std::byte> read_file(const std::string& path, std::size_t max_bytes = 0,
                                 FileKind kind = FileKind::kRegular);
std::string read_text(const std::string& path, std::size_t max_bytes = 0,
                      FileKind kind = FileKind::kRegular);

// Whether a folder has something of this name, of whatever kind. A link that leads nowhere or a
// pipe is there too: reading it says what is wrong, where passing over it would load a
// half-downloaded folder with other answers.
bool is_there(const std::string& path);

// A file that appears under its name only on commit(): written to a temporary beside it, flushed,
// synced, renamed. Destroyed without commit, nothing is left. Where the file system can keep a file
// without a name (O_TMPFILE), the temporary has one for the moment of renaming alone, so that
// nothing is left by a process that is killed either. Every failure is Error(kIo) naming the
// target.
class AtomicFile {
 public:
  enum class Temporary { kNameless, kNamed };
  // kNameless: where the file system can.
  explicit AtomicFile(std::string path, Temporary temporary = Temporary::kNameless);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text);
  void commit();

  // Whether a file of this name can only be such a temporary.
  static bool is_temporary(std::string_view name);

 private:
  template <class Make>
  bool name_temporary(const Make& make);

  std::string path_, temporary_;  // "" = without a name
  int fd_ = -1;
};

}  // namespace blip
