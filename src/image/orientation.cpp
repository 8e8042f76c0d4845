#include "image/orientation.h"

#include <string>
#include <string_view>
#include <vector>

#include "core/inflate.h"
#include "image/exif.h"

namespace blip::image {
namespace {

// Metadata is inflated up to this size; longer text has no orientation of ours.
constexpr std::size_t kMaxText = std::size_t{1} << 20;

// What can be inflated, up to kMaxText; empty where the data is not a zlib stream.
std::string inflate_text(std::string_view compressed) {
  std::string text(kMaxText, '\0');
  text.resize(inflate(std::as_bytes(std::span(compressed)), std::as_writable_bytes(std::span(text)),
                      Deflate::kZlib)
                  .size);
  return text;
}

// A text as it stands in the file.
struct StoredText {
  std::string_view body;
  bool compressed = false;

  std::string read() const { return compressed ? inflate_text(body) : std::string(body); }
};

// The text of a tEXt, zTXt or iTXt chunk, if it has one of the two keywords that we use. A later
// one replaces an earlier one, and only the last is unpacked: a file may hold thousands, each of
// which grows a thousand times.
void find_text(std::string_view type, std::string_view body, StoredText& xmp, StoredText& profile) {
  const std::size_t end = body.find('\0');
  if (end == std::string_view::npos) return;
  const std::string_view keyword = body.substr(0, end);
  StoredText* target = keyword == "XML:com.adobe.xmp"       ? &xmp
                       : keyword == "Raw profile type exif" ? &profile
                                                            : nullptr;
  if (!target) return;
  body.remove_prefix(end + 1);
  bool compressed = type == "zTXt";
  if (compressed) {
    if (body.empty()) return;
    body.remove_prefix(1);  // compression method
  } else if (type == "iTXt") {
    if (body.size() < 2) return;
    compressed = body[0] != 0;
    body.remove_prefix(2);
    for (int field = 0; field < 2; ++field) {  // language, translated keyword
      const std::size_t zero = body.find('\0');
      if (zero == std::string_view::npos) return;
      body.remove_prefix(zero + 1);
    }
  }
  *target = {body, compressed};
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// ImageMagick's way to keep EXIF: an empty line, "exif", the length, then lines of hexadecimal.
// Empty if malformed.
std::string parse_raw_profile(std::string_view profile) {
  for (int line = 0; line < 3; ++line) {
    const std::size_t end = profile.find('\n');
    if (end == std::string_view::npos) return {};
    profile.remove_prefix(end + 1);
  }
  std::string bytes;
  int high = -1;
  for (const char c : profile) {
    if (c == '\n' || c == ' ' || c == '\r' || c == '\t') continue;
    const int digit = hex_digit(c);
    if (digit < 0) return {};
    if (high >= 0) bytes.push_back(static_cast<char>(high * 16 + digit));
    high = high >= 0 ? -1 : digit;
  }
  return bytes;
}

}  // namespace

// The file's metadata segments, up to the first scan. Several EXIF segments are parts of one block.
int jpeg_orientation(Bytes bytes) {
  std::vector<std::byte> exif;
  OrientationTags tags;
  constexpr std::string_view kExif("Exif\0\0", 6), kXmp("http://ns.adobe.com/xap/1.0/\0", 29);
  std::size_t at = 2;
  while (at + 4 <= bytes.size()) {
    const auto marker = std::to_integer<std::uint8_t>(bytes[at + 1]);
    // padding or junk
    if (std::to_integer<std::uint8_t>(bytes[at]) != 0xff || marker == 0xff || marker == 0) {
      ++at;
      continue;
    }
    if (marker == 0xda) break;                                   // start of scan
    if ((marker >= 0xd0 && marker <= 0xd9) || marker == 0x01) {  // markers without a body
      at += 2;
      continue;
    }
    const std::uint32_t length = *read_u16(bytes, at + 2, Endian::kBig);
    if (length < 2) break;
    const Bytes body = slice(bytes, at + 4, length - 2);
    if (marker == 0xe1 && starts_with(body, kExif)) {
      const Bytes part = exif.empty() ? body : body.subspan(kExif.size());
      exif.insert(exif.end(), part.begin(), part.end());
    } else if (marker == 0xe1 && starts_with(body, kXmp)) {
      tags.xmp = as_text(body.subspan(kXmp.size()));
    }
    at += 2 + length;
  }
  if (!exif.empty()) tags.exif = exif;
  return orientation(tags);
}

// From eXIf, else ImageMagick's text chunk, else XMP; they may follow the pixels.
int png_orientation(Bytes bytes) {
  OrientationTags tags;
  StoredText stored_xmp, stored_profile;
  std::size_t at = 8;
  while (const auto length = read_u32(bytes, at, Endian::kBig)) {
    const std::string_view type = as_text(slice(bytes, at + 4, 4));
    const Bytes body = slice(bytes, at + 8, *length);
    if (body.size() < *length || type == "IEND") break;
    if (type == "eXIf") tags.exif = body;
    if (type == "tEXt" || type == "zTXt" || type == "iTXt")
      find_text(type, as_text(body), stored_xmp, stored_profile);
    at += 12 + std::size_t{*length};
  }
  const std::string xmp = stored_xmp.read(), raw = parse_raw_profile(stored_profile.read());
  if (!tags.exif && !raw.empty()) tags.exif = std::as_bytes(std::span(raw));
  if (!xmp.empty()) tags.xmp = xmp;
  return orientation(tags);
}

}  // namespace blip::image
