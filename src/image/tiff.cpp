// TIFF through libtiff: the first page. Samples of every kind that Pillow reads; colours in YCbCr
// are converted by libtiff, all others in tiff_pixels.cpp.
#include <tiffio.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "blip/error.h"
#include "image/decoder.h"
#include "image/exif.h"
#include "image/tiff_pixels.h"

namespace blip::image {
namespace {

constexpr const char* kFormat = "TIFF";

// Real tiles are not much larger than their picture.
constexpr std::uint64_t kFreeTileSide = 8192;

// The bytes of the file, as libtiff sees them, and what it complained of first.
struct File {
  Bytes bytes;
  std::uint64_t at = 0;
  char message[160] = "";
  bool lost_colours =
      false;  // a palette that could not be read, which libtiff makes a grey picture of
};

File& file_of(thandle_t handle) { return *static_cast<File*>(handle); }

tmsize_t on_read(thandle_t handle, void* out, tmsize_t size) {
  File& file = file_of(handle);
  const Bytes part =
      slice(file.bytes, static_cast<std::size_t>(file.at), static_cast<std::size_t>(size));
  if (!part.empty()) std::memcpy(out, part.data(), part.size());
  file.at += part.size();
  return static_cast<tmsize_t>(part.size());
}

tmsize_t on_write(thandle_t, void*, tmsize_t) { return -1; }

toff_t on_seek(thandle_t handle, toff_t offset, int from) {
  File& file = file_of(handle);
  if (from == SEEK_CUR) offset += file.at;
  if (from == SEEK_END) offset += file.bytes.size();
  return file.at = offset;
}

int on_close(thandle_t) { return 0; }
toff_t on_size(thandle_t handle) { return file_of(handle).bytes.size(); }

int on_map(thandle_t handle, void** base, toff_t* size) {
  File& file = file_of(handle);
  *base = const_cast<std::byte*>(file.bytes.data());  // libtiff reads it alone
  *size = file.bytes.size();
  return 1;
}

void on_unmap(thandle_t, void*, toff_t) {}

int on_error(TIFF*, void* user, const char*, const char* format, va_list arguments) {
  File& file = *static_cast<File*>(user);
  if (!file.message[0]) std::vsnprintf(file.message, sizeof(file.message), format, arguments);
  return 1;
}

int on_warning(TIFF*, void* user, const char*, const char* format, va_list arguments) {
  char text[160] = "";
  std::vsnprintf(text, sizeof(text), format, arguments);
  File& file = *static_cast<File*>(user);
  file.lost_colours = file.lost_colours || std::strstr(text, "ColorMap");
  return 1;
}

struct Close {
  void operator()(TIFF* tiff) const { TIFFClose(tiff); }
  void operator()(TIFFOpenOptions* options) const { TIFFOpenOptionsFree(options); }
};
using Handle = std::unique_ptr<TIFF, Close>;

Handle open(const Source& source, File& file) {
  const std::unique_ptr<TIFFOpenOptions, Close> options(TIFFOpenOptionsAlloc());
  if (!options) return nullptr;
  TIFFOpenOptionsSetErrorHandlerExtR(options.get(), on_error, &file);
  TIFFOpenOptionsSetWarningHandlerExtR(options.get(), on_warning, &file);
  // Against tables of absurd length, before the picture's size is known.
  constexpr std::uint64_t kMost = std::numeric_limits<std::int32_t>::max();
  const std::uint64_t limit = source.limits.max_memory == 0
                                  ? kMost
                                  : std::min<std::uint64_t>(source.limits.max_memory, kMost);
  TIFFOpenOptionsSetMaxSingleMemAlloc(options.get(), static_cast<tmsize_t>(limit));
  return Handle(TIFFClientOpenExt("", "r", &file, on_read, on_write, on_seek, on_close, on_size,
                                  on_map, on_unmap, options.get()));
}

[[noreturn]] void fail_with(const Source& source, const File& file) {
  fail(source, kFormat,
       std::string("damaged: ") + (file.message[0] ? file.message : "unknown error"));
}

template <class Value>
Value tag_or(TIFF* tiff, std::uint32_t tag, Value otherwise) {
  Value value = otherwise;
  return TIFFGetField(tiff, tag, &value) ? value : otherwise;
}

// How the pixels lie in the file, and how libtiff is asked for them.
struct Page {
  std::uint32_t width = 0, height = 0;
  std::uint32_t block_width = 0, block_height = 0;  // of a tile, or of a strip
  bool tiled = false;
  int planes = 1;        // samples lie apart in so many
  bool as_rgba = false;  // libtiff converts
  TiffLayout layout;

