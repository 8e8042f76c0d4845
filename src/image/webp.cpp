// WebP through libwebp: the picture, or an animation's first frame on its black canvas. Alpha is
// dropped, not blended.
#include <webp/decode.h>
#include <webp/demux.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "blip/error.h"
#include "image/decoder.h"
#include "image/exif.h"

namespace blip::image {
namespace {

constexpr const char* kFormat = "WebP";

struct DeleteDemuxer {
  void operator()(WebPDemuxer* demuxer) const { WebPDemuxDelete(demuxer); }
};
using Demuxer = std::unique_ptr<WebPDemuxer, DeleteDemuxer>;

struct Frame : WebPIterator {
  Frame() : WebPIterator{} {}
  ~Frame() { WebPDemuxReleaseIterator(this); }
  Frame(const Frame&) = delete;
  Frame& operator=(const Frame&) = delete;
};

struct Chunk : WebPChunkIterator {
  Chunk() : WebPChunkIterator{} {}
  ~Chunk() { WebPDemuxReleaseChunkIterator(this); }
  Chunk(const Chunk&) = delete;
  Chunk& operator=(const Chunk&) = delete;
};

int find_orientation(const WebPDemuxer* demuxer) {
  Chunk exif, xmp;
  OrientationTags tags;
  if (WebPDemuxGetChunk(demuxer, "EXIF", 1, &exif))
    tags.exif = std::as_bytes(std::span(exif.chunk.bytes, exif.chunk.size));
  if (WebPDemuxGetChunk(demuxer, "XMP ", 1, &xmp))
    tags.xmp = {reinterpret_cast<const char*>(xmp.chunk.bytes), xmp.chunk.size};
  return orientation(tags);
}

const char* describe(VP8StatusCode status) {
  switch (status) {
    case VP8_STATUS_SUSPENDED:
    case VP8_STATUS_NOT_ENOUGH_DATA:
      return "the file is truncated";
    case VP8_STATUS_UNSUPPORTED_FEATURE:
      return "it uses a feature that libwebp does not know";
    default:
      return "damaged: the pixel data cannot be decoded";
  }
}

// A lossless frame, and the alpha of a lossy one, is decoded to 4 bytes a pixel and one more; the
// colours of a lossy one by rows.
std::uint64_t working_bytes(const Frame& frame) {
  constexpr std::uint64_t kBase = 1 << 20, kRows = 64, kWholePixel = 5;
  const auto width = static_cast<std::uint64_t>(frame.width),
             height = static_cast<std::uint64_t>(frame.height);
  WebPBitstreamFeatures features;
  const bool known =
      WebPGetFeatures(frame.fragment.bytes, frame.fragment.size, &features) == VP8_STATUS_OK;
  constexpr int kLossy = 1;
  const bool by_rows = known && features.format == kLossy && !features.has_alpha;
  return kBase + kRows * 4 * width + (by_rows ? 0 : width * height * kWholePixel);
}

}  // namespace

Decoded decode_webp(const Source& source) {
  const WebPData data{reinterpret_cast<const std::uint8_t*>(source.bytes.data()),
                      source.bytes.size()};
  WebPDemuxState state = WEBP_DEMUX_PARSE_ERROR;
  const Demuxer demuxer(WebPDemuxPartial(&data, &state));
  if (!demuxer || state == WEBP_DEMUX_PARSE_ERROR)
    fail(source, kFormat, "damaged: the file's structure is invalid");
  if (state != WEBP_DEMUX_DONE) fail(source, kFormat, "the file is truncated");

  const std::uint32_t width = WebPDemuxGetI(demuxer.get(), WEBP_FF_CANVAS_WIDTH);
  const std::uint32_t height = WebPDemuxGetI(demuxer.get(), WEBP_FF_CANVAS_HEIGHT);
  Frame frame;
  if (!WebPDemuxGetFrame(demuxer.get(), 1, &frame))
    fail(source, kFormat, "damaged: it holds no picture");
  const auto x = static_cast<std::uint32_t>(frame.x_offset),
             y = static_cast<std::uint32_t>(frame.y_offset);
  const auto w = static_cast<std::uint32_t>(frame.width),
             h = static_cast<std::uint32_t>(frame.height);
  if (x > width || w > width - x || y > height || h > height - y)
    fail(source, kFormat, "damaged: the frame lies outside the canvas");
  const bool has_alpha =
      frame.has_alpha || w < width || h < height;  // what lies outside the frame is transparent
  const bool four = has_alpha && source.want_alpha;
  const std::uint64_t working = working_bytes(frame) + (four ? std::uint64_t{4} * w * h : 0);
  Decoded decoded =
      begin(source, kFormat, width, height, find_orientation(demuxer.get()), working, has_alpha);
  if (source.header_only) return decoded;

  WebPDecoderConfig config;
  if (!WebPInitDecoderConfig(&config))
    fail(source, kFormat, "libwebp has another version than the one built against");
  const std::size_t canvas_stride = std::size_t{width} * 3,
                    first = y * canvas_stride + std::size_t{x} * 3;
  std::vector<std::uint8_t> rgba(four ? std::size_t{w} * h * 4 : 0);
  const std::span<std::uint8_t> out =
      four ? std::span(rgba) : std::span(decoded.rgb.pixels).subspan(first);
  config.output.colorspace = four ? MODE_RGBA : MODE_RGB;
  config.output.is_external_memory = 1;
  config.output.u.RGBA.rgba = out.data();
  config.output.u.RGBA.stride = static_cast<int>(four ? std::size_t{w} * 4 : canvas_stride);
  config.output.u.RGBA.size = out.size();
  const VP8StatusCode status = WebPDecode(frame.fragment.bytes, frame.fragment.size, &config);
  if (status == VP8_STATUS_OUT_OF_MEMORY) fail(source, kFormat, no_memory(width, height));
  if (status != VP8_STATUS_OK) fail(source, kFormat, describe(status));
  if (four) {
    std::fill(decoded.alpha.begin(), decoded.alpha.end(), std::uint8_t{0});
    for (std::size_t row = 0; row < h; ++row)
      split_alpha(std::span(rgba).subspan(row * w * 4, std::size_t{w} * 4), decoded,
                  (y + row) * width + x);
  }
  return decoded;
}

}  // namespace blip::image
