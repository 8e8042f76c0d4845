#include <gtest/gtest.h>

#include "base/file.h"
#include "io/tensor_file.h"
#include "support.h"

namespace blip::io {
namespace {

std::string text(std::string_view value) {
  return number<std::uint64_t>(value.size()) + std::string(value);
}

constexpr std::uint32_t kU32 = 4, kString = 8, kArray = 9, kU64 = 10, kBool = 7;

struct Tensor {
  std::string name;
  std::vector<std::uint64_t> dimensions;  // innermost first, as stored
  std::uint32_t type = 0;
  std::uint64_t offset = 0;
};

struct File {
  std::vector<std::string> metadata = {};  // encoded
  std::vector<Tensor> tensors = {};
  std::size_t data = 0;
  std::uint32_t version = 3;
  std::size_t alignment = 32;
  std::int64_t extra_tensors = 0, extra_metadata = 0;  // added to the counts

  Bytes bytes() const {
    std::string result =
        "GGUF" + number(version) +
        number<std::uint64_t>(tensors.size() + static_cast<std::uint64_t>(extra_tensors)) +
        number<std::uint64_t>(metadata.size() + static_cast<std::uint64_t>(extra_metadata));
    for (const std::string& value : metadata) result += value;
    for (const Tensor& tensor : tensors) {
      result += text(tensor.name) + number(static_cast<std::uint32_t>(tensor.dimensions.size()));
      for (const std::uint64_t dimension : tensor.dimensions) result += number(dimension);
      result += number(tensor.type) + number(tensor.offset);
    }
    if (data != 0) {
      result.resize((result.size() + alignment - 1) / alignment * alignment);
      for (std::size_t i = 0; i < data; ++i) result += static_cast<char>(i);
    }
    return to_bytes(result);
  }
};

std::string u32_value(const std::string& key, std::uint32_t value) {
  return text(key) + number(kU32) + number(value);
}

void expect_refused(const File& file, std::initializer_list<std::string> parts) {
  expect_error(ErrorCode::kModel, parts, [&] { parse_gguf(file.bytes(), "x.gguf"); });
}

const File kGood = {.metadata = {u32_value("n", 3), text("s") + number(kString) + text("abc"),
                                 text("list") + number(kArray) + number(kString) +
                                     number<std::uint64_t>(2) + text("x") + text("yz")},
                    .tensors = {{"a", {3, 2}, 24, 0}, {"b", {2}, 0, 32}},
                    .data = 40};

TEST(Gguf, ReadsVersions2And3WithReversedDimensions) {
  for (const std::uint32_t version : {2u, 3u}) {
    File source = kGood;
    source.version = version;
    const Bytes bytes = source.bytes();
    const auto file = parse_gguf(bytes, "x");
    EXPECT_EQ(file->find("a")->shape, (std::vector<std::int64_t>{2, 3}));
    EXPECT_EQ(to_floats(*file->find("a")), (std::vector<float>{0, 1, 2, 3, 4, 5}));
    EXPECT_EQ(file->find("b")->data.data(), &bytes[bytes.size() - 8]);
    EXPECT_EQ(file->metadata().at("list"), MetadataValue(std::vector<std::string>{"x", "yz"}));
    EXPECT_EQ(file->metadata().at("n"), MetadataValue(std::int64_t{3}));
  }
}

TEST(Gguf, AlignmentFromTheMetadata) {
  const File file = {.metadata = {u32_value("general.alignment", 128)},
                     .tensors = {{"a", {2}, 24, 0}, {"b", {2}, 24, 128}},
                     .data = 130,
                     .alignment = 128};
  EXPECT_EQ(to_floats(*parse_gguf(file.bytes(), "x")->find("b")), (std::vector<float>{-128, -127}));
  for (const std::uint32_t bad : {0u, 3u, 48u, 0x80000000u}) {
    expect_refused({.metadata = {u32_value("general.alignment", bad)}},
                   {"general.alignment", "power of two"});
  }
  expect_refused({.metadata = {text("general.alignment") + number(kString) + text("32")}},
                 {"general.alignment"});
}

TEST(Gguf, RefusesEveryPrefix) { expect_no_prefix_reads(parse_gguf, kGood.bytes()); }

TEST(Gguf, FlippedBytesAreSafe) { expect_flips_are_safe(parse_gguf, kGood.bytes()); }

TEST(Gguf, RefusesOtherFilesAndVersions) {
  expect_error(ErrorCode::kModel, {"x: byte 4", "no GGUF file", "\"abcd\""},
               [] { parse_gguf(to_bytes("abcdefgh"), "x"); });
  for (const std::uint32_t version : {0u, 1u, 4u})
    expect_refused({.version = version}, {"version " + std::to_string(version)});
  expect_refused({.version = 0x03000000}, {"big-endian"});
}

TEST(Gguf, RefusesImpossibleCounts) {
  for (const std::int64_t extra :
       {std::int64_t{1000}, std::int64_t{1} << 40, INT64_MAX, std::int64_t{-1}}) {
    expect_refused({.extra_tensors = extra}, {"cannot fit"});
    expect_refused({.extra_metadata = extra}, {"cannot fit"});
  }
}

TEST(Gguf, RefusesDamagedMetadata) {
  expect_refused({.metadata = {u32_value("n", 1), u32_value("n", 2)}}, {"\"n\" appears twice"});
  expect_refused({.metadata = {text("n") + number<std::uint32_t>(13) + number(1)}}, {"type 13"});
  expect_refused({.metadata = {text("n") + number(kBool) + "\2"}}, {"bool is 0 or 1"});
  expect_refused({.metadata = {text("n") + number(kU64) + number(UINT64_MAX)}},
                 {"18446744073709551615"});
  expect_refused({.metadata = {text("n") + number(kString) + number(UINT64_MAX)}},
                 {"a string", "18446744073709551615 bytes"});
  expect_refused({.metadata = {number(UINT64_MAX) + "nnnnnnnnn"}}, {"a metadata key"});
  for (const std::uint64_t count : {std::uint64_t{2}, std::uint64_t{1} << 61, UINT64_MAX}) {
    expect_refused({.metadata = {text("n") + number(kArray) + number(kString) + number(count)}},
                   {"array of " + std::to_string(count)});
  }
}

TEST(Gguf, NestedArraysAreReadPastButNotWithoutBound) {
  const std::string inner = number(kU32) + number<std::uint64_t>(1) + number<std::uint32_t>(7);
  const std::string nested =
      text("n") + number(kArray) + number(kArray) + number<std::uint64_t>(2) + inner + inner;
  const auto file = parse_gguf(File{.metadata = {nested, u32_value("m", 5)}}.bytes(), "x");
  EXPECT_FALSE(file->metadata().contains("n"));
  EXPECT_EQ(file->metadata().at("m"), MetadataValue(std::int64_t{5}));
  std::string deep = text("n") + number(kArray);
  for (int i = 0; i < 100'000; ++i) deep += number(kArray) + number<std::uint64_t>(1);
  expect_refused({.metadata = {deep}}, {"nested deeper"});
}

// 13 bytes a value in the file are up to 32 in memory: the sum counts, not the single array.
TEST(Gguf, LimitsWhatAllMetadataHold) {
  const std::string half = number(kArray) + number<std::uint32_t>(0) +
                           number<std::uint64_t>(3 << 20) + std::string(3 << 20, '\0');
  EXPECT_NO_THROW(parse_gguf(File{.metadata = {text("a") + half}}.bytes(), "x"));
  expect_refused({.metadata = {text("a") + half, text("b") + half}},
                 {"more than 4194304 metadata values"});
}

TEST(Gguf, RefusesDamagedTensors) {
  const std::uint64_t large = std::uint64_t{1} << 32;
  expect_refused({.tensors = {{"a", {2}, 0, 0}, {"a", {2}, 0, 32}}, .data = 40},
                 {"\"a\" appears twice"});
  expect_refused({.tensors = {{"a", {large, large}, 0, 0}}}, {"\"a\"", "impossible"});
  expect_refused({.tensors = {{"a", {UINT64_MAX}, 0, 0}}},
                 {"\"a\"", "dimension 18446744073709551615"});
  expect_refused({.tensors = {{"a", {1, 1, 1, 1, 1}, 0, 0}}}, {"5 dimensions"});
  expect_refused({.tensors = {{"a", {256}, 12, 0}}}, {"\"a\"", "type number 12 is not supported"});
  expect_refused({.tensors = {{"a", {31}, 8, 0}}}, {"q8_0 [31] is impossible"});
  const std::string follow = "tensors must follow one another";
  expect_refused({.tensors = {{"a", {2}, 0, 0}, {"b", {2}, 0, 0}}, .data = 64},
                 {"\"b\"", "begins at offset 0, expected 32", follow});
  expect_refused({.tensors = {{"a", {2}, 0, 0}, {"b", {2}, 0, 64}}, .data = 128},
                 {"\"b\"", "begins at offset 64, expected 32", follow});
  expect_refused({.tensors = {{"a", {2}, 0, 32}, {"b", {2}, 0, 0}}, .data = 64},
                 {"\"a\"", "begins at offset 32, expected 0", follow});
  expect_refused({.tensors = {{"a", {9}, 0, 0}, {"b", {2}, 0, 32}}, .data = 128},
                 {"\"b\"", "begins at offset 32, expected 64", follow});
  expect_refused({.tensors = {{"a", {2}, 0, 8}}, .data = 64}, {"offset 8", "alignment 32"});
  expect_refused({.tensors = {{"a", {2}, 0, 64}}, .data = 64}, {"\"a\"", "reach past"});
  expect_refused({.tensors = {{"a", {2}, 0, UINT64_MAX - 31}}, .data = 64},
                 {"\"a\"", "reach past"});
}

TEST(WriteGguf, RefusesWhatTheFormatCannotHold) {
  const TempFolder folder;
  const auto fill = [](std::span<std::byte>) {};
  const auto refuse = [&](const std::vector<GgufTensor>& tensors,
                          std::initializer_list<std::string> parts) {
    expect_error(ErrorCode::kUsage, parts, [&] { write_gguf(folder / "a.gguf", {}, tensors); });
  };
  refuse({{"t", ElementType::i64, {2}, fill}}, {"\"t\"", "i64"});
  refuse({{"t", ElementType::f32, {}, fill}}, {"1 to 4 dimensions"});
  refuse({{"t", ElementType::f32, {1, 1, 1, 1, 1}, fill}}, {"1 to 4 dimensions"});
  refuse({{"t", ElementType::f32, {-1}, fill}}, {"[-1] is impossible"});
  refuse({{"t", ElementType::q8_0, {4, 33}, fill}}, {"[4, 33]", "multiple of 32"});
  refuse({{"t", ElementType::f32, {1}, fill}, {"t", ElementType::f32, {1}, fill}},
         {"appears twice"});
  refuse({{"t", ElementType::f32, {1}, {}}}, {"no fill function"});
  expect_error(ErrorCode::kUsage, {"general.alignment"}, [&] {
    write_gguf(folder / "a.gguf", {{"general.alignment", std::int64_t{33}}}, {});
  });
  EXPECT_EQ(folder.entries(), 0u);
}

TEST(WriteGguf, HonoursAnAlignment) {
  const TempFolder folder;
  const auto fill = [](std::span<std::byte> out) {
    std::fill(out.begin(), out.end(), std::byte{0});
  };
  const std::vector<GgufTensor> tensors = {{"a", ElementType::f32, {1}, fill},
                                           {"b", ElementType::f32, {1}, fill}};
  write_gguf(folder / "a.gguf", {{"general.alignment", std::int64_t{4096}}}, tensors);
  const auto file = open_gguf(folder / "a.gguf");
  EXPECT_EQ(file->find("b")->data.data() - file->find("a")->data.data(), 4096);
}

TEST(FullDisk, GgufLeavesNothingAndKeepsTheOldFile) {
  const TempFolder folder;
  write_plain(folder / "a.gguf", "before");
  EXPECT_EQ(with_small_files([&] {
              const auto fill = [](std::span<std::byte> out) {
                std::fill(out.begin(), out.end(), std::byte{1});
              };
              const std::vector<GgufTensor> tensors(1, {"t", ElementType::f32, {100, 1000}, fill});
              write_gguf(folder / "a.gguf", {}, tensors);
            }),
            0);
  EXPECT_EQ(read_text(folder / "a.gguf"), "before");
  EXPECT_EQ(folder.entries(), 1u);
}

TEST(WriteGguf, CancelledLeavesNothing) {
  const TempFolder folder;
  const auto fill = [](std::span<std::byte>) { throw Error(ErrorCode::kCancelled, "stop"); };
  const std::vector<GgufTensor> tensors(1, {"t", ElementType::f32, {10}, fill});
  expect_error(ErrorCode::kCancelled, {"stop"},
               [&] { write_gguf(folder / "a.gguf", {}, tensors); });
  EXPECT_EQ(folder.entries(), 0u);
}

}  // namespace
}  // namespace blip::io
