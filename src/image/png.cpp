// PNG through libpng. Alpha is dropped, not blended, and 16-bit grey is clipped while 16-bit colour is shifted, as Pillow
// does it.
#include <png.h>

#include <algorithm>
#include <csetjmp>
#include <cstring>
#include <string>
#include <vector>

#include "blip/error.h"
#include "image/decoder.h"
#include "image/orientation.h"

namespace blip::image {
namespace {

constexpr const char* kFormat = "PNG";

// How libpng hands over the rows.
enum class Layout { kRgb, kIndex, kGrey8, kGrey16 };

// libpng reports a fatal error by a call that must not return. Objects with destructors live outside the functions that
// call setjmp, so that the jump back skips none.
struct Session {
  png_structp png = nullptr;
  png_infop info = nullptr;
  Bytes rest;
  char message[128] = "";
  std::jmp_buf jump;
  png_uint_32 width = 0, height = 0;
  Layout layout = Layout::kRgb;
  bool interlaced = false;

  Session() = default;
  ~Session() { png_destroy_read_struct(&png, &info, nullptr); }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
};

[[noreturn]] void on_error(png_structp png, png_const_charp message) {
  auto* session = static_cast<Session*>(png_get_error_ptr(png));
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
    if (color & PNG_COLOR_MASK_ALPHA) png_set_strip_alpha(session.png);
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
  png_set_user_limits(session.png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);  // our own limit comes before any row is read
  // Ancillary chunks say nothing about the RGB values we want; skipping them also keeps damaged ones from mattering.
  png_set_keep_unknown_chunks(session.png, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
  png_read_info(session.png, session.info);
  session.width = png_get_image_width(session.png, session.info);
  session.height = png_get_image_height(session.png, session.info);
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
  if (setjmp(session.jump)) return false;
  png_read_row(session.png, row, nullptr);
  return true;
}

// All rows, every pass of an interlaced picture over them.
bool read_rows(Session& session, std::uint8_t* rows, std::size_t stride) {
  if (setjmp(session.jump)) return false;
  const int passes = session.interlaced ? 7 : 1;
  for (int pass = 0; pass < passes; ++pass) {
    for (png_uint_32 y = 0; y < session.height; ++y) png_read_row(session.png, rows + y * stride, nullptr);
  }
  return true;
}

// 256 colours; those the file does not give are black.
std::vector<png_color> read_palette(Session& session) {
  std::vector<png_color> palette(256, png_color{0, 0, 0});
  png_colorp colors = nullptr;
  int count = 0;
  if (png_get_PLTE(session.png, session.info, &colors, &count) != 0) std::copy_n(colors, std::min(count, 256), palette.begin());
  return palette;
}

void expand_row(Layout layout, const std::vector<png_color>& palette, const std::uint8_t* in, std::uint8_t* out,
                std::size_t width) {
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

bool read_pixels(Session& session, Rgb& rgb) {
  std::size_t row_bytes = 0;
  if (!start(session, row_bytes)) return false;
  if (session.layout == Layout::kRgb) return read_rows(session, rgb.pixels.data(), row_bytes);
  const std::vector<png_color> palette = read_palette(session);
  const std::size_t width = session.width;
  std::vector<std::uint8_t> rows(row_bytes * (session.interlaced ? session.height : 1));
  if (session.interlaced && !read_rows(session, rows.data(), row_bytes)) return false;
  for (std::size_t y = 0; y < session.height; ++y) {
    const std::uint8_t* row = rows.data() + (session.interlaced ? y * row_bytes : 0);
    if (!session.interlaced && !read_row(session, rows.data())) return false;
    expand_row(session.layout, palette, row, rgb.pixels.data() + y * width * 3, width);
  }
  return true;
}

}  // namespace

Decoded decode_png(const Source& source) {
  Session session;
  if (!read_header(session, source.bytes)) fail(source, kFormat, std::string("damaged: ") + session.message);
  Decoded decoded{allocate(source, kFormat, session.width, session.height), png_orientation(source.bytes)};
  if (!read_pixels(session, decoded.rgb)) fail(source, kFormat, std::string("damaged: ") + session.message);
  return decoded;
}

}  // namespace blip::image
