// AVIF through libavif, with Pillow's settings: the picture, or a sequence's first frame, in 8
// bits.
#include <avif/avif.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <memory>
#include <string>

#include "blip/error.h"
#include "image/decoder.h"
#include "image/exif.h"

namespace blip::image {
namespace {

constexpr const char* kFormat = "AVIF";

// A table of frames may be far longer than its file. Real sequences have some thousands.
constexpr std::uint32_t kMaxFrames = 200'000;

struct Destroy {
  void operator()(avifDecoder* decoder) const { avifDecoderDestroy(decoder); }
};
using Handle = std::unique_ptr<avifDecoder, Destroy>;

std::string describe(avifResult result, const avifDecoder& decoder) {
  if (result == AVIF_RESULT_TRUNCATED_DATA) return "the file is truncated";
  if (result == AVIF_RESULT_NO_CODEC_AVAILABLE) return "libavif was built without an AV1 decoder";
  std::string text = std::string("damaged: ") + avifResultToString(result);
  if (decoder.diag.error[0] != '\0') text += std::string(": ") + decoder.diag.error;
  return text;
}

// Reads the header. The decoder refuses coded frames of more than `frame_pixels`, whatever the
// file's header says.
Handle open(const Source& source, std::uint64_t frame_pixels) {
  Handle decoder(avifDecoderCreate());
  if (!decoder) fail(source, kFormat, "not enough memory to open it");
  decoder->maxThreads = 1;
  decoder->ignoreExif =
      AVIF_TRUE;  // AVIF says by properties of its own which way is up, and these alone count
  decoder->ignoreXMP = AVIF_TRUE;
  decoder->imageCountLimit = kMaxFrames;
  decoder->imageDimensionLimit = 0;  // our own limits follow
  decoder->imageSizeLimit = static_cast<std::uint32_t>(
      std::clamp<std::uint64_t>(frame_pixels, 1, AVIF_DEFAULT_IMAGE_SIZE_LIMIT));
  // As Pillow: files that other encoders wrote a little wrong are read.
  decoder->strictFlags &=
      ~static_cast<avifStrictFlags>(AVIF_STRICT_CLAP_VALID | AVIF_STRICT_PIXI_REQUIRED);
  avifResult result = avifDecoderSetIOMemory(
      decoder.get(), reinterpret_cast<const std::uint8_t*>(source.bytes.data()),
      source.bytes.size());
  if (result == AVIF_RESULT_OK) result = avifDecoderParse(decoder.get());
  if (result != AVIF_RESULT_OK) fail(source, kFormat, describe(result, *decoder));
  return decoder;
}

int mirror_axis(const avifImage& image) {
#if AVIF_VERSION >= 1000000
  return image.imir.axis;
#else
  return image.imir.mode;
#endif
}

// The EXIF number for the turns and mirrors that the file asks for: first the turn, against the
// clock, then the mirror.
int find_orientation(const avifImage& image) {
  const bool turned = image.transformFlags & AVIF_TRANSFORM_IROT,
             mirrored = image.transformFlags & AVIF_TRANSFORM_IMIR;
  const int quarters = turned ? image.irot.angle & 3 : 0;
  if (!mirrored) return std::array{1, 8, 3, 6}[static_cast<std::size_t>(quarters)];
  const bool left_right = mirror_axis(image) == 1;
  return (left_right ? std::array{2, 7, 4, 5}
                     : std::array{4, 5, 2, 7})[static_cast<std::size_t>(quarters)];
}

// Coded frames may be a little larger than the picture: cells of a grid stick out, sides are
// rounded up.
std::uint64_t largest_frame(const avifImage& image) {
  constexpr std::uint64_t kRounding = 64;
  return (image.width + kRounding) * (image.height + kRounding) * 2;
}

// What libavif and the AV1 decoder take at most, by the pixel: the frame and two references in
// their planes, the planes of libavif's own (of a grid), the alpha of each; those in 8 bits; and
// the pixels handed over with alpha.
std::uint64_t working_bytes(const avifImage& image, bool has_alpha) {
  constexpr std::uint64_t kBase = 16 << 20;
  avifPixelFormatInfo info;
  avifGetPixelFormatInfo(image.yuvFormat, &info);
  // In halves of a sample, for 4:2:0.
  const std::uint64_t chroma = info.monochrome ? 0 : 4u >> (info.chromaShiftX + info.chromaShiftY);
  const std::uint64_t planes = 2 + chroma + (has_alpha ? 2 : 0);
  const std::uint64_t copies = image.depth > 8 ? 2 * 3 + 1 : 3;
  const std::uint64_t pixels = std::uint64_t{image.width} * image.height;
  return kBase + pixels * planes * copies / 2 + (has_alpha ? pixels * 4 : 0);
}

void allocate_planes(avifImage& image, bool alpha) {
  // Its result is new; planes that are not there say the same.
  (void)avifImageAllocatePlanes(&image, alpha ? AVIF_PLANES_YUV | AVIF_PLANES_A : AVIF_PLANES_YUV);
}

struct DestroyImage {
  void operator()(avifImage* image) const { avifImageDestroy(image); }
};
using Image = std::unique_ptr<avifImage, DestroyImage>;

// Deeper samples lose their low bits before they become RGB, as in Pillow's libavif; the alpha is
// rounded.
void shrink_plane(const std::uint8_t* in, std::uint32_t in_bytes, std::uint8_t* out,
                  std::uint32_t out_bytes, std::uint32_t width, std::uint32_t height,
                  std::uint32_t depth, bool alpha) {
  const std::uint32_t most = (1u << depth) - 1;
  for (std::uint32_t y = 0; y < height; ++y, in += in_bytes, out += out_bytes) {
    for (std::uint32_t x = 0; x < width; ++x) {
      std::uint16_t sample;
      std::memcpy(&sample, in + std::size_t{x} * 2, sizeof sample);
      out[x] = static_cast<std::uint8_t>(
          alpha ? (std::min<std::uint32_t>(sample, most) * 255 + most / 2) / most
                : sample >> (depth - 8));
    }
  }
}

Image in_8_bits(const Source& source, const avifImage& image) {
  Image small(avifImageCreate(image.width, image.height, 8, image.yuvFormat));
  if (small) {
    small->yuvRange = image.yuvRange;
    small->colorPrimaries = image.colorPrimaries;
    small->transferCharacteristics = image.transferCharacteristics;
    small->matrixCoefficients = image.matrixCoefficients;
    small->yuvChromaSamplePosition = image.yuvChromaSamplePosition;
    small->alphaPremultiplied = image.alphaPremultiplied;
    allocate_planes(*small, image.alphaPlane != nullptr);
  }
  if (!small || !small->yuvPlanes[0] || (image.alphaPlane && !small->alphaPlane))
    fail(source, kFormat, no_memory(image.width, image.height));
  avifPixelFormatInfo info;
  avifGetPixelFormatInfo(image.yuvFormat, &info);
  for (int plane = 0; plane < 3; ++plane) {
    if (!image.yuvPlanes[plane] || !small->yuvPlanes[plane]) continue;
    const auto shift_x = static_cast<std::uint32_t>(plane ? info.chromaShiftX : 0),
               shift_y = static_cast<std::uint32_t>(plane ? info.chromaShiftY : 0);
    shrink_plane(image.yuvPlanes[plane], image.yuvRowBytes[plane], small->yuvPlanes[plane],
                 small->yuvRowBytes[plane], (image.width + shift_x) >> shift_x,
                 (image.height + shift_y) >> shift_y, image.depth, false);
  }
  if (image.alphaPlane)
    shrink_plane(image.alphaPlane, image.alphaRowBytes, small->alphaPlane, small->alphaRowBytes,
                 image.width, image.height, image.depth, true);
  return small;
}

void read_pixels(const Source& source, avifDecoder& decoder, Decoded& decoded) {
  const Image small = decoder.image->depth > 8 ? in_8_bits(source, *decoder.image) : nullptr;
  const avifImage& image = small ? *small : *decoder.image;
  avifRGBImage rgb;
  avifRGBImageSetDefaults(&rgb, &image);
  const bool has_alpha = decoder.alphaPresent != AVIF_FALSE;
  rgb.depth = 8;
  rgb.format = has_alpha ? AVIF_RGB_FORMAT_RGBA : AVIF_RGB_FORMAT_RGB;
  std::vector<std::uint8_t> four(has_alpha ? decoded.rgb.pixels.size() / 3 * 4 : 0);
  rgb.pixels = has_alpha ? four.data() : decoded.rgb.pixels.data();
  rgb.rowBytes = image.width * (has_alpha ? 4 : 3);
  if (const avifResult result = avifImageYUVToRGB(&image, &rgb); result != AVIF_RESULT_OK)
    fail(source, kFormat, describe(result, decoder));
  if (has_alpha) split_alpha(four, decoded);
}

}  // namespace

Decoded decode_avif(const Source& source) {
  // First with any frame size, to learn the picture's; then held to it.
  Handle decoder = open(source, std::numeric_limits<std::uint32_t>::max());
  const avifImage& header = *decoder->image;
  const bool has_alpha = decoder->alphaPresent != AVIF_FALSE;
  check_size(source, kFormat, header.width, header.height);
  if (header.width > std::numeric_limits<std::uint32_t>::max() / 4)
    fail(source, kFormat, "its rows are too long");
  const std::uint32_t width = header.width, height = header.height;
  Decoded decoded = begin(source, kFormat, width, height, find_orientation(header),
                          working_bytes(header, has_alpha), has_alpha);
  if (source.header_only) return decoded;
  decoder = open(source, largest_frame(header));
  if (const avifResult result = avifDecoderNthImage(decoder.get(), 0); result != AVIF_RESULT_OK) {
    if (result == AVIF_RESULT_OUT_OF_MEMORY) fail(source, kFormat, no_memory(width, height));
    fail(source, kFormat, describe(result, *decoder));
  }
  if (decoder->image->width != width || decoder->image->height != height)
    fail(source, kFormat, "damaged: its frame has another size than its header says");
  read_pixels(source, *decoder, decoded);
  return decoded;
}

}  // namespace blip::image
