// The portable decoders (image/stb.cpp), compiled here under other names beside the ones that this
// build uses.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "blip/error.h"
#include "image/decoder.h"
#include "image/exif.h"
#include "image/formats.h"
#include "support.h"

namespace {

// By this build's own decoder, before its name means another.
blip::image::Decoded decode_rgba(const std::string& bytes, const std::string& name) {
  const blip::ImageLimits limits;
  return blip::image::decode_png({blip::image::bytes_of(bytes), name, limits, false, true});
}

}  // namespace

#define decode_jpeg stb_jpeg
#define decode_png stb_png
#include "image/stb.cpp"  // NOLINT: its functions under the names above

namespace blip::image {
namespace {

Rgb portable(const std::string& bytes, const std::string& name, const ImageLimits& limits = {}) {
  const auto decoder = name.starts_with("jpeg") ? stb_jpeg : stb_png;
  Decoded decoded = decoder({bytes_of(bytes), name, limits});
  return apply_orientation(std::move(decoded.rgb), decoded.orientation);
}

std::string error_of(const std::string& bytes, const std::string& name,
                     const ImageLimits& limits = {}) {
  try {
    portable(bytes, name, limits);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kImage);
    return error.what();
  }
  return "";
}

TEST(PortableDecoder, PngEqualsPillow) {
  int count = 0;
  for (const Picture& picture : pictures()) {
    if (!picture.file.starts_with("png")) continue;
    SCOPED_TRACE(picture.file);
    const Rgb rgb = portable(read_all(case_file(picture.file)), picture.file);
    EXPECT_EQ(rgb.width, picture.width);
    EXPECT_EQ(rgb.height, picture.height);
    EXPECT_EQ(hash(rgb.pixels), picture.hash);
    ++count;
  }
  EXPECT_GE(count, 20);
}

TEST(PortableDecoder, JpegIsWithinAFewLevels) {
  int count = 0;
  for (const Picture& picture : pictures()) {
    if (!picture.file.starts_with("jpeg")) continue;
    SCOPED_TRACE(picture.file);
    const std::string bytes = read_all(case_file(picture.file));
    if (picture.file.find("cmyk") != std::string::npos ||
        picture.file.find("ycck") != std::string::npos) {
      EXPECT_EQ(
          error_of(bytes, picture.file),
          picture.file + ": JPEG: 4 colour components; this build has no libjpeg and reads 1 or 3");
      continue;
    }
    const Rgb expected = decode(bytes_of(bytes), picture.file, {}),
              rgb = portable(bytes, picture.file);
    ASSERT_EQ(rgb.width, expected.width);
    ASSERT_EQ(rgb.height, expected.height);
    int largest = 0;
    double sum = 0;
    for (std::size_t i = 0; i < rgb.pixels.size(); ++i) {
      const int difference = std::abs(rgb.pixels[i] - expected.pixels[i]);
      largest = std::max(largest, difference);
      sum += difference;
    }
    EXPECT_LE(largest, 8);
    EXPECT_LE(sum / static_cast<double>(rgb.pixels.size()), 1.0);
    ++count;
  }
  EXPECT_GE(count, 20);
}

TEST(PortableDecoder, TruncatedFilesAreRefused) {
  for (const char* name : {"jpeg_420_q30.jpg", "jpeg_420_progressive.jpg", "jpeg_gray.jpg",
                           "png_c2_d8_i0.png", "png_c3_d4_i1.png"}) {
    const std::string bytes = read_all(BLIP_TEST_DATA "/image/" + std::string(name));
    ASSERT_FALSE(bytes.empty()) << name;
    // up to the end mark
    const std::size_t needed = bytes.size() - (std::string(name).starts_with("png") ? 12 : 2);
    for (std::size_t size = 4; size < needed; size += 7)
      EXPECT_NE(error_of(bytes.substr(0, size), name), "") << name << " cut to " << size;
  }
  const std::string jpeg = read_all(BLIP_TEST_DATA "/image/jpeg_gray.jpg");
  EXPECT_EQ(error_of(jpeg.substr(0, jpeg.size() / 2), "jpeg"), "jpeg: JPEG: the file is truncated");
}

TEST(PortableDecoder, LimitsComeFirst) {
  std::string jpeg = read_all(BLIP_TEST_DATA "/image/jpeg_444_q30.jpg");
  jpeg.replace(jpeg.find("\xff\xc0") + 5, 4, "\xff\xdc\xff\xdc");
  EXPECT_NE(error_of(jpeg, "jpeg")
                .find("65500 x 65500 = 4290250000 pixels are more than the limit of 178956970; "
                      "raise it with --max-pixels"),
            std::string::npos);
  const std::string png = read_all(BLIP_TEST_DATA "/image/png_c2_d8_i0.png");
  EXPECT_NE(error_of(png, "png", {.max_pixels = 1}).find("more than the limit of 1"),
            std::string::npos);
}

TEST(PortableDecoder, SaysThatWebPIsLeftOut) {
  EXPECT_EQ(why_unreadable(*find_format_by_name("WebP")),
            "this build has no libwebp; convert the picture to PNG or JPEG");
}

TEST(PortableDecoder, GivesTheAlphaOfPng) {
  const std::string bytes = read_all(BLIP_TEST_DATA "/image/formats/over_rgba.png"),
                    name = "over_rgba.png";
  const ImageLimits limits;
  const Decoded ours = stb_png({bytes_of(bytes), name, limits, false, true}),
                libpngs = decode_rgba(bytes, name);
  EXPECT_EQ(ours.rgb.pixels, libpngs.rgb.pixels);
  EXPECT_EQ(ours.alpha, libpngs.alpha);
  EXPECT_EQ(ours.alpha.size() * 3, ours.rgb.pixels.size());
}

}  // namespace
}  // namespace blip::image
