// The description that a picture's file carries, in XMP (dc:description) and EXIF
// (ImageDescription), by exiv2. May be called from any thread.
#pragma once

#include <string>

namespace blip::cli {

// Whether this build can (BLIP_METADATA).
bool can_describe();
// That of XMP, else that of EXIF; "" where there is none or the file cannot be read.
std::string description_of(const std::string& path);

// A picture's file with another description: its pixels and all other metadata stay.
class Described {
 public:
  // Throws Error(kIo | kImage) where the file cannot be read, may not be written, or is of a format
  // that exiv2 writes nothing into.
  Described(std::string path, const std::string& description);
  // Replaces the file, whole or not at all. Throws Error(kIo).
  void write() const;

 private:
  std::string path_, bytes_;
};

}  // namespace blip::cli
