// TIFF, HEIF, AVIF and JPEG XL against their references, transparency over a colour, and files made
// to harm.
#include "image/formats.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <map>
#include <optional>
#include <set>
#include <sstream>

#include "blip/error.h"
#include "support.h"

namespace blip::image {
namespace {

std::string folder() {
  const char* given = std::getenv("BLIP_FORMAT_CASES");
  return (given ? std::string(given) : std::string(BLIP_TEST_DATA "/image/formats")) + "/";
}

struct Case {
  std::string file, width, height;  // "-" where the reference refuses it
  int allowed = 0;
  std::uint64_t hash = 0;

  std::string kind() const { return file.substr(0, file.find('_')); }
};

std::vector<Case> cases() {
  std::vector<Case> all;
  std::ifstream list(folder() + "formats.txt");
  for (Case c;
       list >> c.file >> c.width >> c.height >> c.allowed >> std::hex >> c.hash >> std::dec;)
    all.push_back(c);
  return all;
}

// Builds may lack some formats; what is said then has a test of its own.
bool is_readable(const std::string& bytes) {
  const Format* format = find_format(bytes_of(bytes));
  return format && format->decoder;
}

Rgb decoded(const std::string& bytes, const std::optional<Color>& background = std::nullopt) {
  return decode(bytes_of(bytes), "cat.img", {}, background);
}

std::string error_of(const std::string& bytes, const ImageLimits& limits = {}) {
  try {
    decode(bytes_of(bytes), "cat.img", limits);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kImage);
    EXPECT_EQ(std::string(error.what()).find("cat.img: "), 0u) << error.what();
    return error.what();
  }
  return "";
}

// Where we differ from the reference by choice: Pillow needs a profile for L*a*b* and guesses one;
// it does not know these two by an oversight of its table, which has the same in 8 bits and for the
// other byte order.
const std::set<std::string> kRefusedHere = {"tiff_lab.tif"};
const std::set<std::string> kReadHere = {"tiff_rgb_s4_e999_16le.tif", "tiff_rgb_s4_e999_16be.tif",
                                         "tiff_rgb_big_be.tif"};

TEST(Formats, EqualTheReferences) {
  std::map<std::string, int> counts;
  ASSERT_GE(cases().size(), 120u);
  for (const Case& c : cases()) {
    SCOPED_TRACE(c.file);
    const std::string bytes = read_all(folder() + c.file);
    ASSERT_FALSE(bytes.empty());
    if (!is_readable(bytes)) continue;
    ++counts[c.kind()];
    if (kReadHere.contains(c.file)) {
      EXPECT_EQ(error_of(bytes), "");
      continue;
    }
    if (c.width == "-" || kRefusedHere.contains(c.file)) {
      EXPECT_NE(error_of(bytes).find(" cannot be read"), std::string::npos) << error_of(bytes);
      continue;
    }
    const Rgb rgb = decoded(bytes);
    ASSERT_EQ(std::to_string(rgb.width) + " " + std::to_string(rgb.height),
              c.width + " " + c.height);
    if (c.allowed == 0) {
      EXPECT_EQ(hash(rgb.pixels), c.hash);
      continue;
    }
    const Rgb expected = decoded(read_all(folder() + c.file + ".png"));
    ASSERT_EQ(hash(expected.pixels), c.hash);
    ASSERT_EQ(expected.pixels.size(), rgb.pixels.size());
    int largest = 0;
    for (std::size_t i = 0; i < rgb.pixels.size(); ++i)
      largest = std::max(largest, std::abs(rgb.pixels[i] - expected.pixels[i]));
    EXPECT_LE(largest, c.allowed);
  }
  for (const auto& [kind, count] : counts)
    EXPECT_GE(count, kind == "tiff" ? 80 : kind == "jpeg" ? 2 : 11) << kind;
}

TEST(Formats, TransparentPicturesOverAColour) {
  std::ifstream list(folder() + "transparent.txt");
  std::string file, colour, width, height;
  std::uint64_t expected = 0;
  int count = 0;
  while (list >> file >> colour >> width >> height >> std::hex >> expected >> std::dec) {
    SCOPED_TRACE(file + " over " + colour);
    const std::string bytes = read_all(folder() + file);
    if (!is_readable(bytes)) continue;
    ++count;
    const Rgb rgb =
        decoded(bytes, colour == "white" ? Color{255, 255, 255} : Color{0x10, 0x80, 0xf0});
    EXPECT_EQ(std::to_string(rgb.width) + " " + std::to_string(rgb.height), width + " " + height);
    EXPECT_EQ(hash(rgb.pixels), expected);
  }
  EXPECT_GE(count, 20);
}

TEST(Formats, AlphaOfTheNewFormatsIsLaidOverAColour) {
  for (const char* file : {"heif_rgba.heic", "avif_rgba.avif", "jxl_rgba.jxl"}) {
    SCOPED_TRACE(file);
    const std::string bytes = read_all(folder() + file);
    if (!is_readable(bytes)) continue;
    const Rgb plain = decoded(bytes), over = decoded(bytes, Color{10, 200, 30});
    // The first of every four rows is transparent, the second opaque; lossy alpha is nearly so.
    constexpr int kColour[] = {10, 200, 30};
    const std::size_t stride = static_cast<std::size_t>(plain.width) * 3;
    for (std::size_t x = 0; x < stride; ++x) {
      EXPECT_NEAR(over.pixels[x], kColour[x % 3], 24) << x;
      EXPECT_NEAR(over.pixels[stride + x], plain.pixels[stride + x], 24) << x;
    }
    EXPECT_NE(plain.pixels, over.pixels);
  }
}

TEST(Formats, LimitsAreCheckedBeforeDecoding) {
  for (const Case& c : cases()) {
    const std::string bytes = read_all(folder() + c.file);
    if (c.width == "-" || !is_readable(bytes) || kRefusedHere.contains(c.file)) continue;
    SCOPED_TRACE(c.file);
    const Header header = inspect(bytes_of(bytes), "cat.img", {});
    EXPECT_EQ(std::to_string(header.width) + " " + std::to_string(header.height),
              c.width + " " + c.height);
    const std::size_t pixels = std::stoul(c.width) * std::stoul(c.height);
    EXPECT_GE(header.decode_bytes, pixels * 3);
    EXPECT_EQ(error_of(bytes, {.max_memory = header.decode_bytes}), "");
    EXPECT_NE(
        error_of(bytes, {.max_memory = header.decode_bytes - 1}).find("raise it with --max-memory"),
        std::string::npos);
    if (pixels > 1) {
      EXPECT_NE(error_of(bytes, {.max_pixels = pixels - 1})
                    .find("more than the limit of " + std::to_string(pixels - 1)),
                std::string::npos);
    }
  }
}

TEST(Formats, CutFilesEndInAnErrorOrThePicture) {
  std::set<std::string> kinds;
  for (const Case& c : cases()) {
    const std::string bytes = read_all(folder() + c.file);
    if (!is_readable(bytes) || c.width == "-") continue;
    const std::size_t step = std::max<std::size_t>(1, bytes.size() / 12);
    for (std::size_t size = 1; size < bytes.size(); size += step) error_of(bytes.substr(0, size));
    if (error_of(bytes.substr(0, bytes.size() / 2)).find(": ") != std::string::npos)
      kinds.insert(c.kind());
  }
  EXPECT_GE(kinds.size(), 1u);
  EXPECT_TRUE(kinds.contains("jpeg"));
}

// ---- files made to harm

std::string number(std::uint64_t value, int bytes, bool big = true) {
  std::string text;
  for (int i = 0; i < bytes; ++i)
    text += static_cast<char>(value >> (8 * (big ? bytes - 1 - i : i)) & 0xff);
  return text;
}

std::string box(const std::string& type, const std::string& body) {
  return number(8 + body.size(), 4) + type + body;
}

std::string tiff_of(std::uint32_t width, std::uint32_t height,
                    const std::vector<std::array<std::uint32_t, 3>>& more = {},
                    std::uint32_t next = 0) {
  std::vector<std::array<std::uint32_t, 3>> entries = {
      {256, 4, width}, {257, 4, height}, {258, 3, 8}, {262, 3, 1},
      {273, 4, 8},     {278, 4, height}, {279, 4, 1}};
  for (const auto& entry : more) {
    std::erase_if(entries, [&](const auto& other) { return other[0] == entry[0]; });
    entries.push_back(entry);
  }
  std::sort(entries.begin(), entries.end());
  std::string text =
      "II\x2a" + std::string(1, '\0') + number(8, 4, false) + number(entries.size(), 2, false);
  for (const auto& [tag, type, value] : entries)
    text += number(tag, 2, false) + number(type, 2, false) + number(1, 4, false) +
            number(value, 4, false);
  return text + number(next, 4, false);
}

TEST(Harm, TiffsThatPromiseMoreThanTheyHold) {
  if (!find_format_by_name("TIFF")->decoder) GTEST_SKIP() << "this build has no libtiff";
  EXPECT_NE(error_of(tiff_of(60000, 60000))
                .find("60000 x 60000 = 3600000000 pixels are more than the limit"),
            std::string::npos);
  EXPECT_NE(error_of(tiff_of(10000, 10000)).find("TIFF: damaged: "), std::string::npos)
      << error_of(tiff_of(10000, 10000));
  // A tile of 4 GiB in a picture of four pixels.
  const std::string tile =
      error_of(tiff_of(2, 2, {{322, 4, 65536}, {323, 4, 65536}, {324, 4, 8}, {325, 4, 1}}));
  EXPECT_NE(tile.find("damaged: "), std::string::npos) << tile;
  EXPECT_NE(error_of(tiff_of(0, 3)).find("damaged: "), std::string::npos)
      << error_of(tiff_of(0, 3));
  // The next page is this one: there is no end to the pages, and the first is shown.
  EXPECT_EQ(error_of(tiff_of(1, 1, {}, 8)), "");
  EXPECT_NE(error_of(tiff_of(1, 1, {{259, 3, 34933}}))
                .find("its compression (34933) is none that libtiff reads"),
            std::string::npos);
  EXPECT_NE(error_of(tiff_of(1, 1, {{262, 3, 32803}}))
                .find("raw values of a camera's sensor cannot be read"),
            std::string::npos);
}

// The boxes of a HEIF whose primary picture is item 1 of type `type`.
std::string heif_of(const std::string& type, const std::string& references = "") {
  const std::string zeros(4, '\0');
  const auto item = [&](int id, const std::string& kind) {
    return box("infe", "\2" + std::string(3, '\0') + number(static_cast<std::uint64_t>(id), 2) +
                           number(0, 2) + kind + std::string(1, '\0'));
  };
  std::string meta = zeros + box("pitm", zeros + number(1, 2)) +
                     box("iinf", zeros + number(2, 2) + item(1, type) + item(2, "hvc1"));
  if (!references.empty()) meta += box("iref", zeros + references);
  return box("ftyp", "heic" + zeros + "mif1heic") + box("meta", meta);
}

TEST(Harm, HeifsOfOtherKindsAreNamed) {
  if (!find_format_by_name("HEIF")->decoder) GTEST_SKIP() << "this build has no libheif";
  // Pictures made of themselves, of others without end, or laid over each other: none of these
  // reaches libheif.
  EXPECT_NE(error_of(heif_of("iden", box("dimg", number(1, 2) + number(1, 2) + number(1, 2))))
                .find("HEIF: a picture coded as \"iden\" cannot be read"),
            std::string::npos);
  EXPECT_NE(error_of(heif_of("iovl")).find("coded as \"iovl\""), std::string::npos);
  EXPECT_NE(error_of(heif_of("grid", box("dimg", number(1, 2) + number(2, 2) + number(2, 2) +
                                                     number(1, 2))))
                .find("coded as \"grid\""),
            std::string::npos);
  EXPECT_NE(error_of(heif_of("j2k1")).find("coded as \"j2k1\""), std::string::npos);
  const std::string head = box("ftyp", "heic" + std::string(4, '\0') + "mif1heic");
  EXPECT_NE(error_of(head).find("HEIF: damaged: its boxes are cut short, or name no picture"),
            std::string::npos);
  std::string deep(8, 'x');
  for (int i = 0; i < 10'000; ++i) deep = box("meta", std::string(4, '\0') + deep);
  EXPECT_NE(error_of(head + deep).find("HEIF: damaged: "), std::string::npos);
}

// The box that says how large a picture is says 9 x 7 where the coded frame is far larger.
std::string with_size(std::string bytes, std::uint32_t width, std::uint32_t height) {
  for (std::size_t at = bytes.find("ispe"); at != std::string::npos;
       at = bytes.find("ispe", at + 1))
    bytes.replace(at + 8, 8, number(width, 4) + number(height, 4));
  return bytes;
}

TEST(Harm, FramesOfAnotherSizeThanTheBoxesSay) {
  // A frame of 2,000 x 2,000 pixels in a picture of 9 x 7, and a cell of as many in a grid.
  for (const char* file : {"harm_large.heic", "harm_large_grid.heic", "harm_large.avif"}) {
    SCOPED_TRACE(file);
    const std::string bytes = read_all(folder() + file);
    if (!is_readable(bytes)) continue;
    EXPECT_EQ(error_of(bytes), "");
    const std::string small = with_size(bytes, 9, 7);
    EXPECT_EQ(inspect(bytes_of(small), "x", {}).width, 9);
    EXPECT_NE(error_of(small).find(": damaged: "), std::string::npos) << error_of(small);
    const std::string huge = error_of(with_size(bytes, 60000, 60000));
    EXPECT_TRUE(huge.find("60000 x 60000 = 3600000000 pixels are more than the limit") !=
                    std::string::npos ||
                huge.find("dimensions are too large [60000x60000]") != std::string::npos)
        << huge;
  }
}

TEST(Table, NamesAndEndingsAreUnique) {
  std::set<std::string_view> names, endings, types;
  for (const Format& format : formats()) {
    EXPECT_TRUE(names.insert(format.name).second) << format.name;
    for (const std::string_view ending : format.endings) {
      EXPECT_TRUE(ending.starts_with('.') && endings.insert(ending).second) << ending;
      EXPECT_EQ(find_format_by_ending("a.b" + std::string(ending)), &format);
    }
    for (const std::string_view type : format.media_types)
      EXPECT_TRUE(type.starts_with("image/") && types.insert(type).second) << type;
    if (format.decoder) {
      EXPECT_NE(format.library, nullptr) << format.name;
    }
  }
  EXPECT_STREQ(find_format_by_ending("photos/IMG_1.HEIC")->name, "HEIF");
  EXPECT_STREQ(find_format_by_ending("x.MPO")->name, "JPEG");
  EXPECT_EQ(find_format_by_ending("notes.txt"), nullptr);
  EXPECT_EQ(find_format_by_ending("noending"), nullptr);
}

TEST(Table, ContentDecidesWhatAFileIs) {
  std::map<std::string, std::string> names = {
      {"jpeg", "JPEG"}, {"tiff", "TIFF"}, {"heif", "HEIF"}, {"avif", "AVIF"}, {"jxl", "JPEG XL"}};
  for (const Case& c : cases()) {
    const std::string bytes = read_all(folder() + c.file);
    const std::string expected = c.file == "avif_mif1.avif" ? "AVIF" : names[c.kind()];
    EXPECT_STREQ(find_format(bytes_of(bytes))->name, expected.c_str()) << c.file;
    EXPECT_TRUE(looks_like_picture(bytes_of(bytes))) << c.file;
  }
  const std::string video = box("ftyp", "isom" + std::string(4, '\0') + "isommp42");
  EXPECT_STREQ(find_format(bytes_of(video))->name, "a video");
  EXPECT_FALSE(looks_like_picture(bytes_of(video)));
  EXPECT_FALSE(looks_like_picture(bytes_of(std::string("BMW is a car and a word"))));
  EXPECT_FALSE(looks_like_picture(bytes_of(std::string("%PDF-1.7"))));
}

TEST(Table, WhatThisBuildLacksIsNamed) {
  for (const Format& format : formats()) {
    if (format.decoder || !format.library) continue;
    for (const Case& c : cases()) {
      const std::string bytes = read_all(folder() + c.file);
      if (find_format(bytes_of(bytes)) != &format) continue;
      EXPECT_EQ(error_of(bytes), "cat.img: " + std::string(format.name) + ": this build has no " +
                                     format.library + "; convert the picture to PNG or JPEG");
    }
  }
}

}  // namespace
}  // namespace blip::image
