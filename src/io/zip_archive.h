// Reading a zip archive in memory: the central directory, stored entries in place, deflated ones
// unpacked.
//
// Why not a library: a .pth file is a zip archive of tensors, gigabytes of them, that are used
// where they lie in the mapped file. libarchive and libzip copy every entry, and take what the
// central directory and the entries' own headers say differently; here that is an error. zlib
// unpacks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace blip::io {

// Entry names are only ever compared, never used as paths.
class ZipArchive {
 public:
  struct Entry {
    std::uint16_t flags = 0, method = 0;
    std::uint32_t crc = 0;
    std::uint64_t stored_size = 0, size = 0, header_offset = 0;
  };

  // Reads the central directory. Throws Error(kModel) naming `file`; both arguments must outlive
  // the archive.
  ZipArchive(std::span<const std::byte> data, const std::string& file);

  bool contains(std::string_view name) const { return entries_.contains(name); }
  std::uint64_t size_of(std::string_view name) const { return find(name).size; }
  bool is_stored(std::string_view name) const { return find(name).method == 0; }
  const std::string& first_name() const { return first_name_; }

  // A stored entry's bytes, in place. Its checksum is not verified: that would read the whole file
  // at opening.
  std::span<const std::byte> view(std::string_view name) const;
  // An entry's bytes, unpacked and verified if deflated. The caller decides beforehand whether
  // size_of() is acceptable.
  std::vector<std::byte> read(std::string_view name) const;

 private:
  struct Directory {
    std::uint64_t offset, size, entries;
  };
  Directory find_directory() const;
  void read_directory(const Directory& directory);
  const Entry& find(std::string_view name) const;
  std::span<const std::byte> stored_bytes(std::string_view name, const Entry& entry) const;
  [[noreturn]] void fail(const std::string& message) const;

  std::span<const std::byte> data_;
  const std::string& file_;
  std::map<std::string, Entry, std::less<>> entries_;
  std::string first_name_;
};

}  // namespace blip::io
