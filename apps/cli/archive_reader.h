// The pictures in an archive, one after the other, without unpacking it: tar (also compressed by
// gzip, bzip2, xz, zstd or lz4) and zip.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "cli/source.h"

namespace blip::cli {

// By the ending of the name.
bool is_archive(const std::string& path);
// A tar that is compressed: to know what it holds all of it must be read.
bool is_compressed_archive(const std::string& path);

// A zip, by the ending of its name: no tar.
bool is_zip(const std::string& path);

class ArchiveReader {
 public:
  // options, which outlive it: which members are left out, and how large one may be. Throws
  // Error(kIo), or Error(kUnsupported) in a build without libarchive.
  ArchiveReader(std::string path, const SourceOptions& options);
  ~ArchiveReader();
  ArchiveReader(const ArchiveReader&) = delete;
  ArchiveReader& operator=(const ArchiveReader&) = delete;

  // The next picture, ARCHIVE/MEMBER with its bytes, without them where `wanted` says so of its
  // name; nullopt after the last. A member that is damaged or has no name is a failed input, by the
  // name of the archive where its own is not known. What the archive holds beside is counted.
  // Throws Error(kIo) where the archive cannot be read on.
  std::optional<Input> next(const Wanted& wanted, LeftOut& left_out);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace blip::cli
