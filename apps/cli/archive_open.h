// libarchive as this program opens it.
#pragma once

#ifdef BLIP_HAS_ARCHIVES

#include <archive.h>
#include <archive_entry.h>

#include <memory>
#include <string>

namespace blip::cli {

struct FreeArchive {
  void operator()(archive* open) const { ::archive_free(open); }
};
using Archive = std::unique_ptr<archive, FreeArchive>;

// Opens a tar or a zip for reading. Throws Error(kIo).
Archive open_archive(const std::string& path);
// Throws Error(kIo) with what libarchive says: "WHAT PATH: reason".
[[noreturn]] void archive_failed(archive* of, const std::string& what, const std::string& path);
// Without "./" before it, as tar names what lies in ".".
std::string archive_member_name(archive_entry* entry);
// The next member; false after the last. Throws Error(kIo); Exit when interrupted.
bool next_member(archive* reader, archive_entry** entry, const std::string& path);

}  // namespace blip::cli

#endif
