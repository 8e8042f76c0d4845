#include "cli/picture_description.h"

#include <utility>

#include "base/file.h"
#include "blip/error.h"

#ifdef BLIP_HAS_METADATA
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <exiv2/exiv2.hpp>
#include <mutex>
#include <system_error>
#include <vector>
#endif

namespace blip::cli {

#ifdef BLIP_HAS_METADATA

namespace {

constexpr const char *kXmp = "Xmp.dc.description", *kExif = "Exif.Image.ImageDescription",
                     *kLanguage = "x-default";

// Exiv2's XMP toolkit is for one thread at a time; what it has to say goes nowhere.
std::mutex& exiv2_mutex() {
  static std::mutex mutex;
  static const bool quiet = [] {
    Exiv2::LogMsg::setLevel(Exiv2::LogMsg::mute);
    return true;
  }();
  (void)quiet;
  return mutex;
}

auto open_picture(const std::vector<std::byte>& bytes) {
  auto image = Exiv2::ImageFactory::open(reinterpret_cast<const Exiv2::byte*>(bytes.data()),
                                         static_cast<long>(bytes.size()));
  image->readMetadata();
  return image;
}

template <class Picture>
bool may_write(const Picture& image, Exiv2::MetadataId kind) {
  return (image.checkMode(kind) & Exiv2::amWrite) != 0;
}

// The file with the description in it.
std::string described(const std::vector<std::byte>& bytes, const std::string& description) {
  const std::lock_guard lock(exiv2_mutex());
  auto image = open_picture(bytes);
  const bool xmp = may_write(*image, Exiv2::mdXmp), exif = may_write(*image, Exiv2::mdExif);
  if (!xmp && !exif) return "";
  Exiv2::LangAltValue text;
  text.value_[kLanguage] = description;
  if (xmp) {
    if (const auto old = image->xmpData().findKey(Exiv2::XmpKey(kXmp));
        old != image->xmpData().end())
      image->xmpData().erase(old);
    image->xmpData().add(Exiv2::XmpKey(kXmp), &text);
  }
  if (exif) image->exifData()[kExif] = description;
  image->writeMetadata();
  Exiv2::BasicIo& file = image->io();
  file.open();
  const auto size = static_cast<std::size_t>(file.size());
  return {reinterpret_cast<const char*>(file.mmap()), size};
}

}  // namespace

bool can_describe() { return true; }

std::string description_of(const std::string& path) {
  try {
    const std::vector<std::byte> bytes = read_file(path);
    const std::lock_guard lock(exiv2_mutex());
    const auto image = open_picture(bytes);
    const auto xmp = image->xmpData().findKey(Exiv2::XmpKey(kXmp));
    if (xmp != image->xmpData().end()) {
      const auto* text = dynamic_cast<const Exiv2::LangAltValue*>(&xmp->value());
      return text != nullptr ? text->toString(kLanguage) : xmp->toString();
    }
    const auto exif = image->exifData().findKey(Exiv2::ExifKey(kExif));
    return exif != image->exifData().end() ? exif->toString() : "";
  } catch (const std::exception&) {
    return "";
  }
}

Described::Described(std::string path, const std::string& description) : path_(std::move(path)) {
  const std::vector<std::byte> bytes = read_file(path_);
  if (::access(path_.c_str(), W_OK) != 0)
    throw Error(ErrorCode::kIo,
                "cannot write " + path_ + ": " + std::generic_category().message(errno));
  const std::string what = "cannot write a description into " + path_ + ": ";
  try {
    bytes_ = described(bytes, description);
  } catch (const std::exception& error) {
    throw Error(ErrorCode::kImage, what + error.what());
  }
  if (bytes_.empty())
    throw Error(ErrorCode::kImage, what + "exiv2 writes none into files of its format");
}

#else

bool can_describe() { return false; }
std::string description_of(const std::string&) { return ""; }
Described::Described(std::string path, const std::string&) : path_(std::move(path)) {
  throw Error(ErrorCode::kUnsupported, "this build lacks exiv2 (BLIP_METADATA)");
}

#endif

void Described::write() const {
  AtomicFile file(path_);
  file.write(bytes_);
  file.commit();
}

}  // namespace blip::cli
