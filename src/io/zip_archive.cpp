#include "io/zip_archive.h"

#include <algorithm>
#include <new>
#include <optional>

#include "blip/error.h"
#include "core/inflate.h"
#include "io/bytes.h"

namespace blip::io {
namespace {

// PKWARE's APPNOTE.TXT, sections 4.3.7 to 4.3.16.
constexpr std::uint32_t kLocalHeader = 0x04034b50, kCentralHeader = 0x02014b50, kEnd = 0x06054b50,
                        kZip64End = 0x06064b50, kZip64Locator = 0x07064b50;
constexpr std::size_t kLocalHeaderSize = 30, kCentralHeaderSize = 46, kEndSize = 22,
                      kZip64EndSize = 56, kZip64LocatorSize = 20;
constexpr std::size_t kMaxComment = 65535, kMaxName = 4096;
// a checkpoint has one for each storage, under a thousand
constexpr std::uint64_t kMaxEntries = 100'000;
constexpr std::uint16_t kZip64Field = 1;
constexpr std::uint32_t kIn64 = 0xffffffff;  // "see the zip64 field"
constexpr std::uint16_t kStored = 0, kDeflated = 8, kEncrypted = 1;

// The 64-bit values of an entry stand in its zip64 field, in this order, for those that the header
// leaves at kIn64.
bool read_zip64(std::span<const std::byte> extra, ZipArchive::Entry& entry) {
  while (extra.size() >= 4) {
    const auto id = load<std::uint16_t>(extra.data());
    const auto size = load<std::uint16_t>(extra.data() + 2);
    if (size > extra.size() - 4) return false;
    std::span<const std::byte> field = extra.subspan(4, size);
    extra = extra.subspan(4 + std::size_t{size});
    if (id != kZip64Field) continue;
    for (std::uint64_t* value : {&entry.size, &entry.stored_size, &entry.header_offset}) {
      if (*value != kIn64) continue;
      if (field.size() < 8) return false;
      *value = load<std::uint64_t>(field.data());
      field = field.subspan(8);
    }
    return true;
  }
  return entry.size != kIn64 && entry.stored_size != kIn64 && entry.header_offset != kIn64;
}

}  // namespace

ZipArchive::ZipArchive(std::span<const std::byte> data, const std::string& file)
    : data_(data), file_(file) {
  read_directory(find_directory());
}

void ZipArchive::fail(const std::string& message) const {
  throw Error(ErrorCode::kModel, file_ + ": zip archive: " + message);
}

ZipArchive::Directory ZipArchive::find_directory() const {
  const std::string truncated = "no end record; the file is truncated or damaged";
  if (data_.size() < kEndSize) fail(truncated);
  const std::size_t last = data_.size() - kEndSize;
  const std::size_t first = last > kMaxComment ? last - kMaxComment : 0;
  std::optional<std::size_t> end;
  for (std::size_t at = last + 1; at-- > first && !end;) {
    const bool fits = load<std::uint32_t>(&data_[at]) == kEnd &&
                      load<std::uint16_t>(&data_[at + 20]) == last - at;
    if (fits) end = at;
  }
  if (!end) fail(truncated);
  const std::byte* const record = &data_[*end];
  Directory directory{load<std::uint32_t>(record + 16), load<std::uint32_t>(record + 12),
                      load<std::uint16_t>(record + 10)};
  std::uint64_t directory_end = *end;
  if (load<std::uint16_t>(record + 4) != load<std::uint16_t>(record + 6))
    fail("it is split over several files");
  if (*end >= kZip64LocatorSize &&
      load<std::uint32_t>(record - kZip64LocatorSize) == kZip64Locator) {
    const auto at = load<std::uint64_t>(record - kZip64LocatorSize + 8);
    if (*end < kZip64EndSize || at > *end - kZip64EndSize ||
        load<std::uint32_t>(&data_[at]) != kZip64End) {
      fail("the zip64 end record is not where its locator says");
    }
    directory = {load<std::uint64_t>(&data_[at + 48]), load<std::uint64_t>(&data_[at + 40]),
                 load<std::uint64_t>(&data_[at + 32])};
    directory_end = at;
  }
  std::uint64_t stop = 0;
  if (!add(directory.offset, directory.size, &stop) || stop > directory_end) {
    fail("the directory (" + std::to_string(directory.size) + " bytes at " +
         std::to_string(directory.offset) + ") reaches past its end at " +
         std::to_string(directory_end));
  }
  return directory;
}

void ZipArchive::read_directory(const Directory& directory) {
  if (directory.entries > kMaxEntries) {
    fail(std::to_string(directory.entries) + " entries; at most " + std::to_string(kMaxEntries) +
         " are read");
  }
  auto rest = data_.subspan(static_cast<std::size_t>(directory.offset),
                            static_cast<std::size_t>(directory.size));
  for (std::uint64_t i = 0; i < directory.entries; ++i) {
    if (rest.size() < kCentralHeaderSize || load<std::uint32_t>(rest.data()) != kCentralHeader) {
      fail("entry " + std::to_string(i) + " of " + std::to_string(directory.entries) +
           " in the directory is damaged");
    }
    const std::byte* const header = rest.data();
    Entry entry;
    entry.flags = load<std::uint16_t>(header + 8);
    entry.method = load<std::uint16_t>(header + 10);
    entry.crc = load<std::uint32_t>(header + 16);
    entry.stored_size = load<std::uint32_t>(header + 20);
    entry.size = load<std::uint32_t>(header + 24);
    entry.header_offset = load<std::uint32_t>(header + 42);
    const std::size_t name_size = load<std::uint16_t>(header + 28),
                      extra_size = load<std::uint16_t>(header + 30);
    const std::size_t total =
        kCentralHeaderSize + name_size + extra_size + load<std::uint16_t>(header + 32);
    if (total > rest.size() || name_size > kMaxName)
      fail("entry " + std::to_string(i) + " reaches past the directory or has too long a name");
    std::string name(as_text(rest.subspan(kCentralHeaderSize, name_size)));
    if (!read_zip64(rest.subspan(kCentralHeaderSize + name_size, extra_size), entry))
      fail("entry " + quote(name) + ": damaged zip64 sizes");
    if (first_name_.empty()) first_name_ = name;
    const auto [place, fresh] = entries_.emplace(std::move(name), entry);
    if (!fresh) fail("the entry " + quote(place->first) + " appears twice");
    rest = rest.subspan(total);
  }
}

const ZipArchive::Entry& ZipArchive::find(std::string_view name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end()) fail("the entry " + quote(name) + " is missing");
  return found->second;
}