  std::uint64_t block_bytes() const {
    const std::uint64_t samples =
        as_rgba ? 4 : static_cast<std::uint64_t>(planes == 1 ? layout.samples : 1);
    const std::uint64_t bits = as_rgba ? 8 : static_cast<std::uint64_t>(layout.bits);
    return (block_width * samples * bits + 7) / 8 * block_height;
  }
};

TiffTags read_tags(TIFF* tiff, bool separate) {
  TiffTags tags;
  tags.photometric = tag_or<std::uint16_t>(tiff, TIFFTAG_PHOTOMETRIC, PHOTOMETRIC_MINISWHITE);
  tags.bits = tag_or<std::uint16_t>(tiff, TIFFTAG_BITSPERSAMPLE, 1);
  tags.samples = tag_or<std::uint16_t>(tiff, TIFFTAG_SAMPLESPERPIXEL, 1);
  tags.format = tag_or<std::uint16_t>(tiff, TIFFTAG_SAMPLEFORMAT, SAMPLEFORMAT_UINT);
  if (tag_or<std::uint16_t>(tiff, TIFFTAG_COMPRESSION, COMPRESSION_NONE) == COMPRESSION_OJPEG)
    tags.photometric = PHOTOMETRIC_YCBCR;
  std::uint16_t count = 0;
  const std::uint16_t* extra = nullptr;
  if (TIFFGetField(tiff, TIFFTAG_EXTRASAMPLES, &count, &extra) && extra)
    tags.extra.assign(extra, extra + count);
  // As Pillow: samples of no meaning that lie apart are no part of the pixels.
  if (separate && !tags.extra.empty() &&
      *std::max_element(tags.extra.begin(), tags.extra.end()) == 0) {
    tags.samples -= static_cast<int>(tags.extra.size());
    tags.extra.clear();
  }
  return tags;
}

void read_palette(const Source& source, TIFF* tiff, TiffLayout& layout) {
  const std::uint16_t* colours[3] = {};
  if (!TIFFGetField(tiff, TIFFTAG_COLORMAP, &colours[0], &colours[1], &colours[2]) || !colours[2])
    fail(source, kFormat, "damaged: it has no colour map");
  const std::size_t count = std::size_t{1} << layout.bits;
  for (std::size_t c = 0; c < 3; ++c)
    for (std::size_t i = 0; i < count; ++i)
      layout.palette[c][i] = static_cast<std::uint8_t>(colours[c][i] >> 8);
}

Page read_page(const Source& source, TIFF* tiff) {
  Page page;
  page.width = tag_or<std::uint32_t>(tiff, TIFFTAG_IMAGEWIDTH, 0);
  page.height = tag_or<std::uint32_t>(tiff, TIFFTAG_IMAGELENGTH, 0);
  check_size(source, kFormat, page.width, page.height);
  const std::uint16_t compression =
      tag_or<std::uint16_t>(tiff, TIFFTAG_COMPRESSION, COMPRESSION_NONE);
  if (!TIFFIsCODECConfigured(compression))
    fail(source, kFormat,
         "its compression (" + std::to_string(compression) +
             ") is none that libtiff reads; convert the picture to PNG or JPEG");
  const bool separate = tag_or<std::uint16_t>(tiff, TIFFTAG_PLANARCONFIG, PLANARCONFIG_CONTIG) ==
                        PLANARCONFIG_SEPARATE;
  const TiffTags tags = read_tags(tiff, separate);
  if (const std::string why = interpret(tags, page.layout); !why.empty())
    fail(source, kFormat, why + "; convert the picture to PNG or JPEG");
  if (page.layout.colour == TiffLayout::Colour::kPalette) read_palette(source, tiff, page.layout);
  if (tags.photometric == PHOTOMETRIC_YCBCR && tags.samples > 1) {
    if (compression == COMPRESSION_JPEG && !separate) {
      TIFFSetField(tiff, TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB);
    } else {
      page.as_rgba = true;
    }
  }
  page.planes = separate && !page.as_rgba ? page.layout.samples : 1;
  page.tiled = TIFFIsTiled(tiff) != 0;
  if (page.tiled) {
    page.block_width = tag_or<std::uint32_t>(tiff, TIFFTAG_TILEWIDTH, 0);
    page.block_height = tag_or<std::uint32_t>(tiff, TIFFTAG_TILELENGTH, 0);
    const auto too_large = [](std::uint64_t tile, std::uint64_t side) {
      return tile > std::max(kFreeTileSide, 2 * side);
    };
    if (page.block_width == 0 || page.block_height == 0 ||
        too_large(page.block_width, page.width) || too_large(page.block_height, page.height))
      fail(source, kFormat,
           "damaged: tiles of " + std::to_string(page.block_width) + " x " +
               std::to_string(page.block_height) + " pixels");
  } else {
    page.block_width = page.width;
    page.block_height =
        std::min(page.height, tag_or<std::uint32_t>(tiff, TIFFTAG_ROWSPERSTRIP, page.height));
    if (page.block_height == 0) fail(source, kFormat, "damaged: strips of no rows");
  }
  return page;
}

int find_orientation(TIFF* tiff) {
  const int given = tag_or<std::uint16_t>(tiff, TIFFTAG_ORIENTATION, 0);
  if (given != 0) return given <= 8 ? given : 1;
  OrientationTags tags;
  std::uint32_t size = 0;
  const char* xmp = nullptr;
  if (TIFFGetField(tiff, TIFFTAG_XMLPACKET, &size, &xmp) && xmp) tags.xmp = {xmp, size};
  return orientation(tags);
}

// Reads block after block into the picture.
class Reader {
 public:
  Reader(const Source& source, TIFF* tiff, const File& file, const Page& page, Decoded& decoded)
      : source_(source),
        tiff_(tiff),
        file_(file),
        page_(page),
        decoded_(decoded),
        block_(static_cast<std::size_t>(page.block_bytes())),
        bytes_(page.as_rgba ? 0
                            : std::size_t{page.block_width} *
                                  static_cast<std::size_t>(page.layout.samples)) {
    if (page.planes > 1) {
      planes_.resize(block_.size() * static_cast<std::size_t>(page.planes));
      plane_.resize(page.block_width);
    }
  }

