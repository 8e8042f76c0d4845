#include "image/hevc.h"

#include <libde265/de265.h>
#include <libheif/heif.h>
#include <libheif/heif_plugin.h>

#include <cstring>
#include <memory>

#include "image/bytes.h"

namespace blip::image {
namespace {

constexpr const char* kId = "blip-libde265";

thread_local HevcBudget* budget = nullptr;

constexpr heif_error kGood = {heif_error_Ok, heif_suberror_Unspecified, "Success"};

heif_error failure(const char* message) {
  return {heif_error_Decoder_plugin_error, heif_suberror_Unspecified, message};
}

std::uint64_t pixels_of(int width, int height) {
  return static_cast<std::uint64_t>(width > 0 ? width : 0) *
         static_cast<std::uint64_t>(height > 0 ? height : 0);
}

int get_buffer(de265_decoder_context* context, de265_image_spec* spec, de265_image* image,
               void* user) {
  const std::uint64_t pixels = pixels_of(spec->width, spec->height);
  if (!budget || !budget->take(pixels)) return 0;
  const int good =
      de265_get_default_image_allocation_functions()->get_buffer(context, spec, image, user);
  if (!good) budget->give_back(pixels);
  return good;
}

void release_buffer(de265_decoder_context* context, de265_image* image, void* user) {
  if (budget)
    budget->give_back(pixels_of(de265_get_image_width(image, 0), de265_get_image_height(image, 0)));
  de265_get_default_image_allocation_functions()->release_buffer(context, image, user);
}

struct Release {
  void operator()(heif_image* image) const { heif_image_release(image); }
  void operator()(heif_color_profile_nclx* profile) const { heif_nclx_color_profile_free(profile); }
};
using Picture = std::unique_ptr<heif_image, Release>;

// A row of samples in 8 bits. Deeper ones lose their low bits before anything is converted, as in
// later versions of libheif.
void copy_row(const std::uint8_t* in, std::uint8_t* out, int width, int bits) {
  if (bits <= 8) {
    std::memcpy(out, in, static_cast<std::size_t>(width));
    return;
  }
  for (int x = 0; x < width; ++x) {
    std::uint16_t sample;
    std::memcpy(&sample, in + std::ptrdiff_t{x} * 2, sizeof sample);
    out[x] = static_cast<std::uint8_t>(sample >> (bits - 8));
  }
}

bool copy_plane(const de265_image* from, int plane, heif_channel channel, heif_image* to) {
  const int width = de265_get_image_width(from, plane),
            height = de265_get_image_height(from, plane);
  const int bits = de265_get_bits_per_pixel(from, plane);
  int in_stride = 0, out_stride = 0;
  const std::uint8_t* in = de265_get_image_plane(from, plane, &in_stride);
  if (!in || width < 1 || height < 1) return false;
  if (heif_image_add_plane(to, channel, width, height, 8).code != heif_error_Ok) return false;
  std::uint8_t* out = heif_image_get_plane(to, channel, &out_stride);
  if (!out) return false;
  for (int y = 0; y < height; ++y)
    copy_row(in + std::ptrdiff_t{y} * in_stride, out + std::ptrdiff_t{y} * out_stride, width, bits);
  return true;
}

// What the stream says of its colours; a colour box of the file goes before it, which libheif sees
// to.
void copy_colours(const de265_image* from, heif_image* to) {
  const std::unique_ptr<heif_color_profile_nclx, Release> profile(heif_nclx_color_profile_alloc());
  if (!profile) return;
  heif_nclx_color_profile_set_color_primaries(
      profile.get(), static_cast<std::uint16_t>(de265_get_image_colour_primaries(from)));
  heif_nclx_color_profile_set_transfer_characteristics(
      profile.get(), static_cast<std::uint16_t>(de265_get_image_transfer_characteristics(from)));
  heif_nclx_color_profile_set_matrix_coefficients(
      profile.get(), static_cast<std::uint16_t>(de265_get_image_matrix_coefficients(from)));
  profile->full_range_flag = de265_get_image_full_range_flag(from) != 0;
  heif_image_set_nclx_color_profile(to, profile.get());
}

// nullptr: an odd picture, or no memory.
heif_image* convert(const de265_image* from) {
  const de265_chroma chroma = de265_get_chroma_format(from);
  const bool grey = chroma == de265_chroma_mono;
  heif_image* made = nullptr;
  const heif_error error =
      heif_image_create(de265_get_image_width(from, 0), de265_get_image_height(from, 0),
                        grey ? heif_colorspace_monochrome : heif_colorspace_YCbCr,
                        static_cast<heif_chroma>(chroma), &made);
  if (error.code != heif_error_Ok) return nullptr;
  Picture picture(made);
  constexpr heif_channel kChannels[] = {heif_channel_Y, heif_channel_Cb, heif_channel_Cr};
  for (int plane = 0; plane < (grey ? 1 : 3); ++plane)
    if (!copy_plane(from, plane, kChannels[plane], picture.get())) return nullptr;
  copy_colours(from, picture.get());
  return picture.release();
}

// The functions that libheif calls.

const char* plugin_name() { return "libde265, within blip's limits"; }

// The lowest there is: others that use libheif in this process keep their own.
int supports(heif_compression_format format) { return format == heif_compression_HEVC ? 1 : 0; }

heif_error make_decoder(void** decoder) {
  de265_decoder_context* context = de265_new_decoder();
  if (!context) return failure("no memory for a decoder");
  de265_image_allocation allocation = {get_buffer, release_buffer};
  de265_set_image_allocation_functions(context, &allocation, nullptr);
  *decoder = context;
  return kGood;
}

void free_decoder(void* decoder) { de265_free_decoder(decoder); }

// Units of the stream, each after its length.
heif_error push(void* decoder, const void* data, std::size_t size) {
  Bytes rest(static_cast<const std::byte*>(data), size);
  while (!rest.empty()) {
    const auto length = read_u32(rest, 0, Endian::kBig);
    const Bytes unit = slice(rest, 4, length.value_or(0));
    if (!length || unit.size() < *length)
      return failure("a unit of its stream is longer than the stream");
    if (!unit.empty())
      de265_push_NAL(decoder, unit.data(), static_cast<int>(unit.size()), 0, nullptr);
    rest = rest.subspan(4 + unit.size());
  }
  return kGood;
}

heif_error decode(void* decoder, heif_image** out) {
  *out = nullptr;
  if (de265_flush_data(decoder) != DE265_OK) return failure("its stream cannot be decoded");
  for (int more = 1; more;) {
    more = 0;
    const de265_error error = de265_decode(decoder, &more);
    if (const de265_image* image = de265_get_next_picture(decoder)) {
      *out = convert(image);
      de265_release_next_picture(decoder);
      return *out ? kGood : failure("no memory for its picture");
    }
    if (error != DE265_OK) return failure(de265_get_error_text(error));
  }
  return failure("its stream holds no picture");
}

void set_strict(void*, int) {}

heif_decoder_plugin make_plugin() {
  heif_decoder_plugin plugin = {};
  plugin.plugin_api_version = 3;
  plugin.get_plugin_name = plugin_name;
  plugin.does_support_format = supports;
  plugin.new_decoder = make_decoder;
  plugin.free_decoder = free_decoder;
  plugin.push_data = push;
  plugin.decode_image = decode;
  plugin.set_strict_decoding = set_strict;
  plugin.id_name = kId;
  return plugin;
}

}  // namespace

HevcBudget::HevcBudget(std::uint64_t at_a_time, std::uint64_t in_all)
    : free_(at_a_time), left_(in_all) {
  budget = this;
}
HevcBudget::~HevcBudget() { budget = nullptr; }

bool HevcBudget::take(std::uint64_t pixels) {
  if (pixels > free_ || pixels > left_) {
    exhausted_ = true;
    return false;
  }
  free_ -= pixels;
  left_ -= pixels;
  return true;
}

const char* hevc_decoder_id() {
  static const heif_decoder_plugin plugin = make_plugin();
  static const bool registered = heif_register_decoder_plugin(&plugin).code == heif_error_Ok;
  return registered ? kId : nullptr;
}

}  // namespace blip::image
