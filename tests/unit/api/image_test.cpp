// Image: what a file may be, and what its header says.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <string>

#include "blip/blip.h"

namespace blip {
namespace {

const std::string kPictures = BLIP_TEST_DATA "/image/";

std::string error_of(const std::string& path, const ImageLimits& limits = {}) {
  try {
    Image::from_file(path, limits);
  } catch (const Error& error) {
    return std::string(to_string(error.code())) + ": " + error.what();
  }
  return "read";
}

TEST(Image, OnlyRegularFilesAreOpened) {
  const auto pipe =
      std::filesystem::temp_directory_path() / ("blip-pipe-" + std::to_string(::getpid()));
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  for (const std::string& path : {pipe.string(), std::string("/dev/zero")}) {
    EXPECT_EQ(error_of(path), "io: cannot open " + path + ": it is not a regular file");
  }
  std::filesystem::remove(pipe);
  EXPECT_EQ(error_of("/tmp"), "io: cannot read /tmp: Is a directory");
}

TEST(Image, InspectTellsWhatDecodingTakes) {
  std::ifstream file(kPictures + "jpeg_exif6.jpg", std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  const auto encoded = std::as_bytes(std::span(bytes));
  const ImageInfo info = Image::inspect(encoded);
  const Image image = Image::from_memory(encoded);
  EXPECT_EQ(info.format, "JPEG");
  EXPECT_EQ(info.width, image.width());
  EXPECT_EQ(info.height, image.height());
  EXPECT_GE(info.decode_bytes, 6u * static_cast<std::size_t>(
                                        info.width * info.height));  // turned into a second picture
  EXPECT_THROW(Image::inspect(encoded, {.max_memory = info.decode_bytes - 1}), Error);
  EXPECT_NE(error_of(kPictures + "jpeg_exif6.jpg", {.max_memory = 1000})
                .find("more than the limit of 0 MiB; raise it with --max-memory"),
            std::string::npos);
}

}  // namespace
}  // namespace blip
