// HEIF (HEIC) through libheif: the primary picture, turned, mirrored and cropped as its boxes say,
// in 8 bits. EXIF has no say in which way is up.
#include <libheif/heif.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string>

#include "blip/error.h"
#include "image/decoder.h"
#include "image/formats.h"
#include "image/heif_items.h"
#include "image/hevc.h"

namespace blip::image {
namespace {

constexpr const char* kFormat = "HEIF";

struct Release {
  void operator()(heif_context* context) const { heif_context_free(context); }
  void operator()(heif_image_handle* handle) const { heif_image_handle_release(handle); }
  void operator()(heif_image* image) const { heif_image_release(image); }
  void operator()(heif_decoding_options* options) const { heif_decoding_options_free(options); }
};
template <class T>
using Owned = std::unique_ptr<T, Release>;

void check(const Source& source, const heif_error& error) {
  if (error.code == heif_error_Ok) return;
  if (error.subcode == heif_suberror_End_of_data) fail(source, kFormat, "the file is truncated");
  fail(source, kFormat,
       std::string("damaged: ") + (error.message ? error.message : "unknown error"));
}

bool is_hevc(const std::string& type) { return type == "hvc1" || type == "hev1"; }

// libheif follows whatever refers to whatever; only pictures and grids of pictures go through to
// it.
void check_coding(const Source& source, const HeifItems& items, std::uint32_t item) {
  for (const std::string& type : items.coded_types(item)) {
    if (is_hevc(type)) continue;
    fail(source, kFormat,
         "a picture coded as \"" + type +
             "\" cannot be read, HEVC can; convert the picture to PNG or JPEG");
  }
}

bool is_av1(const HeifItems& items) {
  const std::vector<std::string> types = items.coded_types(items.primary);
  return !types.empty() && std::all_of(types.begin(), types.end(),
                                       [](const std::string& type) { return type == "av01"; });
}

// By the pixel: two frames of the decoder in its own depth (not of a grid, whose cells are small),
// libheif's copy in 8 bits and the one it turns, the alpha beside them, and the pixels it hands
// over.
std::uint64_t working_bytes(const HeifItems& items, std::uint64_t pixels, int depth, bool has_alpha,
                            bool four) {
  constexpr std::uint64_t kBase = 16 << 20;
  // In halves of a sample.
  static constexpr std::array<std::uint64_t, 4> kPlanes = {2, 3, 4, 6};
  const std::uint64_t planes =
      kPlanes[static_cast<std::size_t>(items.chroma)] + (has_alpha ? 2 : 0);
  const std::uint64_t decoder = items.is_grid() ? 0 : depth > 8 ? 4 : 2;
  return kBase + pixels * planes * (decoder + 2) / 2 + pixels * (four ? 4 : 3);
}

void copy_pixels(const heif_image* image, bool four, Decoded& decoded) {
  int stride = 0;
  const std::uint8_t* rows =
      heif_image_get_plane_readonly(image, heif_channel_interleaved, &stride);
  const auto width = static_cast<std::size_t>(decoded.width);
  for (std::size_t y = 0; y < decoded.height; ++y) {
    const std::uint8_t* from = rows + y * static_cast<std::size_t>(stride);
    std::uint8_t* to = decoded.rgb.pixels.data() + y * width * 3;
    for (std::size_t x = 0; x < width; ++x, from += four ? 4 : 3, to += 3) {
      std::copy_n(from, 3, to);
      if (four && !decoded.alpha.empty()) decoded.alpha[y * width + x] = from[3];
    }
  }
}

Owned<heif_image> decode_primary(const Source& source, const heif_image_handle* handle,
                                 std::uint64_t width, std::uint64_t height, bool four) {
  const Owned<heif_decoding_options> options(heif_decoding_options_alloc());
  const char* decoder = hevc_decoder_id();
  if (!options || !decoder || options->version < 4)
    fail(source, kFormat, "this libheif takes no decoder of ours");
  options->convert_hdr_to_8bit = 1;
  options->decoder_id = decoder;
  // Frames are rounded up, cells of a grid stick out; a frame is held twice or three times while it
  // is filtered.
  constexpr std::uint64_t kRounding = 1024;
  const std::uint64_t most = (width + kRounding) * (height + kRounding);
  const HevcBudget budget(3 * most, 8 * most);
  heif_image* made = nullptr;
  const heif_error error = heif_decode_image(
      handle, &made, heif_colorspace_RGB,
      four ? heif_chroma_interleaved_RGBA : heif_chroma_interleaved_RGB, options.get());
  Owned<heif_image> image(made);
  if (budget.is_exhausted())
    fail(source, kFormat,
         "damaged: its coded frames are far larger, or far more, than the picture needs");
  if (error.code == heif_error_Memory_allocation_error)
    fail(source, kFormat, no_memory(width, height));
  check(source, error);
  return image;
}

}  // namespace

Decoded decode_heif(const Source& source) {
  const std::optional<HeifItems> items = read_heif_items(source.bytes);
  if (!items) fail(source, kFormat, "damaged: its boxes are cut short, or name no picture");
  if (is_av1(*items)) {  // AVIF under a general name
    const Format* avif = find_format_by_name("AVIF");
    if (!avif->decoder) fail(source, avif->name, why_unreadable(*avif));
    return avif->decoder(source);
  }
  check_coding(source, *items, items->primary);
  const Owned<heif_context> context(heif_context_alloc());
  if (!context) fail(source, kFormat, "not enough memory to open it");
  heif_context_set_max_decoding_threads(context.get(),
                                        0);  // on this thread, which the budget is for
  constexpr int kAnySide = 1 << 30;
  heif_context_set_maximum_image_size_limit(context.get(),
                                            kAnySide);  // our own limit comes before any pixel
  check(source, heif_context_read_from_memory_without_copy(context.get(), source.bytes.data(),
                                                           source.bytes.size(), nullptr));
  heif_image_handle* found = nullptr;
  check(source, heif_context_get_primary_image_handle(context.get(), &found));
  const Owned<heif_image_handle> handle(found);
  const int given_width = heif_image_handle_get_width(handle.get()),
            given_height = heif_image_handle_get_height(handle.get());
  const auto width = static_cast<std::uint64_t>(std::max(0, given_width)),
             height = static_cast<std::uint64_t>(std::max(0, given_height));
  check_size(source, kFormat, width, height);
  const bool has_alpha = heif_image_handle_has_alpha_channel(handle.get()) != 0,
             four = has_alpha && source.want_alpha;
  if (has_alpha)
    for (const std::uint32_t item : items->auxiliaries()) check_coding(source, *items, item);
  const int depth = heif_image_handle_get_luma_bits_per_pixel(handle.get());
  Decoded decoded = begin(source, kFormat, width, height, 1,
                          working_bytes(*items, width * height, depth, has_alpha, four), has_alpha);
  if (source.header_only) return decoded;
  const Owned<heif_image> image = decode_primary(source, handle.get(), width, height, four);
  if (heif_image_get_primary_width(image.get()) != given_width ||
      heif_image_get_primary_height(image.get()) != given_height)
    fail(source, kFormat, "damaged: its picture has another size than its boxes say");
  copy_pixels(image.get(), four, decoded);
  return decoded;
}

}  // namespace blip::image