std::span<const std::byte> ZipArchive::stored_bytes(std::string_view name,
                                                    const Entry& entry) const {
  const std::string where = "entry " + quote(name) + ": ";
  if ((entry.flags & kEncrypted) != 0) fail(where + "it is encrypted; store it without a password");
  if (data_.size() < kLocalHeaderSize || entry.header_offset > data_.size() - kLocalHeaderSize ||
      load<std::uint32_t>(&data_[static_cast<std::size_t>(entry.header_offset)]) != kLocalHeader) {
    fail(where + "no header at byte " + std::to_string(entry.header_offset));
  }
  const auto rest = data_.subspan(static_cast<std::size_t>(entry.header_offset));
  const std::size_t name_size = load<std::uint16_t>(&rest[26]);
  const std::size_t skip = kLocalHeaderSize + name_size + load<std::uint16_t>(&rest[28]);
  if (skip > rest.size() || entry.stored_size > rest.size() - skip) {
    fail(where + std::to_string(entry.stored_size) + " bytes reach past the end of the file");
  }
  if (as_text(rest.subspan(kLocalHeaderSize, name_size)) != name)
    fail(where + "its header and the directory name it differently");
  return rest.subspan(skip, static_cast<std::size_t>(entry.stored_size));
}

std::span<const std::byte> ZipArchive::view(std::string_view name) const {
  const Entry& entry = find(name);
  if (entry.method != kStored || entry.stored_size != entry.size)
    fail("entry " + quote(name) + ": stored, yet of two different sizes");
  return stored_bytes(name, entry);
}

std::vector<std::byte> ZipArchive::read(std::string_view name) const {
  const Entry& entry = find(name);
  const std::string where = "entry " + quote(name) + ": ";
  if (entry.method == kStored) {
    const auto bytes = view(name);
    return {bytes.begin(), bytes.end()};
  }
  if (entry.method != kDeflated)
    fail(where + "compression method " + std::to_string(entry.method) +
         " is not supported (stored and deflated are)");
  const auto packed = stored_bytes(name, entry);
  std::vector<std::byte> bytes;
  try {
    bytes.resize(static_cast<std::size_t>(entry.size));
  } catch (const std::exception&) {  // bad_alloc, length_error
    fail(where + "not enough memory for its " + std::to_string(entry.size) + " bytes");
  }
  const Inflated unpacked = inflate(packed, bytes, Deflate::kRaw);
  if (!unpacked.complete || unpacked.size != bytes.size())
    fail(where + "its compressed data are damaged");
  if (crc32(bytes) != entry.crc) fail(where + "its checksum is wrong; the file is damaged");
  return bytes;
}

}  // namespace blip::io
