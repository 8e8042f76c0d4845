// JPEG through libjpeg-turbo, with Pillow's settings: the accurate integer DCT, fancy upsampling,
// no DCT scaling.
// clang-format off
#include <cstdio>     // jpeglib.h needs it before it and does not include it
#include <jpeglib.h>
#include <jerror.h>
// clang-format on

#include <algorithm>
#include <csetjmp>
#include <vector>

#include "blip/error.h"
#include "image/decoder.h"
#include "image/orientation.h"

namespace blip::image {
namespace {

constexpr const char* kFormat = "JPEG";

// A progressive file of a few kilobytes can ask for hundreds of passes over a huge picture; real
// ones have about ten. Each pass looks at every block, so their product is limited, too: 24 scans
// of the largest picture that is read by default.
constexpr int kMaxScans = 500;
constexpr std::uint64_t kMaxScannedPixels = std::uint64_t{1} << 32;

// libjpeg reports a fatal error by a call that must not return. Objects with destructors live
// outside the function that calls setjmp, so that the jump back skips none.
struct Session {
  jpeg_decompress_struct decompress{};
  jpeg_error_mgr errors{};
  jpeg_source_mgr input{};
  jpeg_progress_mgr progress{};
  std::jmp_buf jump;
  char message[JMSG_LENGTH_MAX] = "";
  bool truncated = false, no_memory = false;

