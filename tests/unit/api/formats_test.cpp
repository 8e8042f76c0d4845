// The formats of pictures as users of the library see them, and .npy.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <string_view>

#include "blip/blip.h"

namespace blip {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

TEST(ImageFormats, AreFoundByContent) {
  std::ifstream file(BLIP_TEST_DATA "/image/jpeg_exif6.jpg", std::ios::binary);
  const std::string jpeg(std::istreambuf_iterator<char>(file), {});
  const auto format = image_format_of(bytes_of(jpeg).first(kImageHeadBytes));
  ASSERT_TRUE(format.has_value());
  EXPECT_EQ(format->name, "JPEG");
  EXPECT_EQ(format->media_types.front(), "image/jpeg");
  EXPECT_TRUE(format->readable);
  EXPECT_EQ(image_format_of(bytes_of("GIF89a"))->name, "GIF");
  EXPECT_FALSE(image_format_of(bytes_of("%PDF-1.7")).has_value());
  EXPECT_FALSE(image_format_of(bytes_of("8BPS")).has_value());  // no build reads Photoshop's
  EXPECT_FALSE(image_format_of({}).has_value());
}

// Every one that is listed is found by each of its endings.
TEST(ImageFormats, EndingsChooseFiles) {
  for (const ImageFormat& format : image_formats())
    for (const std::string& ending : format.endings)
      EXPECT_TRUE(has_image_ending("folder.d/a" + ending)) << ending;
  EXPECT_TRUE(has_image_ending("A.JPG"));
  EXPECT_TRUE(has_image_ending("a.psd"));  // no build reads it: it is for the user to know
  EXPECT_FALSE(has_image_ending("a.txt"));
  EXPECT_FALSE(has_image_ending("jpg"));
  EXPECT_FALSE(has_image_ending(""));
}

TEST(ImageFormats, DocumentsAndTextsAreNoPictures) {
  EXPECT_TRUE(looks_like_image(bytes_of("\xff\xd8\xff\xe0")));
  EXPECT_TRUE(looks_like_image(bytes_of("8BPS")));
  EXPECT_FALSE(looks_like_image(bytes_of("%PDF-1.7")));
  EXPECT_FALSE(looks_like_image(bytes_of("<?xml")));
  EXPECT_FALSE(looks_like_image(bytes_of("BMW is a car maker from Munich")));
  EXPECT_FALSE(looks_like_image({}));
}

TEST(Npy, HoldsShapeAndValues) {
  const auto bytes = to_npy({{2, 1}, {1.f, -2.f}});
  const std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  EXPECT_EQ(text.substr(0, 6), "\x93NUMPY");
  EXPECT_NE(text.find("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }"),
            std::string::npos)
      << text;
  EXPECT_EQ(text.substr(text.size() - 8), std::string("\0\0\x80\x3f\0\0\0\xc0", 8));
  try {
    to_npy({{3}, {1.f}});
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUsage);
  }
}

}  // namespace
}  // namespace blip
