// AVIF through libavif, with Pillow's settings: the picture, or a sequence's first frame, in 8 bits.
#include <avif/avif.h>

#include <algorithm>
#include <array>
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

// Reads the header. The decoder refuses coded frames of more than `frame_pixels`, whatever the file's header says.
Handle open(const Source& source, std::uint64_t frame_pixels) {
  Handle decoder(avifDecoderCreate());
  if (!decoder) fail(source, kFormat, "not enough memory to open it");
  decoder->maxThreads = 1;
  decoder->ignoreExif = AVIF_TRUE;  // AVIF says by properties of its own which way is up, and these alone count
  decoder->ignoreXMP = AVIF_TRUE;
  decoder->imageCountLimit = kMaxFrames;
  decoder->imageDimensionLimit = 0;  // our own limits follow
  decoder->imageSizeLimit = static_cast<std::uint32_t>(std::clamp<std::uint64_t>(frame_pixels, 1, AVIF_DEFAULT_IMAGE_SIZE_LIMIT));
  // As Pillow: files that other encoders wrote a little wrong are read.
  decoder->strictFlags &= ~static_cast<avifStrictFlags>(AVIF_STRICT_CLAP_VALID | AVIF_STRICT_PIXI_REQUIRED);
  avifResult result = avifDecoderSetIOMemory(decoder.get(), reinterpret_cast<const std::uint8_t*>(source.bytes.data()), source.bytes.size());
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

// The EXIF number for the turns and mirrors that the file asks for: first the turn, against the clock, then the mirror.
int find_orientation(const avifImage& image) {
  const bool turned = image.transformFlags & AVIF_TRANSFORM_IROT, mirrored = image.transformFlags & AVIF_TRANSFORM_IMIR;
  const int quarters = turned ? image.irot.angle & 3 : 0;
  if (!mirrored) return std::array{1, 8, 3, 6}[static_cast<std::size_t>(quarters)];
  const bool left_right = mirror_axis(image) == 1;
  return (left_right ? std::array{2, 7, 4, 5} : std::array{4, 5, 2, 7})[static_cast<std::size_t>(quarters)];
}

// Coded frames may be a little larger than the picture: cells of a grid stick out, sides are rounded up.
std::uint64_t largest_frame(const avifImage& image) {
  constexpr std::uint64_t kRounding = 64;
  return (image.width + kRounding) * (image.height + kRounding) * 2;
}

// What libavif and the AV1 decoder take at most, by the pixel: the frame and two references in their planes, the planes of
// libavif's own (of a grid), the alpha of each; and the pixels handed over with alpha.
std::uint64_t working_bytes(const avifImage& image, bool has_alpha) {
  constexpr std::uint64_t kBase = 16 << 20;
  avifPixelFormatInfo info;
  avifGetPixelFormatInfo(image.yuvFormat, &info);
  // In halves of a sample, for 4:2:0.
  const std::uint64_t chroma = info.monochrome ? 0 : 4u >> (info.chromaShiftX + info.chromaShiftY);
  const std::uint64_t planes = (2 + chroma + (has_alpha ? 2 : 0)) * (image.depth > 8 ? 2 : 1);
  const std::uint64_t pixels = std::uint64_t{image.width} * image.height;
  return kBase + pixels * planes * 3 / 2 + (has_alpha ? pixels * 4 : 0);
}

void read_pixels(const Source& source, avifDecoder& decoder, Decoded& decoded) {
  const avifImage& image = *decoder.image;
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
  if (header.width > std::numeric_limits<std::uint32_t>::max() / 4) fail(source, kFormat, "its rows are too long");
  const std::uint32_t width = header.width, height = header.height;
  Decoded decoded = begin(source, kFormat, width, height, find_orientation(header), working_bytes(header, has_alpha), has_alpha);
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