  Session() { decompress.err = jpeg_std_error(&errors); }
  ~Session() { jpeg_destroy_decompress(&decompress); }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
};

Session* session_of(j_common_ptr common) { return static_cast<Session*>(common->client_data); }

[[noreturn]] void on_error(j_common_ptr common) {
  Session* session = session_of(common);
  session->no_memory = common->err->msg_code == JERR_OUT_OF_MEMORY;
  if (!session->message[0]) common->err->format_message(common, session->message);
  std::longjmp(session->jump, 1);
}

void on_message(j_common_ptr) {
}  // warnings: the data is damaged but decodable, which Pillow accepts

boolean on_end_of_data(j_decompress_ptr decompress) {
  Session* session = session_of(reinterpret_cast<j_common_ptr>(decompress));
  session->truncated = true;
  std::longjmp(session->jump, 1);
}

void on_skip(j_decompress_ptr decompress, long count) {
  if (count <= 0) return;
  jpeg_source_mgr* input = decompress->src;
  if (static_cast<unsigned long>(count) > input->bytes_in_buffer) on_end_of_data(decompress);
  input->next_input_byte += count;
  input->bytes_in_buffer -= static_cast<std::size_t>(count);
}

void on_progress(j_common_ptr common) {
  const j_decompress_ptr decompress = reinterpret_cast<j_decompress_ptr>(common);
  const int scans = decompress->input_scan_number;
  const std::uint64_t scanned = std::uint64_t{decompress->image_width} * decompress->image_height *
                                static_cast<std::uint64_t>(std::max(0, scans));
  if (scans <= kMaxScans && (scanned <= kMaxScannedPixels || scans <= 24)) return;
  Session* session = session_of(common);
  std::snprintf(session->message, sizeof(session->message), "it has more than %d scans", scans - 1);
  std::longjmp(session->jump, 1);
}

void no_action(j_decompress_ptr) {}

void set_up(Session& session, Bytes bytes) {
  session.errors.error_exit = on_error;
  session.errors.output_message = on_message;
  session.decompress.client_data = &session;
  jpeg_create_decompress(&session.decompress);
  session.input.init_source = no_action;
  session.input.fill_input_buffer = on_end_of_data;
  session.input.skip_input_data = on_skip;
  session.input.resync_to_restart = jpeg_resync_to_restart;
  session.input.term_source = no_action;
  session.input.next_input_byte = reinterpret_cast<const JOCTET*>(bytes.data());
  session.input.bytes_in_buffer = bytes.size();
  session.decompress.src = &session.input;
  session.progress.progress_monitor = on_progress;
  session.decompress.progress = &session.progress;
}

// Reads the header and asks for RGB, or for CMYK which is converted here. False: see
// session.message.
bool start(Session& session, Bytes bytes) {
  if (setjmp(session.jump)) return false;
  set_up(session, bytes);
  jpeg_read_header(&session.decompress, TRUE);
  session.decompress.out_color_space = session.decompress.num_components == 4 ? JCS_CMYK : JCS_RGB;
  return true;
}

// Adobe stores CMYK inverted, and Pillow takes every CMYK JPEG to be so: what is stored is white
// minus ink. Its conversion is then (255 - ink) * (255 - black) / 255, rounded as below.
void cmyk_to_rgb(const std::uint8_t* in, std::uint8_t* out, std::uint32_t width) {
  for (std::uint32_t x = 0; x < width; ++x, in += 4, out += 3) {
    const int white = in[3];  // 255 - black
    for (int c = 0; c < 3; ++c) {
      const int scaled = (255 - in[c]) * white + 128;
      out[c] = static_cast<std::uint8_t>(std::max(0, white - ((scaled >> 8) + scaled) / 256));
    }
  }
}

// Scanlines go straight into the result; `line` is for CMYK.
bool read_pixels(Session& session, std::uint8_t* pixels, std::uint8_t* line) {
  if (setjmp(session.jump)) return false;
  jpeg_decompress_struct& decompress = session.decompress;
  jpeg_start_decompress(&decompress);
  const std::size_t stride = std::size_t{3} * decompress.output_width;
  while (decompress.output_scanline < decompress.output_height) {
    std::uint8_t* row = pixels + stride * decompress.output_scanline;
    JSAMPROW target = line ? line : row;
    if (jpeg_read_scanlines(&decompress, &target, 1) != 1) continue;
    if (line) cmyk_to_rgb(line, row, decompress.output_width);
  }
  return true;
}

// Reads on to the end of the picture, as Pillow does: rows that a false mark cut short are followed
// by what makes no sense. That the end is missing is no damage.
bool finish(Session& session) {
  if (setjmp(session.jump)) return session.truncated && !session.no_memory;
  jpeg_finish_decompress(&session.decompress);
  return true;
}

// What libjpeg takes beside the rows it writes: for a picture of several scans the coefficients of
// all its blocks, 64 of 2 bytes each; else some rows of blocks, and what upsampling wants.
std::uint64_t working_bytes(const jpeg_decompress_struct& header) {
  constexpr std::uint64_t kBase = 256 << 10, kRows = 64;
  const auto round_up = [](std::uint64_t value, int to) {
    return (value + static_cast<std::uint64_t>(to) - 1) / static_cast<std::uint64_t>(to) *
           static_cast<std::uint64_t>(to);
  };
  std::uint64_t blocks = 0;
  for (int i = 0; i < header.num_components; ++i) {
    const jpeg_component_info& component = header.comp_info[i];
    blocks += round_up(component.width_in_blocks, component.h_samp_factor) *
              round_up(component.height_in_blocks, component.v_samp_factor);
  }
  const bool several = header.progressive_mode || header.comps_in_scan < header.num_components;
  const std::uint64_t rows =
      kRows * header.image_width * static_cast<std::uint64_t>(header.num_components);
  return kBase + rows + (several ? blocks * DCTSIZE2 * sizeof(JCOEF) : 0);
}

[[noreturn]] void fail_with(const Source& source, const Session& session) {
  if (session.no_memory)
    fail(source, kFormat,
         no_memory(session.decompress.image_width, session.decompress.image_height));
  fail(source, kFormat,
       session.truncated ? "the file is truncated" : std::string("damaged: ") + session.message);
}

}  // namespace

Decoded decode_jpeg(const Source& source) {
  Session session;
  if (!start(session, source.bytes)) fail_with(source, session);
  const jpeg_decompress_struct& header = session.decompress;
  if (header.num_components != 1 && header.num_components != 3 && header.num_components != 4) {
    fail(source, kFormat,
         std::to_string(header.num_components) + " colour components; 1, 3 or 4 can be read");
  }
  Decoded decoded = begin(source, kFormat, header.image_width, header.image_height,
                          jpeg_orientation(source.bytes), working_bytes(header));
  if (source.header_only) return decoded;
  std::vector<std::uint8_t> line(header.num_components == 4 ? std::size_t{4} * header.image_width
                                                            : 0);
  if (!read_pixels(session, decoded.rgb.pixels.data(), line.empty() ? nullptr : line.data()))
    fail_with(source, session);
  if (!finish(session)) fail_with(source, session);
  return decoded;
}

}  // namespace blip::image