  void read() {
    const std::size_t expected =
        static_cast<std::size_t>(page_.tiled ? TIFFTileSize64(tiff_) : TIFFStripSize64(tiff_));
    if (!page_.as_rgba && expected != block_.size())
      fail(source_, kFormat,
           "damaged: blocks of " + std::to_string(expected) + " bytes where " +
               std::to_string(block_.size()) + " are needed");
    for (std::uint32_t y = 0; y < page_.height;
         y += std::min(page_.block_height, page_.height - y)) {
      for (std::uint32_t x = 0; x < page_.width; x += std::min(page_.block_width, page_.width - x))
        read_block(x, y);
    }
  }

 private:
  void read_block(std::uint32_t x, std::uint32_t y) {
    const std::uint32_t columns = std::min(page_.block_width, page_.width - x),
                        rows = std::min(page_.block_height, page_.height - y);
    if (page_.as_rgba) return read_rgba(x, y, columns, rows);
    const std::size_t stride = block_.size() / page_.block_height;
    for (int plane = 0; plane < page_.planes; ++plane) {
      std::uint8_t* to = page_.planes == 1
                             ? block_.data()
                             : planes_.data() + block_.size() * static_cast<std::size_t>(plane);
      read_plane(x, y, plane, to, stride * rows);
    }
    for (std::uint32_t row = 0; row < rows; ++row) {
      const std::size_t at = std::size_t{y + row} * page_.width + x;
      std::uint8_t* alpha = decoded_.alpha.empty() ? nullptr : decoded_.alpha.data() + at;
      to_rgb(page_.layout, row_bytes(row * stride, columns), columns,
             decoded_.rgb.pixels.data() + at * 3, alpha);
    }
  }

