#include "cli/archive_open.h"

#ifdef BLIP_HAS_ARCHIVES

#include <new>

#include "blip/error.h"
#include "cli/interrupt.h"

namespace blip::cli {

Archive open_archive(const std::string& path) {
  constexpr std::size_t kBlock = std::size_t{256} << 10;
  Archive opened(::archive_read_new());
  archive* const reader = opened.get();
  if (reader == nullptr) throw std::bad_alloc();
  // No more than these: some of libarchive's filters start other programs.
  ::archive_read_support_format_tar(reader);
  ::archive_read_support_format_zip(reader);
  ::archive_read_support_format_empty(reader);
  ::archive_read_support_filter_gzip(reader);
  ::archive_read_support_filter_bzip2(reader);
  ::archive_read_support_filter_xz(reader);
  ::archive_read_support_filter_zstd(reader);
  ::archive_read_support_filter_lz4(reader);
  if (::archive_read_open_filename(reader, path.c_str(), kBlock) != ARCHIVE_OK)
    archive_failed(reader, "cannot open archive", path);
  return opened;
}

void archive_failed(archive* of, const std::string& what, const std::string& path) {
  const char* reason = ::archive_error_string(of);
  throw Error(ErrorCode::kIo, what + " " + path + ": " + (reason ? reason : "it is damaged"));
}

std::string archive_member_name(archive_entry* entry) {
  const char* name = ::archive_entry_pathname(entry);
  if (name == nullptr) name = ::archive_entry_pathname_utf8(entry);
  std::string text = name ? name : "";
  while (text.starts_with("./")) text.erase(0, 2);
  return text;
}

bool next_member(archive* reader, archive_entry** entry, const std::string& path) {
  int result = ARCHIVE_RETRY;
  while (result == ARCHIVE_RETRY) {
    stop_if_interrupted();
    result = ::archive_read_next_header(reader, entry);
  }
  if (result != ARCHIVE_EOF && result < ARCHIVE_WARN)
    archive_failed(reader, "cannot read on in archive", path);
  return result != ARCHIVE_EOF;
}

}  // namespace blip::cli

#endif
