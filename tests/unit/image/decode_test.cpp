// Every kind of picture against Pillow, and what happens to those that are none.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "blip/error.h"
#include "image/formats.h"
#include "support.h"

namespace blip::image {
namespace {

// The error that decoding gives; "" = none.
std::string error_of(const std::string& bytes, const ImageLimits& limits = {}) {
  try {
    decode(bytes_of(bytes), "cat.img", limits);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kImage);
    return error.what();
  }
  return "";
}

void expect_error(const std::string& bytes, const std::string& part,
                  const ImageLimits& limits = {}) {
  const std::string error = error_of(bytes, limits);
  EXPECT_EQ(error.find("cat.img: "), 0u) << error;
  EXPECT_NE(error.find(part), std::string::npos) << error;
}

TEST(Golden, PicturesEqualPillows) {
  const std::vector<Picture> all = pictures();
  ASSERT_GE(all.size(), 150u);
  for (const Picture& picture : all) {
    SCOPED_TRACE(picture.file);
    const std::string bytes = read_all(case_file(picture.file));
    ASSERT_FALSE(bytes.empty());
    const Rgb rgb = decode(bytes_of(bytes), picture.file, {});
    EXPECT_EQ(rgb.width, picture.width);
    EXPECT_EQ(rgb.height, picture.height);
    ASSERT_EQ(rgb.pixels.size(), static_cast<std::size_t>(picture.width) *
                                     static_cast<std::size_t>(picture.height) * 3);
    EXPECT_EQ(hash(rgb.pixels), picture.hash);
  }
}

TEST(Decode, EightOrientationsAreTurnsOfOnePicture) {
  // The same pixels were saved with each EXIF value; 5 to 8 exchange the sides.
  const auto load = [](int orientation) {
    return decode(bytes_of(read_all(BLIP_TEST_DATA "/image/jpeg_exif" +
                                    std::to_string(orientation) + ".jpg")),
                  "x", {});
  };
  const Rgb upright = load(1);
  const int w = upright.width, h = upright.height;
  const auto at = [](const Rgb& rgb, int x, int y) {
    return rgb.pixels.data() + (y * rgb.width + x) * 3;
  };
  for (int orientation = 1; orientation <= 8; ++orientation) {
    SCOPED_TRACE(orientation);
    const Rgb turned = load(orientation);
    ASSERT_EQ(turned.width, orientation < 5 ? w : h);
    ASSERT_EQ(turned.height, orientation < 5 ? h : w);
    for (int y = 0; y < h; ++y) {
      for (int x = 0; x < w; ++x) {
        const int places[8][2] = {{x, y}, {w - 1 - x, y}, {w - 1 - x, h - 1 - y}, {x, h - 1 - y},
                                  {y, x}, {h - 1 - y, x}, {h - 1 - y, w - 1 - x}, {y, w - 1 - x}};
        const int* place = places[orientation - 1];
        ASSERT_TRUE(
            std::equal(at(upright, x, y), at(upright, x, y) + 3, at(turned, place[0], place[1])))
            << x << ", " << y;
      }
    }
  }
}

TEST(Decode, PixelLimitNamesTheOption) {
  std::set<std::string> kinds;
  for (const Picture& picture : pictures()) {
    const std::string kind = picture.file.substr(0, picture.file.find('_'));
    const std::string bytes = read_all(case_file(picture.file));
    const std::size_t pixels =
        static_cast<std::size_t>(picture.width) * static_cast<std::size_t>(picture.height);
    EXPECT_EQ(error_of(bytes, {.max_pixels = pixels}), "") << picture.file;
    if (pixels == 1) continue;
    expect_error(bytes,
                 "= " + std::to_string(pixels) + " pixels are more than the limit of " +
                     std::to_string(pixels - 1) + "; raise it with --max-pixels",
                 {.max_pixels = pixels - 1});
    kinds.insert(kind);
  }
  EXPECT_EQ(kinds.size(), 5u);
}

TEST(Decode, BombsAreRefusedBeforeTheyAreAllocated) {
  // 65500 x 65500 in a file of a few hundred bytes: the size is patched into the header.
  std::string jpeg = read_all(BLIP_TEST_DATA "/image/jpeg_444_q30.jpg");
  const std::size_t sof = jpeg.find("\xff\xc0");
  jpeg.replace(sof + 5, 4, "\xff\xdc\xff\xdc");
  expect_error(jpeg,
               "65500 x 65500 = 4290250000 pixels are more than the limit of 178956970; raise it "
               "with --max-pixels");
  std::string gif = read_all(BLIP_TEST_DATA "/image/gif_global.gif");
  gif.replace(6, 4, "\xff\xff\xff\xff");
  expect_error(gif, "65535 x 65535 = 4294836225 pixels are more than the limit");
  std::string bmp = read_all(BLIP_TEST_DATA "/image/bmp_rle8.bmp");
  bmp.replace(18, 8, std::string("\xff\xff\xff\x7f\xff\xff\xff\x7f", 8));
  expect_error(bmp, "2147483647 x 2147483647");
  // Raw pixels that the file cannot hold are found out without the limit, too.
  bmp = read_all(BLIP_TEST_DATA "/image/bmp_h40_b24.bmp");
  bmp.replace(18, 8, std::string("\xff\xff\xff\x0f\xff\xff\xff\x0f", 8));
  expect_error(bmp, "the file is truncated", {.max_pixels = 0});
}

// The 35 bytes of a GIF whose screen is `side` pixels wide and high, around a frame of one pixel.
std::string small_gif(int side) {
  const char low = static_cast<char>(side & 255), high = static_cast<char>(side >> 8);
  std::string gif = std::string("GIF89a") + low + high + low + high;
  gif += std::string("\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\1\0\1\0\0\2\2\x44\1\0;", 25);
  return gif;
}

TEST(Decode, AScreenFarLargerThanItsFileIsRefused) {
  EXPECT_EQ(error_of(small_gif(4096)), "");
  expect_error(small_gif(13'000),
               "GIF: a screen of 169000000 pixels around a frame of 1, far more than a file of 35 "
               "bytes is for; refused");
  // a frame that the file cannot fill
  std::string gif = read_all(BLIP_TEST_DATA "/image/gif_global.gif");
  gif.replace(gif.find(std::string(",\0\0\0\0\x1f\0", 7)) + 5, 4,
              std::string("\x88\x33\x88\x33", 4));
  expect_error(gif, "GIF: the file is truncated");
}

TEST(Decode, MemoryLimitNamesTheOption) {
  for (const Picture& picture : pictures()) {
    const std::string bytes = read_all(case_file(picture.file));
    const Header header = inspect(bytes_of(bytes), "cat.img", {});
    EXPECT_EQ(error_of(bytes, {.max_memory = header.decode_bytes}), "") << picture.file;
    expect_error(bytes, "more than the limit of", {.max_memory = header.decode_bytes - 1});
    expect_error(bytes, "raise it with --max-memory", {.max_memory = header.decode_bytes - 1});
  }
}

TEST(Inspect, SizesAreThoseOfThePixels) {
  for (const Picture& picture : pictures()) {
    SCOPED_TRACE(picture.file);
    const std::string bytes = read_all(case_file(picture.file));
    const Header header = inspect(bytes_of(bytes), "cat.img", {});
    EXPECT_EQ(header.width, picture.width);
    EXPECT_EQ(header.height, picture.height);
    EXPECT_GE(header.decode_bytes, static_cast<std::size_t>(picture.width) *
                                       static_cast<std::size_t>(picture.height) * 3);
  }
  EXPECT_STREQ(
      inspect(bytes_of(read_all(BLIP_TEST_DATA "/image/webp_rgb_lossy.webp")), "x", {}).format,
      "WebP");
}

TEST(Inspect, CountsWhatTheKindOfPictureTakes) {
  const auto bytes_for = [](const char* name) {
    std::string jpeg = read_all(std::string(BLIP_TEST_DATA "/image/") + name);
    const std::size_t frame = jpeg.find(
        std::string("\xff") +
        (std::string_view(name).find("progressive") == std::string_view::npos ? "\xc0" : "\xc2"));
    jpeg.replace(frame + 5, 4, std::string("\x1f\x40\x1f\x40", 4));  // 8000 x 8000
    return inspect(bytes_of(jpeg), "x", {}).decode_bytes;
  };
  const std::size_t pixels = 8000 * 8000;
  EXPECT_LT(bytes_for("jpeg_444_q30.jpg"), pixels * 33 / 10);
  EXPECT_GT(bytes_for("jpeg_444_progressive.jpg"),
            pixels * 9);  // 2 bytes for each of 3 x 64 coefficients of a block
  EXPECT_GT(bytes_for("jpeg_420_progressive.jpg"), pixels * 6);
  EXPECT_LT(bytes_for("jpeg_420_progressive.jpg"), pixels * 64 / 10);
  EXPECT_GT(bytes_for("jpeg_exif6.jpg"), pixels * 6);        // turned into a second picture
  EXPECT_LT(bytes_for("jpeg_exif3.jpg"), pixels * 33 / 10);  // in place
}

TEST(Decode, ManyCompressedTextsAreNotUnpacked) {
  std::string png = read_all(BLIP_TEST_DATA "/image/png_xmp_z.png");
  const std::size_t text =
      png.find("iTXt") == std::string::npos ? png.find("zTXt") : png.find("iTXt");
  ASSERT_NE(text, std::string::npos);
  const std::string chunk =
      png.substr(text - 4, 12 + static_cast<unsigned char>(png[text - 1]) +
                               256u * static_cast<unsigned char>(png[text - 2]));
  const Rgb plain = decode(bytes_of(png), "x", {});
  std::string many;
  for (int i = 0; i < 100'000; ++i) many += chunk;  // 200 s at 2 ms each
  const Rgb rgb = decode(bytes_of(png.insert(text - 4, many)), "x", {});
  EXPECT_EQ(rgb.pixels, plain.pixels);
  EXPECT_EQ(rgb.width, plain.width);
}

TEST(Decode, EncodedSizeLimit) {
  const std::string bytes = read_all(BLIP_TEST_DATA "/image/png_c2_d8_i0.png");
  EXPECT_EQ(error_of(bytes, {.max_bytes = bytes.size()}), "");
  EXPECT_EQ(error_of(bytes, {.max_bytes = 0}), "");
  expect_error(bytes, "bytes are more than the limit of " + std::to_string(bytes.size() - 1),
               {.max_bytes = bytes.size() - 1});
}

TEST(Decode, WhatIsNoPictureSaysSo) {
  expect_error("", "the file is empty");
  expect_error("hello", "not a picture that can be read (" + readable_formats() +
                            "): its first bytes are of none of these");
  EXPECT_EQ(readable_formats().find("JPEG, PNG, "), 0u);
  expect_error(std::string("\0\0\0\x14"
                           "ftypisom\0\0\0\0mp42",
                           20),
               "it looks like a video");
  expect_error("8BPS....", "it looks like Photoshop");
  expect_error("%PDF-1.7", "it looks like PDF");
  expect_error("<svg/>", "SVG");
}

TEST(Decode, FormatIsFoundByContent) {
  const std::string jpeg = read_all(BLIP_TEST_DATA "/image/jpeg_gray.jpg");
  EXPECT_NO_THROW(decode(bytes_of(jpeg), "wrong.png", {}));
}

TEST(Decode, EmptyPictures) {
  std::string gif = read_all(BLIP_TEST_DATA "/image/gif_global.gif");
  const std::size_t frame = gif.find(std::string(",\0\0\0\0\x1f\0", 7));
  ASSERT_NE(frame, std::string::npos);
  gif[frame + 5] = 0;
  expect_error(gif, "GIF: the first frame is empty");
  std::string bmp = read_all(BLIP_TEST_DATA "/image/bmp_h40_b24.bmp");
  bmp.replace(18, 4, 4, '\0');
  expect_error(bmp, "BMP: the picture is empty (0 x 9 pixels)");
  std::string jpeg = read_all(BLIP_TEST_DATA "/image/jpeg_gray.jpg");
  jpeg.replace(jpeg.find("\xff\xc0") + 5, 2, 2, '\0');
  expect_error(jpeg, "JPEG: damaged: ");
}

// Whatever the file, cutting it short gives an error that names file and format, or the whole
// picture where only bytes after the pixels are missing.
TEST(Decode, TruncatedFiles) {
  for (const Picture& picture : pictures()) {
    const std::string bytes = read_all(case_file(picture.file));
    const std::size_t step = std::max<std::size_t>(1, bytes.size() / 40);
    for (std::size_t size = 1; size < bytes.size(); size += step) {
      SCOPED_TRACE(picture.file + " cut to " + std::to_string(size));
      const std::string part = bytes.substr(0, size);
      try {
        const Rgb rgb = decode(bytes_of(part), "cat.img", {});
        EXPECT_GT(size, bytes.size() / 3);  // an animation may end after its first frame
        EXPECT_EQ(rgb.width * rgb.height, picture.width * picture.height);
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kImage);
        EXPECT_EQ(std::string(error.what()).find("cat.img: "), 0u) << error.what();
      }
    }
  }
  const std::string jpeg = read_all(BLIP_TEST_DATA "/image/jpeg_420_q95.jpg");
  expect_error(jpeg.substr(0, jpeg.size() / 2), "JPEG: the file is truncated");
  const std::string webp = read_all(BLIP_TEST_DATA "/image/webp_rgb_lossy.webp");
  expect_error(webp.substr(0, webp.size() / 2), "WebP: the file is truncated");
  const std::string bmp = read_all(BLIP_TEST_DATA "/image/bmp_h40_b24.bmp");
  expect_error(bmp.substr(0, bmp.size() - 9), "BMP: the file is truncated");
  const std::string gif = read_all(BLIP_TEST_DATA "/image/gif_global.gif");
  expect_error(gif.substr(0, gif.size() / 2), "GIF: the file is truncated");
  const std::string png = read_all(BLIP_TEST_DATA "/image/png_c2_d8_i0.png");
  expect_error(png.substr(0, png.size() / 2), "PNG: damaged: the file is truncated");
}

// Bytes at random: an error or a picture, never anything else. Run with sanitizers this finds the
// rest.
TEST(Decode, DamagedFiles) {
  std::uint32_t state = 7;
  const auto random = [&state](std::size_t below) {
    state = state * 1664525u + 1013904223u;
    return (state >> 8) % below;
  };
  int errors = 0, decoded = 0;
  for (const Picture& picture : pictures()) {
    const std::string bytes = read_all(case_file(picture.file));
    for (int round = 0; round < 20; ++round) {
      std::string damaged = bytes;
      for (int i = 0; i < 3; ++i) damaged[random(damaged.size())] = static_cast<char>(random(256));
      try {
        const Rgb rgb = decode(bytes_of(damaged), "cat.img", {.max_pixels = 1 << 20});
        ASSERT_EQ(rgb.pixels.size(),
                  static_cast<std::size_t>(rgb.width) * static_cast<std::size_t>(rgb.height) * 3);
        ++decoded;
      } catch (const Error& error) {
        ASSERT_EQ(error.code(), ErrorCode::kImage);
        ++errors;
      }
    }
  }
  EXPECT_GT(errors, 100);
  EXPECT_GT(decoded, 100);
}

}  // namespace
}  // namespace blip::image
