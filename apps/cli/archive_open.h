// libarchive as this program opens it.
#pragma once

#ifdef BLIP_HAS_ARCHIVES

#include <archive.h>
#include <archive_entry.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace blip::cli {

struct FreeArchive {
  void operator()(archive* open) const { ::archive_free(open); }
};
using Archive = std::unique_ptr<archive, FreeArchive>;

// Throws Error(kIo) with what libarchive says: "WHAT PATH: reason".
[[noreturn]] void archive_failed(archive* of, const std::string& what, const std::string& path);

struct Member {
  archive_entry* entry = nullptr;  // unset: its header is damaged
  // Without "./" before it, as tar names what lies in ".". In UTF-8 where the archive says that it
  // is, else the bytes that stand there.
  std::string name{};
  // Not empty: why it cannot be used, with the archive's name.
  std::string damage{};
  bool has_name = false;
};

class GzipFile;

// The members of a tar or a zip, one after the other. Members that are damaged come as such, so
// that none is lost without a word.
class Members {
 public:
  // Throws Error(kIo).
  explicit Members(std::string path);
  ~Members();

  // nullopt after the last. Throws Error(kIo) where the archive cannot be read on, or all of it was
  // read and its checksum is wrong; Exit when interrupted.
  std::optional<Member> next();
  // The next bytes of the member that came last; 0 at its end, where its checksum is compared if it
  // has one. Throws Error(kIo) where they are damaged.
  std::size_t read(std::span<char> bytes);

  const std::string& path() const { return path_; }
  // How it is compressed, by libarchive's codes, once a member was read.
  std::vector<int> filters() const;

 private:
  int read_header();
  Member damaged_header();
  void finish();
  [[noreturn]] void fail(const std::string& what, const std::string& path) const;

  std::string path_;
  std::unique_ptr<GzipFile> gzip_;  // unset: compressed otherwise or not at all
  Archive reader_;
  archive_entry* entry_ = nullptr;
  std::string name_;            // of the member that came last
  std::size_t number_ = 0;      // of members that came
  std::optional<int> pending_;  // what read_header() said of the member after a damaged one
  bool utf8_ = false;           // names are converted to UTF-8
};

}  // namespace blip::cli

#endif