  void read_plane(std::uint32_t x, std::uint32_t y, int plane, std::uint8_t* to,
                  std::size_t needed) {
    const auto sample = static_cast<std::uint16_t>(plane);
    const auto size = static_cast<tmsize_t>(block_.size());
    const tmsize_t got =
        page_.tiled ? TIFFReadEncodedTile(tiff_, TIFFComputeTile(tiff_, x, y, 0, sample), to, size)
                    : TIFFReadEncodedStrip(tiff_, TIFFComputeStrip(tiff_, y, sample), to, size);
    if (got < 0) fail_with(source_, file_);
    if (static_cast<std::size_t>(got) < needed) fail(source_, kFormat, "the file is truncated");
  }

  // One row of the block just read, a byte a sample, the samples of a pixel together.
  const std::uint8_t* row_bytes(std::size_t offset, std::uint32_t columns) {
    const TiffLayout& layout = page_.layout;
    if (page_.planes == 1) {
      if (layout.bits == 8 && !layout.inverted) return block_.data() + offset;
      to_bytes(layout, block_.data() + offset,
               std::size_t{columns} * static_cast<std::size_t>(layout.samples), bytes_.data());
      return bytes_.data();
    }
    const auto planes = static_cast<std::size_t>(page_.planes);
    for (std::size_t plane = 0; plane < planes; ++plane) {
      to_bytes(layout, planes_.data() + block_.size() * plane + offset, columns, plane_.data());
      for (std::size_t i = 0; i < columns; ++i) bytes_[i * planes + plane] = plane_[i];
    }
    return bytes_.data();
  }

  // libtiff's own conversion gives the rows from the bottom to the top.
  void read_rgba(std::uint32_t x, std::uint32_t y, std::uint32_t columns, std::uint32_t rows) {
    auto* raster = reinterpret_cast<std::uint32_t*>(block_.data());
    const int good = page_.tiled ? TIFFReadRGBATileExt(tiff_, x, y, raster, 1)
                                 : TIFFReadRGBAStripExt(tiff_, y, raster, 1);
    if (!good) fail_with(source_, file_);
    const std::uint32_t last = page_.tiled ? page_.block_height - 1 : rows - 1;
    for (std::uint32_t row = 0; row < rows; ++row) {
      const std::uint32_t* from = raster + std::size_t{last - row} * page_.block_width;
      std::uint8_t* to = decoded_.rgb.pixels.data() + (std::size_t{y + row} * page_.width + x) * 3;
      for (std::uint32_t i = 0; i < columns; ++i, to += 3) {
        to[0] = static_cast<std::uint8_t>(TIFFGetR(from[i]));
        to[1] = static_cast<std::uint8_t>(TIFFGetG(from[i]));
        to[2] = static_cast<std::uint8_t>(TIFFGetB(from[i]));
      }
    }
  }

  const Source& source_;
  TIFF* tiff_;
  const File& file_;
  const Page& page_;
  Decoded& decoded_;
  std::vector<std::uint8_t> block_, bytes_;  // a block as stored; a row in bytes
  std::vector<std::uint8_t> planes_,
      plane_;  // the same where samples lie apart: blocks of all planes; a row of one
};

// The blocks above, and what libtiff and its codecs keep: the strip or tile once more where they
// convert it.
std::uint64_t working_bytes(const Page& page) {
  constexpr std::uint64_t kBase = 4 << 20;
  const std::uint64_t block = page.block_bytes();
  const std::uint64_t held = page.planes > 1 ? static_cast<std::uint64_t>(page.planes) + 1 : 1;
  return kBase + block * (held + 1) + (page.as_rgba ? block : 0);
}

}  // namespace

Decoded decode_tiff(const Source& source) {
  File file{source.bytes};
  const Handle tiff = open(source, file);
  if (!tiff) fail_with(source, file);
  if (file.lost_colours) fail(source, kFormat, "damaged: its colour map cannot be read");
  const Page page = read_page(source, tiff.get());
  const bool has_alpha = page.layout.alpha != TiffLayout::Alpha::kNone;
  Decoded decoded = begin(source, kFormat, page.width, page.height, find_orientation(tiff.get()),
                          working_bytes(page), has_alpha);
  if (source.header_only) return decoded;
  Reader(source, tiff.get(), file, page, decoded).read();
  return decoded;
}

}  // namespace blip::image
