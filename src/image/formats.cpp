#include "image/formats.h"

#include <algorithm>
#include <array>
#include <optional>

#include "base/ascii.h"

namespace blip::image {
namespace {

using namespace std::string_view_literals;

bool is_jpeg(Bytes bytes) { return starts_with(bytes, "\xff\xd8\xff"); }
bool is_png(Bytes bytes) { return starts_with(bytes, "\x89PNG\r\n\x1a\n"sv); }
bool is_webp(Bytes bytes) {
  return starts_with(bytes, "RIFF") && starts_with(slice(bytes, 8), "WEBP");
}
bool is_gif(Bytes bytes) { return starts_with(bytes, "GIF87a") || starts_with(bytes, "GIF89a"); }
bool is_bmp(Bytes bytes) { return starts_with(bytes, "BM"); }
bool is_jxl(Bytes bytes) {
  return starts_with(bytes, "\xff\x0a"sv) || starts_with(bytes, "\0\0\0\x0cJXL \r\n\x87\n"sv);
}
bool is_tiff(Bytes bytes) {
  return starts_with(bytes, "II\x2a\0"sv) || starts_with(bytes, "MM\0\x2a"sv) ||
         starts_with(bytes, "II\x2b\0"sv) || starts_with(bytes, "MM\0\x2b"sv);
}

// The brands of an ISO base media file: the major one first, then those it is compatible with.
template <class Predicate>
bool any_brand(Bytes bytes, Predicate predicate) {
  if (!starts_with(slice(bytes, 4), "ftyp")) return false;
  const std::size_t end =
      std::min<std::size_t>(read_u32(bytes, 0, Endian::kBig).value_or(0), bytes.size());
  for (std::size_t at = 8; at + 4 <= end; at += 4) {
    if (at != 12 && predicate(as_text(slice(bytes, at, 4)))) return true;  // at 12: a version
  }
  return false;
}

bool is_avif_brand(std::string_view brand) { return brand == "avif" || brand == "avis"; }
bool is_hevc_brand(std::string_view brand) {
  static constexpr std::array kBrands = {"heic"sv, "heix"sv, "heim"sv, "heis"sv,
                                         "hevc"sv, "hevx"sv, "hevm"sv, "hevs"sv};
  return std::find(kBrands.begin(), kBrands.end(), brand) != kBrands.end();
}
bool is_video_brand(std::string_view brand) { return brand != "mif1" && brand != "msf1"; }

// A file may name the brands of both: then its major brand decides.
bool is_avif(Bytes bytes) {
  if (!any_brand(bytes, is_avif_brand)) return false;
  return !is_hevc_brand(as_text(slice(bytes, 8, 4)));
}
bool is_heif(Bytes bytes) {
  return any_brand(bytes, is_hevc_brand) ||
         any_brand(bytes, [](std::string_view brand) { return !is_video_brand(brand); });
}
bool is_video(Bytes bytes) { return any_brand(bytes, is_video_brand); }
bool is_jp2(Bytes bytes) {
  return starts_with(bytes, "\0\0\0\x0cjP  \r\n\x87\n"sv) ||
         starts_with(bytes, "\xff\x4f\xff\x51"sv);
}
bool is_psd(Bytes bytes) { return starts_with(bytes, "8BPS"); }
bool is_exr(Bytes bytes) { return starts_with(bytes, "\x76\x2f\x31\x01"sv); }
bool is_qoi(Bytes bytes) { return starts_with(bytes, "qoif"); }
bool is_radiance(Bytes bytes) { return starts_with(bytes, "#?RADIANCE"); }
bool is_pdf(Bytes bytes) { return starts_with(bytes, "%PDF"); }
bool is_svg(Bytes bytes) { return starts_with(bytes, "<svg") || starts_with(bytes, "<?xml"); }

constexpr std::array kJpegEndings = {".jpg"sv, ".jpeg"sv, ".jpe"sv, ".jfif"sv, ".jif"sv, ".mpo"sv};
constexpr std::array kPngEndings = {".png"sv, ".apng"sv};
constexpr std::array kWebpEndings = {".webp"sv};
constexpr std::array kGifEndings = {".gif"sv};
constexpr std::array kBmpEndings = {".bmp"sv, ".dib"sv};
constexpr std::array kTiffEndings = {".tif"sv, ".tiff"sv};
constexpr std::array kHeifEndings = {".heic"sv, ".heif"sv, ".hif"sv, ".heics"sv, ".heifs"sv};
constexpr std::array kAvifEndings = {".avif"sv, ".avifs"sv};
constexpr std::array kJxlEndings = {".jxl"sv};
constexpr std::array kJp2Endings = {".jp2"sv, ".j2k"sv, ".jpx"sv, ".j2c"sv, ".jpf"sv};
constexpr std::array kPsdEndings = {".psd"sv, ".psb"sv};
constexpr std::array kIcoEndings = {".ico"sv};
constexpr std::array kTgaEndings = {".tga"sv};
constexpr std::array kNetpbmEndings = {".ppm"sv, ".pgm"sv, ".pbm"sv, ".pnm"sv, ".pam"sv};
constexpr std::array kQoiEndings = {".qoi"sv};
constexpr std::array kExrEndings = {".exr"sv};
constexpr std::array kHdrEndings = {".hdr"sv};
constexpr std::array kRawEndings = {".dng"sv, ".cr2"sv, ".cr3"sv, ".nef"sv, ".arw"sv,
                                    ".orf"sv, ".raf"sv, ".rw2"sv, ".pef"sv, ".srw"sv};

constexpr std::array kJpegTypes = {"image/jpeg"sv, "image/jpg"sv, "image/pjpeg"sv, "image/mpo"sv};
constexpr std::array kPngTypes = {"image/png"sv, "image/apng"sv};
constexpr std::array kWebpTypes = {"image/webp"sv};
constexpr std::array kGifTypes = {"image/gif"sv};
constexpr std::array kBmpTypes = {"image/bmp"sv, "image/x-ms-bmp"sv};
constexpr std::array kTiffTypes = {"image/tiff"sv};
constexpr std::array kHeifTypes = {"image/heic"sv, "image/heif"sv, "image/heic-sequence"sv,
                                   "image/heif-sequence"sv};
constexpr std::array kAvifTypes = {"image/avif"sv, "image/avif-sequence"sv};
constexpr std::array kJxlTypes = {"image/jxl"sv};

constexpr std::span<const std::string_view> kNone;

#ifdef BLIP_HAS_WEBP
constexpr Decoder kWebp = decode_webp;
#else
constexpr Decoder kWebp = nullptr;
#endif
#ifdef BLIP_HAS_TIFF
constexpr Decoder kTiff = decode_tiff;
#else
constexpr Decoder kTiff = nullptr;
#endif
#ifdef BLIP_HAS_HEIF
constexpr Decoder kHeif = decode_heif;
#else
constexpr Decoder kHeif = nullptr;
#endif
#ifdef BLIP_HAS_AVIF
constexpr Decoder kAvif = decode_avif;
#else
constexpr Decoder kAvif = nullptr;
#endif
#ifdef BLIP_HAS_JXL
constexpr Decoder kJxl = decode_jxl;
#else
constexpr Decoder kJxl = nullptr;
#endif
#ifdef BLIP_HAS_WEBP  // these go together
constexpr const char *kJpegLibrary = "libjpeg", *kPngLibrary = "libpng";
#else
constexpr const char *kJpegLibrary = "stb_image", *kPngLibrary = "stb_image";
#endif

// AVIF goes before HEIF, whose brands it may name as well, and video comes last of those with
// brands.
constexpr Format kFormats[] = {
    {"JPEG", kJpegEndings, kJpegTypes, is_jpeg, decode_jpeg, kJpegLibrary},
    {"PNG", kPngEndings, kPngTypes, is_png, decode_png, kPngLibrary},
    {"WebP", kWebpEndings, kWebpTypes, is_webp, kWebp, "libwebp"},
    {"GIF", kGifEndings, kGifTypes, is_gif, decode_gif, ""},
    {"BMP", kBmpEndings, kBmpTypes, is_bmp, decode_bmp, ""},
    {"TIFF", kTiffEndings, kTiffTypes, is_tiff, kTiff, "libtiff"},
    {"AVIF", kAvifEndings, kAvifTypes, is_avif, kAvif, "libavif"},
    {"HEIF", kHeifEndings, kHeifTypes, is_heif, kHeif, "libheif"},
    {"JPEG XL", kJxlEndings, kJxlTypes, is_jxl, kJxl, "libjxl"},
    {"JPEG 2000", kJp2Endings, kNone, is_jp2, nullptr, nullptr},
    {"Photoshop", kPsdEndings, kNone, is_psd, nullptr, nullptr},
    {"OpenEXR", kExrEndings, kNone, is_exr, nullptr, nullptr},
    {"QOI", kQoiEndings, kNone, is_qoi, nullptr, nullptr},
    {"Radiance HDR", kHdrEndings, kNone, is_radiance, nullptr, nullptr},
    {"icon", kIcoEndings, kNone, nullptr, nullptr, nullptr},
    {"Targa", kTgaEndings, kNone, nullptr, nullptr, nullptr},
    {"Netpbm", kNetpbmEndings, kNone, nullptr, nullptr, nullptr},
    {"camera raw", kRawEndings, kNone, nullptr, nullptr, nullptr},
    {"PDF", kNone, kNone, is_pdf, nullptr, nullptr},
    {"SVG or XML", kNone, kNone, is_svg, nullptr, nullptr},
    {"a video", kNone, kNone, is_video, nullptr, nullptr},
};

}  // namespace

std::span<const Format> formats() { return kFormats; }

const Format* find_format(Bytes bytes) {
  const Bytes head = slice(bytes, 0, kFormatHead);
  for (const Format& format : kFormats) {
    if (format.matches && format.matches(head)) return &format;
  }
  return nullptr;
}

const Format* find_format_by_ending(std::string_view file_name) {
  const std::size_t dot = file_name.rfind('.');
  if (dot == std::string_view::npos) return nullptr;
  const std::string ending = lower(file_name.substr(dot));
  for (const Format& format : kFormats) {
    if (std::find(format.endings.begin(), format.endings.end(), ending) != format.endings.end())
      return &format;
  }
  return nullptr;
}

const Format* find_format_by_name(std::string_view name) {
  for (const Format& format : kFormats) {
    if (format.name == name) return &format;
  }
  return nullptr;
}

bool looks_like_picture(Bytes head) {
  const Format* format = find_format(head);
  if (!format || format->endings.empty()) return false;
  if (format->matches != is_bmp) return true;
  // Two letters are few: the size of the header that follows must be one of a bitmap's.
  constexpr std::array<std::uint32_t, 7> kHeaders = {12, 40, 52, 56, 64, 108, 124};
  const auto header = read_u32(head, 14, Endian::kLittle);
  return header && std::find(kHeaders.begin(), kHeaders.end(), *header) != kHeaders.end();
}

std::string readable_formats() {
  std::string list;
  for (const Format& format : kFormats) {
    if (format.decoder) list += (list.empty() ? "" : ", ") + std::string(format.name);
  }
  return list;
}

std::string why_unreadable(const Format& format) {
  if (format.library)
    return "this build has no " + std::string(format.library) +
           "; convert the picture to PNG or JPEG";
  return "no build reads this format; convert the picture to PNG or JPEG";
}

}  // namespace blip::image
