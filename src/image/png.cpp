// PNG through libpng. Alpha is dropped, not blended, and 16-bit grey is clipped while 16-bit colour
// is shifted, as Pillow does it.
#include <png.h>

#include <algorithm>
#include <csetjmp>
#include <cstring>
#include <string>
#include <vector>

#include "blip/error.h"
#include "core/inflate.h"
#include "image/decoder.h"
#include "image/orientation.h"

namespace blip::image {
namespace {

constexpr const char* kFormat = "PNG";
constexpr int kPasses = 7;  // of an interlaced picture

// How libpng hands over the rows.
enum class Layout { kRgb, kRgba, kIndex, kGrey8, kGrey16 };

// libpng reports a fatal error by a call that must not return. Objects with destructors live
// outside the functions that call setjmp, so that the jump back skips none.
struct Session {
  png_structp png = nullptr;
  png_infop info = nullptr;
  Bytes rest;
  char message[128] = "";
  std::jmp_buf jump;
  png_uint_32 width = 0, height = 0;
  Layout layout = Layout::kRgb;
  bool interlaced = false, complete = false;
  int depth = 8, colour = PNG_COLOR_TYPE_RGB;
  bool keep_alpha = false;

  Session() = default;
  ~Session() { png_destroy_read_struct(&png, &info, nullptr); }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
};

[[noreturn]] void on_error(png_structp png, png_const_charp message) {
  auto* session = static_cast<Session*>(png_get_error_ptr(png));
  // Once the last row was handed over, what follows is no concern of ours: the rest of the
  // compressed data and its checksum.
  session->complete = session->height != 0 && png_get_current_row_number(png) >= session->height &&
                      (!session->interlaced || png_get_current_pass_number(png) >= kPasses);
  std::strncpy(session->message, message ? message : "unknown error", sizeof(session->message) - 1);
  std::longjmp(session->jump, 1);
}

void on_warning(png_structp, png_const_charp) {}

void on_read(png_structp png, png_bytep out, std::size_t size) {
  auto* session = static_cast<Session*>(png_get_io_ptr(png));
  if (session->rest.size() < size) png_error(png, "the file is truncated");
  std::memcpy(out, session->rest.data(), size);
  session->rest = session->rest.subspan(size);
}

// Colour types other than the four below lose their alpha and become 8-bit RGB inside libpng.
void ask_for_layout(Session& session) {
  const int depth = png_get_bit_depth(session.png, session.info);
  const int color = png_get_color_type(session.png, session.info);
  if (color == PNG_COLOR_TYPE_PALETTE) {
    session.layout = Layout::kIndex;
    png_set_packing(session.png);
  } else if (color == PNG_COLOR_TYPE_GRAY) {
    session.layout = depth == 16 ? Layout::kGrey16 : Layout::kGrey8;
    if (depth < 8) png_set_expand_gray_1_2_4_to_8(session.png);
  } else {
    if (depth == 16) png_set_strip_16(session.png);
    const bool has_alpha = color & PNG_COLOR_MASK_ALPHA;
    if (has_alpha && session.keep_alpha) session.layout = Layout::kRgba;
    if (has_alpha && !session.keep_alpha) png_set_strip_alpha(session.png);
    if (!(color & PNG_COLOR_MASK_COLOR)) png_set_gray_to_rgb(session.png);
  }
}

bool read_header(Session& session, Bytes bytes) {
  if (setjmp(session.jump)) return false;
  session.rest = bytes;
  session.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &session, on_error, on_warning);
  if (session.png) session.info = png_create_info_struct(session.png);
  if (!session.info) {
    std::strcpy(session.message, "out of memory");
    return false;
  }
  png_set_read_fn(session.png, &session, on_read);
  // our own limit comes before any row is read
  png_set_user_limits(session.png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
  // Ancillary chunks say nothing about the RGB values we want; skipping them also keeps damaged
  // ones from mattering.
  png_set_keep_unknown_chunks(session.png, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
  // check_checksums looks at those that matter
  png_set_crc_action(session.png, PNG_CRC_QUIET_USE, PNG_CRC_QUIET_USE);
  png_read_info(session.png, session.info);
  session.width = png_get_image_width(session.png, session.info);
  session.height = png_get_image_height(session.png, session.info);
  session.depth = png_get_bit_depth(session.png, session.info);
  session.colour = png_get_color_type(session.png, session.info);
  session.interlaced = png_get_interlace_type(session.png, session.info) != PNG_INTERLACE_NONE;
  return true;
}

// The bytes of one row as libpng will hand it over.
bool start(Session& session, std::size_t& row_bytes) {
  if (setjmp(session.jump)) return false;
  ask_for_layout(session);
  png_set_interlace_handling(session.png);
  png_read_update_info(session.png, session.info);
  row_bytes = png_get_rowbytes(session.png, session.info);
  return true;
}

bool read_row(Session& session, std::uint8_t* row) {
  if (setjmp(session.jump)) return session.complete;
  png_read_row(session.png, row, nullptr);
  return true;
}

// All rows, every pass of an interlaced picture over them.
bool read_rows(Session& session, std::uint8_t* rows, std::size_t stride) {
  if (setjmp(session.jump)) return session.complete;
  const int passes = session.interlaced ? kPasses : 1;
  for (int pass = 0; pass < passes; ++pass) {
    for (png_uint_32 y = 0; y < session.height; ++y)
      png_read_row(session.png, rows + y * stride, nullptr);
  }
  return true;
}

// 256 colours; those the file does not give are black.
std::vector<png_color> read_palette(Session& session) {
  std::vector<png_color> palette(256, png_color{0, 0, 0});
  png_colorp colors = nullptr;
  int count = 0;
  if (png_get_PLTE(session.png, session.info, &colors, &count) != 0)
    std::copy_n(colors, std::min(count, 256), palette.begin());
  return palette;
}

// What a tRNS chunk says: the alpha of the palette's first colours, or the one colour that is
// transparent.
struct Transparency {
  Bytes body;

  bool given() const { return !body.empty(); }
  std::uint8_t of_index(std::uint8_t index) const { return read_u8(body, index).value_or(255); }
  // As the file stores it; of RGB, the sample numbered `c`.
  int key(std::size_t c = 0) const {
    return static_cast<int>(read_u16(body, 2 * c, Endian::kBig).value_or(0x10000));
  }
};

Transparency find_transparency(const Source& source) {
  std::size_t at = 8;
  while (const auto length = read_u32(source.bytes, at, Endian::kBig)) {
    const std::string_view type = as_text(slice(source.bytes, at + 4, 4));
    if (type == "IDAT") break;
    if (type == "tRNS") return {slice(source.bytes, at + 8, *length)};
    at += 12 + std::size_t{*length};
  }
  return {};
}

// The alpha of one row of indices or greys, as libpng hands it over, or of RGB.
void read_alpha(const Session& session, const Transparency& transparency, const std::uint8_t* in,
                std::uint8_t* alpha, std::size_t width) {
  const int depth = session.depth, scale = depth < 8 ? 255 / ((1 << depth) - 1) : 1,
            shift = depth == 16 ? 8 : 0;
  for (std::size_t x = 0; x < width; ++x) {
    if (session.layout == Layout::kIndex) {
      alpha[x] = transparency.of_index(in[x]);
    } else if (session.layout == Layout::kGrey8) {
      alpha[x] = in[x] == transparency.key() * scale ? 0 : 255;
    } else if (session.layout == Layout::kGrey16) {
      alpha[x] = (in[2 * x] << 8 | in[2 * x + 1]) == transparency.key() ? 0 : 255;
    } else {
      bool same = true;
      for (std::size_t c = 0; c < 3; ++c)
        same = same && in[3 * x + c] == transparency.key(c) >> shift;
      alpha[x] = same ? 0 : 255;
    }
  }
}

void expand_row(Layout layout, const std::vector<png_color>& palette, const std::uint8_t* in,
                std::uint8_t* out, std::size_t width) {
  for (std::size_t x = 0; x < width; ++x, out += 3) {
    if (layout == Layout::kIndex) {
      const png_color& color = palette[in[x]];
      out[0] = color.red;
      out[1] = color.green;
      out[2] = color.blue;
    } else if (layout == Layout::kGrey8) {
      out[0] = out[1] = out[2] = in[x];
    } else {  // kGrey16: what exceeds a byte is white
      out[0] = out[1] = out[2] = in[2 * x] ? 255 : in[2 * x + 1];
    }
  }
}

bool read_rgba(Session& session, Decoded& decoded, std::size_t row_bytes) {
  std::vector<std::uint8_t> rgba(row_bytes * session.height);
  if (!read_rows(session, rgba.data(), row_bytes)) return false;
  split_alpha(rgba, decoded);
  return true;
}

bool read_pixels(Session& session, const Transparency& transparency, Decoded& decoded) {
  Rgb& rgb = decoded.rgb;
  std::size_t row_bytes = 0;
  if (!start(session, row_bytes)) return false;
  if (session.layout == Layout::kRgba) return read_rgba(session, decoded, row_bytes);
  if (session.layout == Layout::kRgb) {
    if (!read_rows(session, rgb.pixels.data(), row_bytes)) return false;
    if (!decoded.alpha.empty())
      read_alpha(session, transparency, rgb.pixels.data(), decoded.alpha.data(),
                 decoded.alpha.size());
    return true;
  }
  const std::vector<png_color> palette = read_palette(session);
  const std::size_t width = session.width;
  std::vector<std::uint8_t> rows(row_bytes * (session.interlaced ? session.height : 1));
  if (session.interlaced && !read_rows(session, rows.data(), row_bytes)) return false;
  for (std::size_t y = 0; y < session.height; ++y) {
    const std::uint8_t* row = rows.data() + (session.interlaced ? y * row_bytes : 0);
    if (!session.interlaced && !read_row(session, rows.data())) return false;
    expand_row(session.layout, palette, row, rgb.pixels.data() + y * width * 3, width);
    if (!decoded.alpha.empty())
      read_alpha(session, transparency, row, decoded.alpha.data() + y * width, width);
  }
  return true;
}

// What libpng takes, and rows that it does not hand over as RGB: one, or all of an interlaced
// picture.
std::uint64_t working_bytes(const Session& session) {
  constexpr std::uint64_t kBase = 512 << 10, kLargestPixel = 8;
  const std::uint64_t row = kLargestPixel * session.width;
  const bool grey =
      session.colour == PNG_COLOR_TYPE_GRAY || session.colour == PNG_COLOR_TYPE_PALETTE;
  return kBase + 4 * row +
         (session.interlaced && grey
              ? std::uint64_t{session.width} * session.height * (session.depth == 16 ? 2 : 1)
              : 0);
}

// Do the pixels' chunks say that they are longer than the file?
bool is_cut(const Source& source) {
  std::size_t at = 8;
  while (const auto length = read_u32(source.bytes, at, Endian::kBig)) {
    if (slice(source.bytes, at + 8).size() < *length)
      return as_text(slice(source.bytes, at + 4, 4)) == "IDAT";
    at += 12 + std::size_t{*length};
  }
  return false;
}

// As Pillow: a wrong checksum before the pixels makes the file unreadable, whatever the chunk;
// those of the pixels and what follows them are not looked at, since the compressed data show their
// own damage.
void check_checksums(const Source& source) {
  std::size_t at = 8;
  while (const auto length = read_u32(source.bytes, at, Endian::kBig)) {
    const std::string type(as_text(slice(source.bytes, at + 4, 4)));
    if (type == "IDAT") return;
    const Bytes covered = slice(source.bytes, at + 4, std::size_t{*length} + 4);
    const auto checksum = read_u32(source.bytes, at + 8 + std::size_t{*length}, Endian::kBig);
    if (!checksum) fail(source, kFormat, "damaged: the file is truncated");
    if (crc32(covered) != *checksum)
      fail(source, kFormat,
           "damaged: the checksum of its chunk at byte " + std::to_string(at) + " is wrong");
    at += 12 + std::size_t{*length};
  }
}

}  // namespace

Decoded decode_png(const Source& source) {
  Session session;
  if (!read_header(session, source.bytes))
    fail(source, kFormat, std::string("damaged: ") + session.message);
  check_checksums(source);
  // By one byte at a time, so that libpng asks for none that is not there while those that are give
  // whole rows.
  if (is_cut(source)) png_set_compression_buffer_size(session.png, 1);
  const Transparency transparency = find_transparency(source);
  const bool mask = session.colour & PNG_COLOR_MASK_ALPHA, has_alpha = mask || transparency.given();
  session.keep_alpha = mask && source.want_alpha;
  const std::uint64_t working =
      working_bytes(session) +
      (session.keep_alpha ? std::uint64_t{4} * session.width * session.height : 0);
  Decoded decoded = begin(source, kFormat, session.width, session.height,
                          png_orientation(source.bytes), working, has_alpha);
  if (source.header_only) return decoded;
  if (!read_pixels(session, transparency, decoded))
    fail(source, kFormat, std::string("damaged: ") + session.message);
  return decoded;
}

}  // namespace blip::image
